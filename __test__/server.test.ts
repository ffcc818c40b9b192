import { once as event } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { networkInterfaces } from 'node:os'
import { describe, expect, onTestFinished, test } from 'vitest'
import {
  type AnyPhases,
  type CloseReport,
  type Ends,
  HttpPeer,
  HttpProxy,
  type HttpProxyOptions,
  Server,
  UsageError,
} from '../ts/index.js'
import { program } from './support/child.js'
import { Client, get, once } from './support/client.js'
import { descriptors, memory } from './support/memory.js'
import { DEAD } from './support/origin.js'
import { deferred, startProxy, until } from './support/proxy.js'
import { tasks } from './support/tasks.js'

const hasIPv6 = Object.values(networkInterfaces())
  .flat()
  .some((address) => address?.address === '::1')
const own: AnyPhases = {
  upstreamPeer: new HttpPeer(DEAD),
  requestFilter: () => ({ status: 200, body: 'own' }),
}

/** A server with a proxy that answers by itself, not started. */
function make(options: HttpProxyOptions = { threads: 1 }, phases: AnyPhases = own) {
  const server = new Server({ logger: false })
  onTestFinished(async () => {
    await server.close({ graceMs: 0 })
  })
  return { server, proxy: server.addService(new HttpProxy(phases, options)) }
}

/** Whether something listens there. */
async function listens(to: { host: string; port: number }): Promise<boolean> {
  const client = await Client.connect(to).catch(() => undefined)
  await client?.end()
  return client !== undefined
}

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await event(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await event(server, 'close')
  return port
}

/** How a server stopped. */
const report = (requests: Partial<Ends> = {}, connections: Partial<Ends> = {}): CloseReport => ({
  requests: { finished: 0, cut: 0, ...requests },
  connections: { finished: 0, cut: 0, ...connections },
})

async function failure(promise: Promise<unknown>): Promise<UsageError> {
  const error = await promise.then(
    () => undefined,
    (error: unknown) => error,
  )
  if (!(error instanceof UsageError)) throw new Error(`not a UsageError: ${error}`)
  return error
}

describe('listening', () => {
  test('port 0 is chosen by the system, and known after the start', async () => {
    const { server, proxy } = make()
    const first = proxy.addTcp('127.0.0.1:0')
    const second = proxy.addTcp('0.0.0.0:0')
    expect(() => first.url).toThrow(/start/)
    await server.start()
    expect(first.url).toBe(`http://127.0.0.1:${first.address.port}`)
    expect(first.address.port).toBeGreaterThan(0)
    expect(second.address.port).not.toBe(first.address.port)
    expect((await once(first.address, get('/'))).body).toBe('own')
    expect((await once({ host: '127.0.0.1', port: second.address.port }, get('/'))).body).toBe('own')
  })

  test.skipIf(!hasIPv6)('IPv6', async () => {
    const { server, proxy } = make()
    const http = proxy.addTcp('[::1]:0')
    await server.start()
    expect(http.url).toBe(`http://[::1]:${http.address.port}`)
    expect(http.address.host).toBe('::1')
    expect((await once(http.address, get('/'))).body).toBe('own')
  })

  test('a taken port is an error that names it, nothing stays bound, and the start can be tried again', async () => {
    const holder = createServer().listen(0, '127.0.0.1')
    await event(holder, 'listening')
    const taken = (holder.address() as AddressInfo).port
    const free = await freePort()
    const { server, proxy } = make()
    const first = proxy.addTcp(`127.0.0.1:${free}`)
    proxy.addTcp(`127.0.0.1:${taken}`)
    const error = await failure(server.start())
    expect(error.code).toBe('ADDRESS_IN_USE')
    expect(error.message).toContain(`127.0.0.1:${taken}`)
    expect(await listens({ host: '127.0.0.1', port: free })).toBe(false)
    expect(() => first.address).toThrow(UsageError)
    holder.close()
    await event(holder, 'close')
    await server.start()
    expect((await once(first.address, get('/'))).body).toBe('own')
  })

  test('an address of another machine is an error that names it', async () => {
    const { server, proxy } = make()
    proxy.addTcp('192.0.2.1:0')
    const error = await failure(server.start())
    expect(error.code).toBe('BIND_FAILED')
    expect(error.message).toContain('192.0.2.1')
  })

  test('several servers and services run side by side, and stop apart', async () => {
    const answers = ['a', 'b', 'c']
    const servers = answers.map((body) =>
      make({ threads: 1 }, { ...own, requestFilter: () => ({ status: 200, body }) }),
    )
    const endpoints = servers.map(({ proxy }) => proxy.addTcp('127.0.0.1:0'))
    const other = servers[0]!.server.addService(
      new HttpProxy(
        { ...own, requestFilter: () => ({ status: 200, body: 'second' }) },
        { threads: 1, name: 'second' },
      ),
    )
    const second = other.addTcp('127.0.0.1:0')
    await Promise.all(servers.map(({ server }) => server.start()))
    const bodies = await Promise.all(
      endpoints.map(async ({ address }) => (await once(address, get('/'))).body),
    )
    expect(bodies).toEqual(answers)
    expect((await once(second.address, get('/'))).body).toBe('second')
    expect(servers[0]!.server.stats().services.map(({ name }) => name)).toEqual(['proxy', 'second'])
    await servers[1]!.server.close()
    expect(await listens(endpoints[1]!.address)).toBe(false)
    expect((await once(endpoints[2]!.address, get('/'))).body).toBe('c')
  })

  test.each([true, false])('with workStealing %j, each thread serves', async (workStealing) => {
    const { server, proxy } = make({ threads: 3, workStealing, name: 'threads' })
    const http = proxy.addTcp('127.0.0.1:0')
    await server.start()
    const clients = await Promise.all(Array.from({ length: 24 }, () => Client.connect(http.address)))
    const replies = await Promise.all(clients.map((client) => client.ask(get('/'))))
    expect(replies.map(({ body }) => body)).toEqual(Array(24).fill('own'))
    if (process.platform === 'linux') {
      expect(tasks().filter(({ name }) => name.startsWith('threads')).length).toBeGreaterThanOrEqual(3)
    }
    for (const client of clients) await client.end()
  })
})

describe('closing', () => {
  /** A proxy whose requests wait for `release`. */
  async function busy() {
    const gate = deferred()
    let entered = 0
    const logged: unknown[] = []
    const { server, http, to } = await startProxy({
      upstreamPeer: new HttpPeer(DEAD),
      async requestFilter() {
        entered++
        await gate.promise
        return { status: 200, body: 'done' }
      },
      logging: (_s, error) => void logged.push(error?.code),
    })
    const client = await Client.connect(to)
    client.write(get('/'))
    await until(() => entered === 1)
    return { server, http, to, client, logged, release: gate.resolve }
  }

  test('line 15: an idle server closes at once, with its idle connections', async () => {
    const { server, to } = await startProxy(own)
    const client = await Client.connect(to)
    await client.ask(get('/'))
    const start = Date.now()
    expect(await server.close({ graceMs: 30_000 })).toEqual(report({}, { finished: 1 }))
    await client.closed
    expect(Date.now() - start).toBeLessThan(15_000)
    expect(await listens(to)).toBe(false)
  })

  test('a busy one waits for its requests, and takes no new ones', async () => {
    const { server, to, client, logged, release } = await busy()
    let closed = false
    const closing = server.close({ graceMs: 30_000 }).then((report) => {
      closed = true
      return report
    })
    const before = Date.now()
    while (await listens(to)) if (Date.now() - before > 20_000) throw new Error('it still listens')
    expect(closed).toBe(false)
    release()
    const reply = await client.reply()
    expect([reply?.status, reply?.body, reply?.header('connection')]).toEqual([200, 'done', 'close'])
    expect((await closing).requests).toEqual({ finished: 1, cut: 0 })
    await client.closed
    await until(() => logged.length === 1)
    expect(logged).toEqual([undefined])
  })

  test('what is not done at the end of the grace is cut, and logged', async () => {
    const { server, client, logged } = await busy()
    const start = Date.now()
    expect(await server.close({ graceMs: 200 })).toEqual(report({ cut: 1 }, { cut: 1 }))
    expect(Date.now() - start).toBeGreaterThanOrEqual(190)
    expect(await client.reply()).toBeUndefined()
    await until(() => logged.length === 1)
    expect(logged).toEqual(['SERVER_CLOSED'])
  })

  test('close may be called several times: the shorter grace wins, all get one report', async () => {
    const { server } = await busy()
    const start = Date.now()
    const reports = await Promise.all([
      server.close({ graceMs: 30_000 }),
      server.close({ graceMs: 50 }),
      server.close({ graceMs: 30_000 }),
    ])
    expect(Date.now() - start).toBeLessThan(10_000)
    expect(reports).toEqual(Array(3).fill(report({ cut: 1 }, { cut: 1 })))
    expect(await server.close()).toEqual(report({ cut: 1 }, { cut: 1 }))
  })

  test('it is disposed of at the end of a block', async () => {
    const { server, client } = await busy()
    await server[Symbol.asyncDispose]()
    await client.closed
    expect((await failure(server.start())).code).toBe('SERVER_CLOSED')
    expect(() => server.addService(new HttpProxy(own))).toThrow(/closed/)
  })

  test('a server that never started closes; one that is starting too', async () => {
    expect(await make().server.close()).toEqual(report())
    const { server, proxy } = make()
    const http = proxy.addTcp('127.0.0.1:0')
    const started = server.start()
    const closing = server.close()
    await started
    await closing
    expect(await listens(http.address)).toBe(false)
  })

  test('a wrong grace is refused', async () => {
    expect((await failure(make().server.close({ graceMs: -1 }))).message).toMatch(/graceMs: found -1/)
    for (const options of [5_000, null])
      expect((await failure(make().server.close(options as never))).code).toBe('INVALID_OPTIONS')
  })

  test('no endpoint is added any more', async () => {
    const { server, proxy } = make()
    proxy.addTcp('127.0.0.1:0')
    await server.start()
    const closing = server.close()
    expect(() => proxy.addTcp('127.0.0.1:0')).toThrow(expect.objectContaining({ code: 'SERVER_CLOSED' }))
    await closing
  })
})

describe('a process', () => {
  const script = (after: string, phases = 'requestFilter: () => 204') => `
    process.exit = () => console.log('process.exit was called')
    const server = new Server({ logger: false })
    const proxy = server.addService(new HttpProxy({ upstreamPeer: new HttpPeer('127.0.0.1:1'), ${phases} }, { threads: 2 }))
    const http = proxy.addTcp('127.0.0.1:0')
    ${after}`

  test.each(['SIGTERM', 'SIGINT'] as const)(
    'run() stops at %s, and the process ends by itself',
    async (signal) => {
      const { line, ended, child } = program(
        script(`
        setTimeout(function tell() { try { console.log(http.address.port) } catch { setTimeout(tell, 5) } }, 5)
        await server.run()
        console.log('stopped', process.listenerCount('SIGTERM'), process.listenerCount('SIGINT'))`),
      )
      const port = Number(await line())
      const client = await Client.connect({ host: '127.0.0.1', port })
      await client.ask(get('/'))
      child.kill(signal)
      await client.closed
      expect(await line()).toBe('stopped 0 0')
      expect(await ended).toEqual({ code: 0, signal: null, stderr: '' })
    },
  )

  test('a signal that comes while it starts ends the start, and run() resolves', async () => {
    const { line, ended, child } = program(`
      const server = new Server({ logger: false })
      const wait = ({ signal }) => new Promise((resolve) => signal.addEventListener('abort', resolve))
      server.addService(new BackgroundService('slow', { start(context) { console.log('starting'); return wait(context) } }))
      await server.run()
      console.log('stopped')`)
    expect(await line()).toBe('starting')
    child.kill('SIGTERM')
    expect(await line()).toBe('stopped')
    expect(await ended).toEqual({ code: 0, signal: null, stderr: '' })
  })

  test('run() lets requests end at the first signal, and cuts them at the second', async () => {
    const { line, ended, child } = program(
      script(
        `setTimeout(function tell() { try { console.log(http.address.port) } catch { setTimeout(tell, 5) } }, 5)
        await server.run()
        console.log('stopped')`,
        `requestFilter: () => { console.log('entered'); return new Promise(() => {}) }`,
      ),
    )
    const to = { host: '127.0.0.1', port: Number(await line()) }
    const client = await Client.connect(to)
    client.write(get('/'))
    expect(await line()).toBe('entered')
    child.kill('SIGTERM')
    const before = Date.now()
    while (await listens(to)) if (Date.now() - before > 20_000) throw new Error('it still listens')
    expect(client.socket.destroyed).toBe(false)
    child.kill('SIGTERM')
    await client.closed
    expect(await line()).toBe('stopped')
    expect(await ended).toEqual({ code: 0, signal: null, stderr: '' })
  })

  test('run() rejects if an endpoint fails', async () => {
    const { line, ended } = program(
      script(`
        proxy.addTcp('192.0.2.1:80')
        await server.run().catch((error) => console.log(error.code))`),
    )
    expect(await line()).toBe('BIND_FAILED')
    expect(await ended).toEqual({ code: 0, signal: null, stderr: '' })
  })

  test('a signal without run() ends the process as ever', async () => {
    const { line, ended, child } = program(script(`await server.start(); console.log('started')`))
    expect(await line()).toBe('started')
    child.kill('SIGTERM')
    expect(await ended).toEqual({ code: null, signal: 'SIGTERM', stderr: '' })
  })

  test('after close() it ends by itself', async () => {
    const { line, ended } = program(
      script(`
        await server.start()
        console.log(http.address.port)
        const answers = await fetch(http.url).then((response) => response.status)
        console.log(answers)
        await server.close()
        console.log('closed')`),
    )
    await line()
    expect(await line()).toBe('204')
    expect(await line()).toBe('closed')
    expect(await ended).toEqual({ code: 0, signal: null, stderr: '' })
  })

  test('a process that only serves goes on to serve', async () => {
    const { line, child, ended } = program(script(`await server.start(); console.log(http.address.port)`))
    const port = Number(await line())
    for (let n = 0; n < 20; n++) expect((await once({ host: '127.0.0.1', port }, get('/'))).status).toBe(204)
    expect(child.exitCode).toBeNull()
    child.kill('SIGTERM')
    await ended
  })

  test('unused, it ends by itself: neither imports nor objects hold it', async () => {
    const { ended } = program(script(''))
    expect(await ended).toEqual({ code: 0, signal: null, stderr: '' })
  })
})

test('a server that cut its requests leaves the next one well', async () => {
  for (let round = 0; round < 20; round++) {
    const entered = deferred()
    const first = await startProxy({
      ...own,
      requestFilter() {
        entered.resolve()
        return new Promise<void>(() => {})
      },
    })
    const client = await Client.connect(first.to)
    client.write(get('/'))
    await entered.promise
    expect(await first.server.close({ graceMs: 0 })).toEqual(report({ cut: 1 }, { cut: 1 }))
    const next = await startProxy(own, { callbackTimeoutMs: 1_000 })
    expect((await once(next.to, get('/'))).status).toBe(200)
    await next.server.close()
  }
})

test('1,000 starts and closes leak neither descriptors nor memory', async () => {
  const cycle = async (index: number) => {
    const server = new Server({ logger: false })
    const proxy = server.addService(
      new HttpProxy(own, { threads: 1 + (index % 2), workStealing: index % 4 < 2 }),
    )
    const http = proxy.addTcp('127.0.0.1:0')
    await server.start()
    if (index % 10 === 0 && (await once(http.address, get('/'))).status !== 200) throw new Error('no answer')
    await server.close({ graceMs: 0 })
  }
  for (let index = 0; index < 200; index++) await cycle(index)
  const before = { ...(await memory()), descriptors: descriptors() }
  for (let index = 0; index < 1_000; index++) await cycle(index)
  const after = { ...(await memory()), descriptors: descriptors() }
  expect(after.descriptors - before.descriptors).toBeLessThanOrEqual(2)
  expect(after.heap - before.heap).toBeLessThan(4)
  // It rests after some 3,000, at 30 MiB more; of 8,000 the last 5,000 add none.
  expect(after.rss - before.rss).toBeLessThan(40)
}, 90_000)
