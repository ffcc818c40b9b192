import { lookup } from 'node:dns/promises'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { HttpPeer, type ProxyError, type Session } from '../ts/index.js'
import { Client, get, once, post } from './support/client.js'
import { DEAD, startOrigin, startRaw } from './support/origin.js'
import { startProxy, until } from './support/proxy.js'

const local = await lookup('localhost', { all: true }).catch(() => [])
const families = new Set(local.map(({ family }) => family))

test('a host name is resolved', async () => {
  const origin = await startOrigin()
  const upstreams: Session['upstream'][] = []
  const { to } = await startProxy({
    upstreamPeer: new HttpPeer(`http://localhost:${origin.port}`),
    responseFilter: (session) => void upstreams.push(session.upstream),
  })
  const reply = await once(to, get('/x'))
  expect([reply.status, reply.body]).toEqual([200, 'GET /x '])
  expect(upstreams[0]?.peer.address).toBe(`localhost:${origin.port}`)
  expect(upstreams[0]?.address).toBe(origin.address)
})

test.skipIf(families.size < 2).each(['127.0.0.1', '::1'])(
  'each address of a name is tried in turn: the origin is on %s alone',
  async (host) => {
    const origin = await startOrigin(undefined, { host, port: 0 })
    const { to } = await startProxy({ upstreamPeer: new HttpPeer(`localhost:${origin.port}`) })
    expect((await once(to, get('/x'))).body).toBe('GET /x ')
  },
)

test('a name that does not exist is a 502', async () => {
  const errors: (string | undefined)[] = []
  const { to } = await startProxy({
    upstreamPeer: new HttpPeer('no-such-host.invalid:80'),
    logging: (_s, error) => void errors.push(error?.code),
  })
  expect((await once(to, get('/'))).status).toBe(502)
  await until(() => errors.length === 1)
  expect(errors).toEqual(['DNS_FAILED'])
})

test('a Unix socket', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'app.sock')
  const origin = await startOrigin(undefined, { path })
  const addresses: unknown[] = []
  const { to } = await startProxy({
    upstreamPeer: new HttpPeer(`unix:${path}`),
    responseFilter: ({ upstream }) => void addresses.push(upstream?.address),
  })
  expect((await once(to, post('/x', 'body'))).body).toBe('POST /x body')
  expect(origin.seen[0]?.header('host')).toBe('a.example')
  expect(addresses).toEqual([expect.stringContaining(path)])
})

test.skipIf(process.platform !== 'linux')('bindTo is where the connection comes from', async () => {
  const origin = await startOrigin()
  const { to } = await startProxy({ upstreamPeer: new HttpPeer(origin.address, { bindTo: '127.0.0.9' }) })
  expect((await once(to, get('/'))).status).toBe(200)
  expect(origin.seen[0]?.remote).toBe('127.0.0.9')
})

test('host: the client’s, the peer’s own, or a fixed one', async () => {
  const origin = await startOrigin()
  const peers: Record<string, HttpPeer> = {
    '/default': new HttpPeer(origin.address),
    '/preserve': new HttpPeer(origin.address, { host: 'preserve' }),
    '/peer': new HttpPeer(`localhost:${origin.port}`, { host: 'peer' }),
    '/fixed': new HttpPeer(origin.address, { host: 'api.example:99' }),
  }
  const { to } = await startProxy({ upstreamPeer: ({ request }) => peers[request.path]! })
  for (const path of Object.keys(peers)) await once(to, get(path, { host: 'client.example' }))
  expect(origin.seen.map((seen) => [seen.url, seen.header('host')])).toEqual([
    ['/default', 'client.example'],
    ['/preserve', 'client.example'],
    ['/peer', `localhost:${origin.port}`],
    ['/fixed', 'api.example:99'],
  ])
})

test('one pool serves all clients, and its numbers can be read', async () => {
  const origin = await startOrigin()
  const reused: unknown[] = []
  const { to, server } = await startProxy(
    {
      upstreamPeer: new HttpPeer(origin.address),
      responseFilter: ({ upstream }) => void reused.push(upstream?.reused),
    },
    { threads: 1 },
  )
  for (let n = 0; n < 5; n++) await once(to, get('/'))
  expect(origin.connections).toBe(1)
  expect(reused).toEqual([false, true, true, true, true])
  await until(() => server.stats().services[0]?.pool.idle === 1)
  expect(server.stats().services[0]?.pool).toEqual({ open: 1, idle: 1, reused: 4, created: 1 })
})

test('peers of the same content share connections; those that differ do not', async () => {
  const origin = await startOrigin()
  const peers = [
    () => new HttpPeer(origin.address),
    () => new HttpPeer(`http://${origin.address}`),
    () => new HttpPeer(origin.address, { bindTo: '127.0.0.1' }),
  ]
  let next = 0
  const { to } = await startProxy({ upstreamPeer: () => peers[next]!() }, { threads: 1 })
  await once(to, get('/'))
  next = 1
  await once(to, get('/'))
  expect(origin.connections).toBe(1)
  next = 2
  await once(to, get('/'))
  expect(origin.connections).toBe(2)
})

test('line 13: upstreamKeepalivePoolSize is for the service, not for each thread', async () => {
  const origin = await startOrigin((_seen, res) => setTimeout(() => res.end('x'), 20))
  const { to, server } = await startProxy(
    { upstreamPeer: new HttpPeer(origin.address) },
    { threads: 4, workStealing: false, upstreamKeepalivePoolSize: 2 },
  )
  const clients = await Promise.all(Array.from({ length: 16 }, () => Client.connect(to)))
  await Promise.all(clients.map((client) => client.ask(get('/'))))
  expect(origin.connections).toBe(16)
  await until(() => origin.sockets.size <= 2)
  expect(server.stats().services[0]?.pool).toMatchObject({ idle: 2, open: 2 })
  for (const client of clients) await client.end()
})

test('idleTimeoutMs 0 keeps no connection', async () => {
  const origin = await startOrigin()
  const { to, server } = await startProxy({
    upstreamPeer: new HttpPeer(origin.address, { idleTimeoutMs: 0 }),
  })
  for (let n = 0; n < 3; n++) await once(to, get('/'))
  expect(origin.connections).toBe(3)
  await until(() => origin.sockets.size === 0)
  expect(server.stats().services[0]?.pool).toEqual({ open: 0, idle: 0, reused: 0, created: 3 })
})

test('idleTimeoutMs closes a connection that nobody needs', async () => {
  const origin = await startOrigin()
  const { to } = await startProxy({ upstreamPeer: new HttpPeer(origin.address, { idleTimeoutMs: 100 }) })
  await once(to, get('/'))
  const start = Date.now()
  await until(() => origin.sockets.size === 0)
  expect(Date.now() - start).toBeLessThan(15_000)
  expect((await once(to, get('/'))).status).toBe(200)
  expect(origin.connections).toBe(2)
})

test('an origin’s Keep-Alive: timeout shortens the wait', async () => {
  const origin = await startRaw((socket) =>
    socket.on('data', () => {
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\nkeep-alive: timeout=1\r\n\r\n')
    }),
  )
  const { to } = await startProxy({ upstreamPeer: new HttpPeer(origin.address) })
  await once(to, get('/'))
  // A second less than it says, for the way: not kept at all.
  await until(() => origin.sockets.size === 0, undefined, 3_000)
  await once(to, get('/'))
  expect(origin.connections).toBe(2)
})

test('a connection that the origin closed while it was idle is noticed before it is used again', async () => {
  const origin = await startOrigin()
  const errors: (ProxyError | undefined)[] = []
  const { to, server } = await startProxy(
    { upstreamPeer: new HttpPeer(origin.address), logging: (_s, error) => void errors.push(error) },
    { threads: 1 },
  )
  for (let n = 0; n < 10; n++) {
    expect((await once(to, post('/', String(n)))).body).toBe(`POST / ${n}`)
    await until(() => server.stats().services[0]?.pool.idle === 1)
    for (const socket of origin.sockets) n % 2 === 0 ? socket.end() : socket.resetAndDestroy()
    await until(() => origin.sockets.size === 0)
  }
  expect(origin.connections).toBe(10)
  expect(errors.filter((error) => error !== undefined)).toEqual([])
})

test('a reused connection that dies before any answer: a GET is sent again, a POST is not', async () => {
  const requests: string[] = []
  const origin = await startRaw((socket) => {
    let count = 0
    socket.on('data', (data) => {
      requests.push(data.latin1Slice(0, 8))
      if (count++ === 0) socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n')
      else socket.destroy()
    })
  })
  const errors: (string | undefined)[] = []
  const { to } = await startProxy(
    { upstreamPeer: new HttpPeer(origin.address), logging: (_s, error) => void errors.push(error?.code) },
    { threads: 1 },
  )
  expect((await once(to, get('/1'))).status).toBe(200)
  expect((await once(to, get('/2'))).status).toBe(200)
  expect(origin.connections).toBe(2)
  expect((await once(to, post('/3', ''))).status).toBe(502)
  await until(() => errors.length === 3)
  expect(errors).toEqual([undefined, undefined, 'UPSTREAM_CLOSED'])
  expect(requests).toEqual(['GET /1 H', 'GET /2 H', 'GET /2 H', 'POST /3 '])
})

test('fail-over from a dead peer to a live one', async () => {
  const origin = await startOrigin()
  const peers = [new HttpPeer(DEAD), new HttpPeer(origin.address)]
  const { to } = await startProxy({
    newCtx: () => ({ tries: 0 }),
    upstreamPeer: (_s, ctx) => peers[ctx.tries]!,
    failToConnect: (_s, _peer, _e, ctx) => (ctx.tries++ === 0 ? 'retry' : 'fail'),
    upstreamRequestFilter: ({ upstream }, request) =>
      request.headers.set('x-attempt', String(upstream?.attempt)),
  })
  expect((await once(to, get('/'))).status).toBe(200)
  expect(origin.seen[0]?.header('x-attempt')).toBe('2')
})

test('more peers than the table holds: each request reaches its own', async () => {
  const origin = await startOrigin((seen, res) => res.end(seen.header('host')))
  const { to } = await startProxy({
    upstreamPeer: ({ request }) => new HttpPeer(origin.address, { host: `h${request.query}.example` }),
  })
  const client = await Client.connect(to)
  for (let n = 0; n < 1_000; n++) expect((await client.ask(get(`/?${n}`))).body).toBe(`h${n}.example`)
  await client.end()
})
