// One process takes over from another: under load, no request fails and no connection is refused.
import { spawn, spawnSync } from 'node:child_process'
import { statSync, writeFileSync } from 'node:fs'
import { describe, expect, onTestFinished, test } from 'vitest'
import { Server } from '../ts/index.js'
import { program } from './support/child.js'
import { Client, get, once } from './support/client.js'
import { until } from './support/proxy.js'
import { endOf, LONG, Load, next, socketPath, startOrigin, startProcess } from './support/upgrading.js'

/** Prints what is sent to the socket of a service manager, a line for each datagram. */
const LISTENER = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print('bound')
while True: print(s.recv(4096).decode().replace('\\n', ' '))`

describe.skipIf(process.platform === 'win32')('an upgrade', () => {
  test('ten under load: no request fails, and no connection is refused', { timeout: 120_000 }, async () => {
    const [socket, origin] = [socketPath(), await startOrigin()]
    let running = await startProcess(socket, origin, '0')
    const { to, h2 } = running
    const load = new Load(to, h2)
    const ends: Promise<{ finished: number; cut: number }>[] = []
    for (let number = 1; number <= 10; number++) {
      const successor = await startProcess(socket, origin, String(number))
      expect([successor.to, successor.h2]).toEqual([to, h2])
      // Its long requests go on in it for a while.
      ends.push(endOf(running))
      running = successor
      await until(() => ['new', 'kept', 'h2'].every((kind) => load.count(kind) > number * 5))
    }
    await until(() => ['long', 'socket'].every((kind) => load.count(kind) > 10), 'long', 30_000)
    expect((await once(to, get('/'))).header('x-process')).toBe('10')
    await load.stop()
    expect(load.failures).toEqual([])
    running.child.kill('SIGTERM')
    ends.push(endOf(running))
    for (const { cut } of await Promise.all(ends)) expect(cut).toBe(0)
    expect(() => statSync(socket)).toThrow(/ENOENT/)
  })

  test('to other endpoints: the one that stays loses nothing, one goes and one comes', async () => {
    const [socket, origin] = [socketPath(), await startOrigin()]
    const old = await startProcess(socket, origin, 'old')
    const [kept, dropped] = [old.to, old.h2]
    const load = new Load(kept, kept)
    // What is at work where nobody listens any more ends well.
    const client = await Client.connect(dropped)
    client.write(get('/long'))
    await until(() => client.socket.bytesRead > 1_000)
    const good = await startProcess(socket, origin, 'good', { at: [kept, { host: '127.0.0.2', port: 0 }] })
    expect(good.to).toEqual(kept)
    expect((await client.reply())?.body).toHaveLength(LONG)
    await client.end()
    expect((await endOf(old)).cut).toBe(0)
    await expect(once(dropped, get('/'))).rejects.toThrow(/ECONNREFUSED/)
    expect((await once(good.h2, get('/'))).header('x-process')).toBe('good')
    await until(() => load.count('socket') > 3)
    await load.stop()
    expect(load.failures).toEqual([])
  })

  test('of a chain each names the process that it has taken over from', async () => {
    const [socket, origin] = [socketPath(), await startOrigin()]
    const options = 'logger: { debug() {}, info: console.error, warn: console.error, error: console.error }'
    const chain = [await startProcess(socket, origin, '0', { options })]
    for (const name of ['1', '2', '3']) chain.push(await startProcess(socket, origin, name, { options }))
    chain.at(-1)!.child.kill('SIGTERM')
    for (const [at, { ended, child }] of chain.entries()) {
      const { stderr } = await ended
      const [before, after] = [chain[at - 1]?.child.pid, chain[at + 1]?.child.pid]
      expect(stderr.match(/took over from process \d+/g)).toEqual(
        before === undefined ? null : [`took over from process ${before}`],
      )
      expect(stderr.match(/process \d+ has taken over/g), `of ${child.pid}`).toEqual(
        after === undefined ? null : [`process ${after} has taken over`],
      )
    }
  })

  test('a new process that fails or dies leaves the old one as it was', async () => {
    const [socket, origin] = [socketPath(), await startOrigin()]
    const old = await startProcess(socket, origin, 'old')
    const failing = program(`
      const server = new Server({ upgradeSocket: ${JSON.stringify(socket)}, upgrade: true, logger: false })
      const proxy = server.addService(new HttpProxy({ upstreamPeer: new HttpPeer('127.0.0.1:1') }))
      proxy.addTcp('127.0.0.1:${old.to.port}')
      proxy.addTcp('192.0.2.1:80')
      await server.start().catch((error) => console.log(error.code))`)
    expect(await failing.line()).toBe('BIND_FAILED')
    expect((await failing.ended).code).toBe(0)
    expect(await next(old, 'log an upgrade failed')).toContain('going on')
    const dying = program(`
      const server = new Server({ upgradeSocket: ${JSON.stringify(socket)}, upgrade: true, logger: false })
      server.addService(new HttpProxy({ upstreamPeer: new HttpPeer('127.0.0.1:1') }))
      const end = process.kill.bind(process, process.pid, 'SIGKILL')
      server.start().then(() => console.log('started'))
      end()`)
    expect((await dying.ended).signal).toBe('SIGKILL')
    expect((await once(old.to, get('/'))).header('x-process')).toBe('old')
    const good = await startProcess(socket, origin, 'good')
    expect((await endOf(old)).cut).toBe(0)
    expect((await once(good.to, get('/'))).header('x-process')).toBe('good')
  })

  test('SIGQUIT waits for a new process, and goes on where none comes', async () => {
    const [socket, origin] = [socketPath(), await startOrigin()]
    const old = await startProcess(socket, origin, 'old', { options: 'upgradeTimeoutMs: 300' })
    expect(statSync(socket).mode & 0o777).toBe(0o600)
    old.child.kill('SIGQUIT')
    expect(await next(old, 'log SIGQUIT')).toContain(`for 300 ms a new process is awaited at ${socket}`)
    expect(await next(old, 'log no new process')).toContain('going on as ever')
    expect((await once(old.to, get('/'))).status).toBe(200)
    old.child.kill('SIGQUIT')
    await next(old, 'log SIGQUIT')
    const good = await startProcess(socket, origin, 'good')
    await endOf(old)
    // It was not one of the signals that hurry.
    const client = await Client.connect(good.to)
    client.write(get('/long'))
    await until(() => client.socket.bytesRead > 1_000)
    good.child.kill('SIGQUIT')
    await next(good, 'log SIGQUIT')
    good.child.kill('SIGTERM')
    expect((await client.reply())?.body).toHaveLength(LONG)
    expect(await endOf(good)).toEqual({ finished: 1, cut: 0 })
  })

  // Node.js has no datagrams over Unix sockets; Python has, and so do most systems.
  test.skipIf(spawnSync('python3', ['--version']).status !== 0)(
    'systemd is told when a process is ready, that it is the main one now, and when it stops',
    async () => {
      const [socket, origin, manager] = [socketPath(), await startOrigin(), `${socketPath()}.notify`]
      const listener = spawn('python3', ['-uc', LISTENER, manager], { stdio: ['ignore', 'pipe', 'inherit'] })
      onTestFinished(() => void listener.kill('SIGKILL'))
      let told = ''
      listener.stdout.setEncoding('utf8').on('data', (text) => {
        told += text
      })
      const next = async () => {
        await until(() => told.includes('\n'))
        const [line, ...rest] = told.split('\n')
        told = rest.join('\n')
        return line
      }
      expect(await next()).toBe('bound')
      const env = `process.env.NOTIFY_SOCKET = ${JSON.stringify(manager)}`
      // What they warn of it is on stderr, which has to be empty.
      const warn = `(line) => line.includes('NOTIFY_SOCKET') && console.error(line)`
      const how = {
        first: env,
        options: `logger: { debug() {}, info() {}, warn: ${warn}, error: console.log }`,
      }
      const old = await startProcess(socket, origin, 'old', how)
      expect(await next()).toBe('READY=1')
      const good = await startProcess(socket, origin, 'good', how)
      await endOf(old)
      expect(await next()).toBe(`MAINPID=${good.child.pid} READY=1`)
      good.child.kill('SIGTERM')
      expect(await next()).toBe('STOPPING=1')
      await endOf(good)
      expect(told).toBe('')
    },
  )

  test('with nobody there it is a plain start and a warning', async () => {
    const lonely = await startProcess(socketPath(), '127.0.0.1:1', 'lonely')
    lonely.child.kill('SIGTERM')
    await endOf(lonely)
    const told = program(`
      const server = new Server({ upgradeSocket: ${JSON.stringify(socketPath())}, upgrade: true })
      await server.start()
      await server.close()`)
    expect((await told.ended).stderr).toMatch(
      /warn millrace: nobody to take over from at .+: a plain start\n$/,
    )
  })

  test('without upgrade, a server at the socket is an error that says so, and which it hears nothing of', async () => {
    const upgradeSocket = socketPath()
    const lines: string[] = []
    const note = (line: string) => void lines.push(line)
    const logger = { debug() {}, info: note, warn: note, error: note }
    const servers = [0, 1].map(() => new Server({ upgradeSocket, logger }))
    onTestFinished(async () => {
      for (const server of servers) await server.close({ graceMs: 0 })
    })
    await servers[0]!.start()
    await expect(servers[1]!.start()).rejects.toMatchObject({
      code: 'ADDRESS_IN_USE',
      message: `a server is running at ${upgradeSocket}, and was not to be taken over`,
    })
    await servers[0]!.close()
    expect(lines).toEqual([])
    await servers[1]!.start()
  })

  test('where there is no socket, taking over is an error that says so', async () => {
    const upgradeSocket = socketPath()
    writeFileSync(upgradeSocket, 'a file')
    const server = new Server({ upgradeSocket, upgrade: true, logger: false })
    await expect(server.start()).rejects.toMatchObject({ code: 'ADDRESS_IN_USE' })
  })

  test('wrong options are refused', () => {
    expect(() => new Server({ upgrade: true })).toThrow(/upgrade: found true, allowed: true together with/)
    for (const upgradeSocket of ['relative.sock', `/${'x'.repeat(103)}`, '', '/a\0b'])
      expect(() => new Server({ upgradeSocket }), upgradeSocket).toThrow(
        /upgradeSocket: found .+ absolute path/,
      )
    expect(() => new Server({ upgradeTimeoutMs: -1 })).toThrow(/upgradeTimeoutMs: found -1/)
  })
})
