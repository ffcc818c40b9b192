// How a server ends: what signals ask of it, and that it ends with its work and not with its grace.
import { connect } from 'node:http2'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type AnyPhases, HttpPeer, Server, UsageError } from '../ts/index.js'
import { program } from './support/child.js'
import { Client, get, once } from './support/client.js'
import { DEAD } from './support/origin.js'
import { deferred, startProxy, until } from './support/proxy.js'

const own: AnyPhases = {
  upstreamPeer: new HttpPeer(DEAD),
  requestFilter: () => ({ status: 200, body: 'own' }),
}

/** Phases whose requests to `/slow` wait for `release`. */
function gated() {
  const gate = deferred()
  let entered = 0
  const phases: AnyPhases = {
    upstreamPeer: new HttpPeer(DEAD),
    async requestFilter(session) {
      entered++
      if (session.request.path === '/slow') await gate.promise
      return { status: 200, body: session.request.path }
    },
  }
  return { phases, release: () => gate.resolve(), entered: (count: number) => until(() => entered >= count) }
}

/** A program whose server runs; it tells its port, what it was asked for, and the end of `run()`. */
function running(options = '', requestFilter = 'return 204') {
  const { line, ended, child } = program(`
    const server = new Server({ logger: false, ${options} })
    const proxy = server.addService(new HttpProxy({
      upstreamPeer: new HttpPeer('127.0.0.1:1'),
      async requestFilter(session) { console.log('asked', session.request.path); ${requestFilter} },
    }, { threads: 1 }))
    const http = proxy.addTcp('127.0.0.1:0')
    const ended = server.run()
    await server.start()
    console.log(http.address.port)
    await ended
    console.log('stopped', JSON.stringify(await server.close()))`)
  const to = async () => ({ host: '127.0.0.1', port: Number(await line()) })
  return { to, line, ended, child }
}

/** What ends by itself, well, and when: in ms from now. */
async function soon(ended: Promise<{ code: number | null }>): Promise<number> {
  const start = performance.now()
  expect(await ended).toMatchObject({ code: 0, signal: null, stderr: '' })
  return performance.now() - start
}

describe('close()', () => {
  test('line 15: it ends with the last request, not with the grace, and tells how requests ended', async () => {
    const { phases, release, entered } = gated()
    const { server, to } = await startProxy(phases)
    const clients = await Promise.all([0, 1, 2].map(() => Client.connect(to)))
    // Before the end: not counted.
    expect((await clients[0]!.ask(get('/before'))).status).toBe(200)
    for (const client of clients) client.write(get('/slow'))
    await entered(4)
    const start = performance.now()
    const closing = server.close({ graceMs: 600_000 })
    setTimeout(release, 50)
    for (const client of clients) expect((await client.reply())?.header('connection')).toBe('close')
    const { requests, connections } = await closing
    expect({ requests, connections }).toEqual({
      requests: { finished: 3, cut: 0 },
      connections: { finished: 3, cut: 0 },
    })
    expect(performance.now() - start).toBeLessThan(10_000)
  })

  test('what finished and what was cut are told apart', async () => {
    const { phases, entered } = gated()
    const { server, to } = await startProxy(phases)
    const slow = await Promise.all([0, 1].map(() => Client.connect(to)))
    for (const client of slow) client.write(get('/slow'))
    const late = await Client.connect(to)
    await entered(2)
    const closing = server.close({ graceMs: 150 })
    // What it serves before it has begun to close is as ever.
    while ((await late.ask(get('/late'))).header('connection') !== 'close');
    const { requests, connections } = await closing
    expect({ cut: requests.cut, connections }).toEqual({ cut: 2, connections: { finished: 1, cut: 2 } })
    // The one before may have been under way just then.
    expect([1, 2]).toContain(requests.finished)
  })

  test('over HTTP/2 requests are served to their end, and the session is told to go elsewhere', async () => {
    const { phases, release, entered } = gated()
    const { server, http } = await startProxy(phases, { h2c: true })
    const session = connect(http.url)
    onTestFinished(() => session.destroy())
    const goaway = deferred<number>()
    session.on('goaway', (code) => goaway.resolve(code))
    const ask = (path: string) =>
      new Promise<string>((resolve, reject) => {
        let body = ''
        const stream = session.request({ ':path': path }).setEncoding('utf8')
        stream.on('data', (text) => {
          body += text
        })
        stream.on('end', () => resolve(body)).on('error', reject)
      })
    const slow = ask('/slow')
    await entered(1)
    const closing = server.close({ graceMs: 600_000 })
    expect(await goaway.promise).toBe(0)
    release()
    expect(await slow).toBe('/slow')
    expect((await closing).requests).toEqual({ finished: 1, cut: 0 })
  })

  test('delayMs: it serves as ever for so long, and another close() ends that', async () => {
    const { server, to } = await startProxy(own)
    const closing = server.close({ delayMs: 600_000 })
    const reply = await once(to, get('/'))
    expect([reply.status, reply.header('connection')]).toEqual([200, undefined])
    await server.close()
    expect((await closing).requests.cut).toBe(0)
    await expect(once(to, get('/'))).rejects.toThrow()
  })

  test('wrong options are refused', async () => {
    const { server } = await startProxy(own)
    const wrong = server.close({ delayMs: -1, grace: 3 } as object)
    await expect(wrong).rejects.toThrow(/grace: found 3[\s\S]*delayMs: found -1/)
    await expect(wrong).rejects.toBeInstanceOf(UsageError)
    expect(() => new Server({ shutdownDelayMs: 1.5 })).toThrow(/shutdownDelayMs: found 1.5/)
  })
})

describe.skipIf(process.platform === 'win32')('run()', () => {
  test.each(['SIGTERM', 'SIGINT', 'SIGQUIT'] as const)(
    'line 15: %s ends a process with nothing to do at once',
    async (signal) => {
      const { to, child, ended, line } = running('graceMs: 600_000')
      await to()
      child.kill(signal)
      expect(await line()).toMatch(/^stopped/)
      expect(await soon(ended)).toBeLessThan(5_000)
    },
  )

  test.each(['SIGTERM', 'SIGQUIT'] as const)('%s lets requests end', async (signal) => {
    const slow = `await new Promise((resolve) => setTimeout(resolve, 300)); return { status: 200, body: 'done' }`
    const { to, child, ended, line } = running('graceMs: 600_000', slow)
    const client = await Client.connect(await to())
    client.write(get('/'))
    expect(await line()).toBe('asked /')
    child.kill(signal)
    const reply = await client.reply()
    expect([reply?.body, reply?.header('connection')]).toEqual(['done', 'close'])
    expect(await line()).toContain('"requests":{"finished":1,"cut":0}')
    await soon(ended)
  })

  test.each([
    ['SIGINT', ['SIGINT']],
    ['SIGTERM and SIGTERM', ['SIGTERM', 'SIGTERM']],
    ['SIGTERM and SIGINT', ['SIGTERM', 'SIGINT']],
    ['SIGQUIT and SIGTERM', ['SIGQUIT', 'SIGTERM']],
  ] as const)('line 15: %s cut off what is left', async (_name, signals) => {
    const { to, child, ended, line } = running('graceMs: 600_000', 'await new Promise(() => {})')
    const client = await Client.connect(await to())
    client.write(get('/'))
    expect(await line()).toBe('asked /')
    for (const [index, signal] of signals.entries()) {
      // Signals of one kind that come at once are one.
      if (index > 0) await new Promise((resolve) => setTimeout(resolve, 100))
      child.kill(signal)
    }
    await client.closed
    expect(await line()).toContain('"requests":{"finished":0,"cut":1}')
    await soon(ended)
  })

  test('a request behind another delays the end no longer than it takes', async () => {
    const slow = `await new Promise((resolve) => setTimeout(resolve, 200)); return { status: 200, body: 'done' }`
    const { to, child, ended, line } = running('graceMs: 600_000', slow)
    const client = await Client.connect(await to())
    client.write(get('/first') + get('/second'))
    expect(await line()).toBe('asked /first')
    child.kill('SIGTERM')
    const start = performance.now()
    expect((await client.reply())?.status).toBe(200)
    expect(await line()).toBe('asked /second')
    expect((await client.reply())?.header('connection')).toBe('close')
    expect(await line()).toContain('"requests":{"finished":2,"cut":0}')
    // A linger of two seconds was the fault here.
    expect(performance.now() - start).toBeLessThan(1_900)
    await soon(ended)
  })

  test('shutdownDelayMs: after SIGTERM it goes on as ever for so long, and a second signal ends that', async () => {
    const { to, child, ended, line } = running('shutdownDelayMs: 600_000')
    const address = await to()
    child.kill('SIGTERM')
    for (let round = 0; round < 10; round++) {
      const reply = await once(address, get('/'))
      expect([reply.status, reply.header('connection')]).toEqual([204, undefined])
      expect(await line()).toBe('asked /')
    }
    child.kill('SIGTERM')
    expect(await line()).toMatch(/^stopped/)
    await soon(ended)
  })
})
