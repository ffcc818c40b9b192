// server.stats(): what a running server says of itself.
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import {
  type AnyPart,
  DemoOrigin,
  HttpPeer,
  HttpProxy,
  type HttpProxyOptions,
  Server,
  TcpProxy,
} from '../ts/index.js'
import { program } from './support/child.js'
import { Client, get, once } from './support/client.js'
import { DEAD, startOrigin } from './support/origin.js'
import { deferred, startProxy, until } from './support/proxy.js'

const dead = new HttpPeer(DEAD)
const zero = {
  total: 0,
  active: 0,
  filtering: 0,
  proxying: 0,
  responding: 0,
  statuses: { '1xx': 0, '2xx': 0, '3xx': 0, '4xx': 0, '5xx': 0, none: 0 },
  retries: 0,
  timeouts: 0,
  errors: {},
}

async function start(phases: Partial<AnyPart> = {}, options: HttpProxyOptions = {}) {
  const proxy = await startProxy({ upstreamPeer: dead, ...phases }, options)
  return { ...proxy, requests: () => proxy.server.stats().requests }
}

test('before the start there is nothing', () => {
  const stats = new Server({ logger: false }).stats()
  expect(stats).toMatchObject({
    connections: 0,
    accepted: 0,
    rejected: 0,
    refused: 0,
    requests: zero,
    services: [],
  })
  expect(stats.pool).toEqual({ open: 0, idle: 0, reused: 0, created: 0 })
})

test('before the start, and after one that failed, services have done nothing', async () => {
  const server = new Server({ logger: false })
  server.addService(new HttpProxy({ upstreamPeer: new HttpPeer(DEAD) }))
  // Nobody has this address.
  server.addService(new TcpProxy(DEAD)).addTcp('192.0.2.1:1')
  const pool = { open: 0, idle: 0, reused: 0, created: 0 }
  const none = { connections: 0, accepted: 0, rejected: 0, refused: 0, pool, requests: zero, state: 'new' }
  const before = [
    { ...none, name: 'proxy' },
    { ...none, name: 'tcp-proxy', traffic: { received: 0, sent: 0 } },
  ]
  expect(server.stats().services).toEqual(before)
  const starting = server.start()
  expect(server.stats().services.map(({ name }) => name)).toEqual(['proxy', 'tcp-proxy'])
  await expect(starting).rejects.toMatchObject({ code: 'BIND_FAILED' })
  expect(server.stats().services).toMatchObject(before.map(({ state: _, ...rest }) => rest))
  await server.close()
})

test('requests are counted by the class of what the client got, and in all', async () => {
  const origin = await startOrigin((seen, res) => {
    res.statusCode = Number(seen.url?.slice(1))
    res.end()
  })
  const { to, server, requests } = await start({
    upstreamPeer: new HttpPeer(origin.address),
    requestFilter: ({ request }) => (request.path === '/own' ? 418 : undefined),
  })
  const client = await Client.connect(to)
  for (const path of ['/200', '/204', '/302', '/404', '/own', '/500', '/200']) await client.ask(get(path))
  await client.end()
  await until(() => server.stats().connections === 0)
  expect(requests()).toEqual({
    ...zero,
    total: 7,
    statuses: { '1xx': 0, '2xx': 3, '3xx': 1, '4xx': 2, '5xx': 1, none: 0 },
  })
  const { services, ...all } = server.stats()
  expect(all).toMatchObject({ connections: 0, accepted: 1, rejected: 0, refused: 0 })
  expect(services).toEqual([
    {
      name: 'proxy',
      state: 'ready',
      connections: 0,
      accepted: 1,
      rejected: 0,
      refused: 0,
      requests: requests(),
      pool: all.pool,
    },
  ])
})

test('requests under way are counted where they are', async () => {
  const [filter, head, body] = [deferred(), deferred(), deferred()]
  const origin = await startOrigin(async (_seen, res) => {
    await head.promise
    res.write('a')
    await body.promise
    res.end()
  })
  const { to, requests } = await start({
    upstreamPeer: new HttpPeer(origin.address),
    requestFilter: () => filter.promise,
  })
  const client = await Client.connect(to)
  client.write(get('/'))
  await until(() => requests().filtering === 1)
  expect(requests()).toMatchObject({ total: 1, active: 1, proxying: 0, responding: 0 })
  filter.resolve()
  await until(() => requests().proxying === 1)
  expect(requests()).toMatchObject({ total: 1, active: 1, filtering: 0, responding: 0 })
  head.resolve()
  await until(() => requests().responding === 1)
  expect(requests()).toMatchObject({ total: 1, active: 1, filtering: 0, proxying: 0 })
  body.resolve()
  await client.reply()
  await until(() => requests().active === 0)
  expect(requests()).toMatchObject({ total: 1, statuses: { '2xx': 1 } })
  await client.end()
})

test('errors by their code, tries and time-outs', async () => {
  const origin = await startOrigin(() => {})
  let tries = 0
  const { to, requests } = await start({
    upstreamPeer: ({ request }) =>
      request.path === '/slow' ? new HttpPeer(origin.address, { readTimeoutMs: 50 }) : dead,
    failToConnect: () => (++tries < 3 ? 'retry' : 'fail'),
    errorWhileProxy: ({ upstream }) => (upstream!.attempt === 1 ? 'retry' : 'fail'),
  })
  expect((await once(to, get('/'))).status).toBe(502)
  expect((await once(to, get('/slow'))).status).toBe(504)
  await until(() => requests().active === 0)
  expect(requests()).toEqual({
    ...zero,
    total: 2,
    statuses: { ...zero.statuses, '5xx': 2 },
    retries: 3,
    timeouts: 2,
    errors: { CONNECT_REFUSED: 1, READ_TIMEOUT: 1 },
  })
})

test('a client that leaves got nothing, and none of it is under way any more', async () => {
  const entered = deferred()
  const { to, requests } = await start({
    requestFilter: () => {
      entered.resolve()
      return new Promise<void>(() => {})
    },
  })
  const client = await Client.connect(to)
  client.write(get('/'))
  await entered.promise
  await client.reset()
  await until(() => requests().active === 0)
  expect(requests()).toMatchObject({ total: 1, statuses: { none: 1 }, errors: { CLIENT_ABORTED: 1 } })
})

test('what is no request of anybody’s is counted as it is answered', async () => {
  const { to, requests } = await start()
  await once(to, 'GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n')
  await until(() => requests().active === 0 && requests().total === 1)
  expect(requests()).toMatchObject({ statuses: { '4xx': 1 }, errors: { BAD_REQUEST: 1 } })
})

test('many at once, on several threads: nothing is lost, and nothing stays', async () => {
  const { to, requests } = await start(
    { requestFilter: ({ request }) => (request.path === '/1' ? 200 : undefined) },
    { threads: 4 },
  )
  const clients = await Promise.all(Array.from({ length: 16 }, () => Client.connect(to)))
  await Promise.all(
    clients.map(async (client) => {
      for (let i = 0; i < 50; i++) await client.ask(get(`/${i % 2}`))
      await client.end()
    }),
  )
  await until(() => requests().active === 0)
  expect(requests()).toEqual({
    ...zero,
    total: 800,
    statuses: { ...zero.statuses, '2xx': 400, '5xx': 400 },
    errors: { CONNECT_REFUSED: 400 },
  })
})

test('services are counted each and together', async () => {
  const { server, to } = await start()
  await once(to, get('/'))
  const other = new Server({ logger: false })
  other.addService(new DemoOrigin())
  await other.start()
  expect(other.stats().requests).toEqual(zero)
  expect(other.stats().services).toMatchObject([{ name: 'demo-origin', state: 'ready', requests: zero }])
  await other.close()
  expect(server.stats().requests.total).toBe(1)
})

test('the thread of JavaScript: crossings, what waits for it, and how late its loop is', async () => {
  const held = deferred()
  const { to, server } = await start({
    requestFilter: ({ request }) => (request.path === '/held' ? held.promise : undefined),
  })
  const before = server.stats().javascript
  const client = await Client.connect(to)
  client.write(get('/held'))
  await until(() => server.stats().javascript.crossings > before.crossings)
  const during = server.stats().javascript
  expect(during.sessions).toBe(before.sessions + 1)
  expect(during.items).toBeGreaterThan(before.items)
  held.resolve()
  await client.reply()
  await client.end()
  await until(() => server.stats().javascript.sessions === before.sessions)
  // A loop that is held up shows at once, and also where it was looked at just before. It has to have been
  // seen free before.
  await sleep(1_100)
  for (let i = 0; i < 3; i++) {
    server.stats()
    const end = performance.now() + 300
    while (performance.now() < end);
    await sleep(100)
    expect(server.stats().javascript.loopDelayMs.max).toBeGreaterThan(100)
  }
  expect(during).toMatchObject({ queued: 0, droppedLogs: expect.any(Number), late: expect.any(Number) })
})

test('it is cheap enough for every second', async () => {
  const { server } = await start()
  for (let i = 0; i < 1_000; i++) server.stats()
  const start_ = performance.now()
  for (let i = 0; i < 1_000; i++) server.stats()
  // Some 50 µs each; a machine that is busy with other things may take longer.
  expect(performance.now() - start_).toBeLessThan(5_000)
})

test('connections that are closed because of their client are counted apart', async () => {
  const limited = await start({}, { maxConnectionsPerClient: 2 })
  const clients = await Promise.all([0, 1, 2, 3, 4].map(() => Client.connect(limited.to)))
  await until(() => limited.server.stats().refused === 3)
  expect(limited.server.stats()).toMatchObject({ connections: 2, accepted: 2, rejected: 0 })
  for (const client of clients) client.socket.destroy()

  const { server, proxy } = await start()
  const { address } = proxy.addTcp('127.0.0.1:0', { connectionFilter: { deny: ['loopback'] } })
  const denied = await Client.connect(address)
  await until(() => server.stats().services[0]?.refused === 1)
  expect(server.stats()).toMatchObject({ accepted: 0, rejected: 0, refused: 1 })
  denied.socket.destroy()
})

test('requests whose logging is left out, as JavaScript is blocked for too many of them, are counted', async () => {
  const { line } = program(
    `
    let logged = 0
    const phases = { upstreamPeer: new HttpPeer('127.0.0.1:1'), requestFilter: () => 204, logging: () => void logged++ }
    const server = new Server({ logger: false })
    const proxy = server.addService(new HttpProxy(phases, { maxQueued: 1 }))
    proxy.addTcp('127.0.0.1:0')
    await server.start()
    console.log(proxy.endpoints[0].address.port)
    const answered = () => Object.values(server.stats().requests.statuses).reduce((a, b) => a + b)
    while (answered() < 70_000) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20)
    setInterval(() => {
      const { unlogged } = server.stats().javascript
      if (logged + unlogged === 70_000) console.log(unlogged)
    }, 10)
    `,
    120_000,
  )
  const socket = connect(Number(await line()), '127.0.0.1')
  onTestFinished(() => void socket.destroy())
  socket.resume().write('GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(70_000))
  expect(Number(await line())).toBeGreaterThan(4_000)
}, 120_000)

test('logging that does not settle takes no place from requests, and floods no log', async () => {
  const { line } = program(
    `
    const phases = {
      upstreamPeer: new HttpPeer('127.0.0.1:1'),
      requestFilter: () => 204,
      logging: () => new Promise(() => {}),
    }
    const lines = []
    const server = new Server({ onLog: (records) => void lines.push(...records.map(({ message }) => message)) })
    const proxy = server.addService(new HttpProxy(phases, { callbackTimeoutMs: 3_000 }))
    proxy.addTcp('127.0.0.1:0')
    await server.start()
    console.log(proxy.endpoints[0].address.port)
    const timer = setInterval(() => {
      const { requests: { statuses }, javascript: { unlogged, sessions } } = server.stats()
      if (Object.values(statuses).reduce((a, b) => a + b) < 40_000 || sessions > 0) return
      clearInterval(timer)
      console.log(JSON.stringify([statuses['2xx'], statuses['5xx'], unlogged, lines.length]))
    }, 20)
    `,
    120_000,
  )
  const port = Number(await line())
  // Several at once, whose crossings go together.
  for (let n = 0; n < 8; n++) {
    const socket = connect(port, '127.0.0.1')
    onTestFinished(() => void socket.destroy())
    socket.resume().write('GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(5_000))
  }
  const [good, bad, unlogged, lines] = JSON.parse(await line())
  expect([good, bad, unlogged]).toEqual([40_000, 0, 0])
  expect(lines).toBeLessThan(100)
}, 120_000)
