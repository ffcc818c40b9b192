// A process dies or hangs while another takes over: the one that is left serves, and nobody is refused.
import { readFileSync, statSync } from 'node:fs'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { type Program, program } from './support/child.js'
import { Client, get, once } from './support/client.js'
import { until } from './support/proxy.js'
import {
  endOf,
  fresh,
  LONG,
  next,
  type Process,
  socketPath,
  startOrigin,
  startProcess,
} from './support/upgrading.js'

vi.setConfig({ testTimeout: 60_000 })

/** Clients that come all the time; what failed, when they are told to stop. */
function clients({ to }: Process): () => Promise<string[]> {
  const failures: string[] = []
  let isOver = false
  const come = async () => {
    while (!isOver) await fresh(to).catch((error) => failures.push(String(error)))
  }
  const all = Promise.all([come(), come(), come()])
  return async () => {
    isOver = true
    await all
    return failures
  }
}

/** A process that has the sockets of another and does `work` before it is ready. */
function starting(socket: string, { to }: Process, work: string): Program {
  return program(
    `
    const go = new Promise((resolve) => process.once('SIGUSR2', resolve))
    const server = new Server({ upgradeSocket: ${JSON.stringify(socket)}, upgrade: true, logger: false })
    const proxy = server.addService(new HttpProxy(definePhases({
      requestFilter: () => ({ status: 200, body: 'hi' }),
      upstreamPeer: new HttpPeer('127.0.0.1:1'),
    })))
    proxy.addTcp('127.0.0.1:${to.port}')
    server.addService(new BackgroundService('work', { async start({ signal }) {
      console.log('has begun')
      ${work}
    } }, { readyTimeoutMs: 0 }))
    process.on('SIGTERM', () => void server.close())
    server.start().then(() => console.log('started'), (error) => console.log(error.code, error.message))`,
    60_000,
  )
}

/** Who answers. */
async function who({ to }: Process): Promise<string | undefined> {
  return (await once(to, get('/'))).header('x-process')
}

/** A download of a second, at which the process already is. */
async function download({ to }: Process): Promise<() => Promise<void>> {
  const client = await Client.connect(to)
  client.write(get('/long'))
  await until(() => client.socket.bytesRead > 1_000)
  return async () => {
    expect((await client.reply())?.body).toHaveLength(LONG)
    await client.end()
  }
}

describe.skipIf(process.platform === 'win32')('where the new process', () => {
  test('is killed before it is ready, the old one has missed nothing', async () => {
    const [socket, origin] = [socketPath(), await startOrigin()]
    const old = await startProcess(socket, origin, 'old')
    const stop = clients(old)
    for (let times = 0; times < 3; times++) {
      const dying = starting(socket, old, "process.kill(process.pid, 'SIGKILL')")
      expect(await dying.line()).toBe('has begun')
      expect((await dying.ended).signal).toBe('SIGKILL')
      expect(await next(old, 'log an upgrade failed')).toContain('it left before it was ready')
    }
    expect(await who(old)).toBe('old')
    const good = await startProcess(socket, origin, 'good')
    await endOf(old)
    expect(await who(good)).toBe('good')
    expect(await stop()).toEqual([])
  })

  test('is killed when it has taken over, the old one ends what it is at and the next one starts', async () => {
    const [socket, origin] = [socketPath(), await startOrigin()]
    const old = await startProcess(socket, origin, 'old')
    const downloaded = await download(old)
    const dying = await startProcess(socket, origin, 'dying')
    dying.child.kill('SIGKILL')
    expect((await dying.ended).signal).toBe('SIGKILL')
    const next = await startProcess(socket, origin, 'next', { at: [old.to, old.h2] })
    expect(await who(next)).toBe('next')
    await downloaded()
    expect((await endOf(old)).cut).toBe(0)
    const last = await startProcess(socket, origin, 'last')
    await endOf(next)
    expect(await who(last)).toBe('last')
  })

  test('hangs, it is told that nobody waits for it, and fails', async () => {
    const [socket, origin] = [socketPath(), await startOrigin()]
    const old = await startProcess(socket, origin, 'old', { options: 'upgradeTimeoutMs: 500' })
    const stop = clients(old)
    const hanging = starting(
      socket,
      old,
      "await new Promise((resolve) => signal.addEventListener('abort', resolve))",
    )
    expect(await hanging.line()).toBe('has begun')
    expect(await hanging.line()).toMatch(
      /^UPGRADE_FAILED taking over at .+: the running server has waited for too long$/,
    )
    expect(await hanging.ended).toEqual({ code: 0, signal: null, stderr: '' })
    // So does one whose thread of JavaScript is busy meanwhile.
    const busy = starting(socket, old, 'const end = Date.now() + 3_000; while (Date.now() < end);')
    expect(await busy.line()).toBe('has begun')
    expect(await busy.line()).toMatch(/^UPGRADE_FAILED /)
    expect(await busy.ended).toEqual({ code: 0, signal: null, stderr: '' })
    expect(await who(old)).toBe('old')
    const good = await startProcess(socket, origin, 'good')
    await endOf(old)
    expect(await who(good)).toBe('good')
    expect(await stop()).toEqual([])
  })

  test('stands still until nobody waits for it, it does not serve when it goes on', async () => {
    const [socket, origin] = [socketPath(), await startOrigin()]
    const old = await startProcess(socket, origin, 'old', { options: 'upgradeTimeoutMs: 500' })
    const stop = clients(old)
    const still = starting(socket, old, "process.kill(process.pid, 'SIGSTOP')")
    expect(await still.line()).toBe('has begun')
    expect(await next(old, 'log an upgrade failed')).toContain('it was not ready in time')
    expect(await stop()).toEqual([])
    still.child.kill('SIGCONT')
    expect(await still.line()).toMatch(/^UPGRADE_FAILED /)
    expect((await still.ended).code).toBe(0)
    expect(await who(old)).toBe('old')
  })
})

describe.skipIf(process.platform === 'win32')('where the old process', () => {
  test('is killed before the new one is ready, that one serves at once', async () => {
    const [socket, origin] = [socketPath(), await startOrigin()]
    const old = await startProcess(socket, origin, 'old')
    const lonely = starting(socket, old, 'await go')
    expect(await lonely.line()).toBe('has begun')
    old.child.kill('SIGKILL')
    await old.ended
    const stop = clients(old)
    expect((await once(old.to, get('/'))).body).toBe('hi')
    lonely.child.kill('SIGUSR2')
    expect(await lonely.line()).toBe('started')
    // It can be taken over from in its turn.
    const good = await startProcess(socket, origin, 'good', { at: [old.to, old.h2] })
    expect((await lonely.ended).code).toBe(0)
    expect(await who(good)).toBe('good')
    expect(await stop()).toEqual([])
    good.child.kill('SIGTERM')
    await endOf(good)
    expect(() => statSync(socket)).toThrow(/ENOENT/)
  })

  test('is killed after it, the new one has not noticed', async () => {
    const [socket, origin] = [socketPath(), await startOrigin()]
    const old = await startProcess(socket, origin, 'old')
    const downloaded = await download(old)
    const good = await startProcess(socket, origin, 'good')
    const stop = clients(good)
    old.child.kill('SIGKILL')
    expect((await old.ended).signal).toBe('SIGKILL')
    await expect(downloaded()).rejects.toThrow()
    const last = await startProcess(socket, origin, 'last')
    await endOf(good)
    expect(await who(last)).toBe('last')
    expect(await stop()).toEqual([])
  })

  test('stands still, the new one serves, and the old one ends when it goes on', async () => {
    const [socket, origin] = [socketPath(), await startOrigin()]
    const old = await startProcess(socket, origin, 'old')
    const slow = starting(socket, old, 'await go')
    onTestFinished(() => void old.child.kill('SIGCONT'))
    expect(await slow.line()).toBe('has begun')
    old.child.kill('SIGSTOP')
    const state = () => readFileSync(`/proc/${old.child.pid}/stat`, 'utf8')
    if (process.platform === 'linux') await until(() => state().includes(') T '), 'it stands still')
    slow.child.kill('SIGUSR2')
    // After ten seconds in which it heard nothing.
    expect(await slow.line()).toBe('started')
    expect((await once(old.to, get('/'))).body).toBe('hi')
    old.child.kill('SIGCONT')
    await endOf(old)
    expect((await once(old.to, get('/'))).body).toBe('hi')
    expect(statSync(socket).mode & 0o777).toBe(0o600)
  })

  test('has a thread of JavaScript that hangs, it accepts no more all the same', async () => {
    const [socket, origin] = [socketPath(), await startOrigin()]
    const hang = "process.once('SIGUSR2', () => { console.log('hangs'); for (;;); })"
    const old = await startProcess(socket, origin, 'old', { first: hang })
    old.child.kill('SIGUSR2')
    await next(old, 'hangs')
    const good = await startProcess(socket, origin, 'good', { at: [old.to, old.h2] })
    for (let times = 0; times < 50; times++) expect(await who(good)).toBe('good')
  })
})
