// Requests that phases make by themselves.
import { once as event } from 'node:events'
import { createServer } from 'node:http'
import { describe, expect, test } from 'vitest'
import {
  type AnyPhases,
  HttpPeer,
  type Phases,
  type ProxyError,
  type Session,
  type UsageError,
} from '../ts/index.js'
import { Client, drive, get, once } from './support/client.js'
import { DEAD, startOrigin, startRaw } from './support/origin.js'
import { deferred, startProxy, until } from './support/proxy.js'
import { startTlsOrigin } from './support/tls.js'

const dead = new HttpPeer(DEAD)

/** Runs `act` in `requestFilter` of one request, and answers with what it gives. */
async function inFilter(
  act: (session: Session) => unknown,
  phases: Partial<AnyPhases> = {},
  request = get('/asked'),
) {
  const proxy = await startProxy({
    upstreamPeer: dead,
    ...phases,
    requestFilter: async (session, ctx) => {
      if (session.parent !== undefined) return (phases as Phases<unknown>).requestFilter?.(session, ctx)
      return { status: 200, body: JSON.stringify((await act(session)) ?? null) }
    },
  })
  const reply = await once(proxy.to, request)
  return { ...proxy, reply, value: reply.body === '' ? undefined : JSON.parse(reply.body) }
}

const failure = async (promise: Promise<unknown>) =>
  promise.then(
    () => 'no failure',
    (error: ProxyError) => error.code,
  )
const mistake = (run: () => unknown) => {
  try {
    run()
  } catch (error) {
    return (error as UsageError).code
  }
  return 'no mistake'
}

describe.each(['h1', 'h2'] as const)('straight to a peer of %s', (version) => {
  test('request and response come whole', async () => {
    const seen: unknown[] = []
    let port: number
    const handler = (
      req: AsyncIterable<Buffer> & { method?: string; url?: string; headers: object },
      res: {
        setHeader(name: string, value: string | string[]): void
        end(text: string): void
        statusCode: number
      },
    ) => {
      void (async () => {
        let body = ''
        for await (const piece of req) body += piece
        seen.push([req.method, req.url, body, (req.headers as Record<string, string>)['x-a']])
        res.statusCode = 201
        res.setHeader('set-cookie', ['a=1', 'b=2'])
        res.end('made')
      })()
    }
    if (version === 'h2') port = (await startTlsOrigin('clear', handler as never)).port
    else {
      const server = createServer(handler as never).listen(0, '127.0.0.1')
      await event(server, 'listening')
      port = (server.address() as { port: number }).port
      server.unref()
    }
    const peer = new HttpPeer(`127.0.0.1:${port}`, { protocol: version })
    const { value } = await inFilter(async (session) => {
      const answer = await session.subrequest('/make?it', {
        method: 'POST',
        headers: { 'x-a': 'b' },
        body: 'text',
        peer,
      })
      return [answer.status, answer.headers.getSetCookie(), await answer.text()]
    })
    expect(seen).toEqual([['POST', '/make?it', 'text', 'b']])
    expect(value).toEqual([201, ['a=1', 'b=2'], 'made'])
  })
})

test('a response can be the answer, also one that is long', async () => {
  const size = 900_000
  const origin = await startOrigin((_seen, res) => res.end('x'.repeat(size)))
  const { to } = await startProxy({
    requestFilter: async (session) =>
      session.respond(await session.subrequest('/', { peer: new HttpPeer(origin.address) })),
    upstreamPeer: dead,
  })
  expect((await once(to, get('/'))).body.length).toBe(size)
})

test('it shares the connections of the pool', async () => {
  const origin = await startOrigin()
  const peer = new HttpPeer(origin.address)
  const { to } = await startProxy(
    {
      requestFilter: async (session) => {
        await (await session.subrequest('/first', { peer })).text()
      },
      upstreamPeer: peer,
    },
    { threads: 1 },
  )
  expect((await once(to, get('/second'))).status).toBe(200)
  expect(origin.seen.map(({ url }) => url)).toEqual(['/first', '/second'])
  expect(origin.connections).toBe(1)
})

test('through the phases all of them run, with a session of its own and the parent in sight', async () => {
  const origin = await startOrigin()
  const seen: unknown[] = []
  const logged: unknown[] = []
  const { value } = await inFilter(
    async (session) => {
      const answer = await session.subrequest('/inner', { headers: { 'x-tag': 't' } })
      return [answer.status, answer.headers.get('x-own'), await answer.text()]
    },
    {
      newCtx: (session) => session.request.path,
      requestFilter: (session, ctx) =>
        void seen.push(
          ctx,
          session.parent?.request.path,
          session.client.host,
          session.id !== session.parent?.id,
        ),
      responseFilter: (_session, response, ctx) => response.headers.set('x-own', ctx),
      logging: (session, error) => void logged.push([session.request.path, error?.code]),
      upstreamPeer: () => new HttpPeer(origin.address),
    },
  )
  expect(value).toEqual([200, '/inner', 'GET /inner '])
  expect(seen).toEqual(['/inner', '/asked', '127.0.0.1', true])
  await until(() => logged.length === 2)
  expect(logged).toContainEqual(['/inner', undefined])
})

test('what a phase answers and the page of a failure are responses; straight, a failure rejects', async () => {
  const { value, lines } = await inFilter(
    async (session) => [
      (await session.subrequest('/own')).status,
      (await session.subrequest('/fails')).status,
      await failure(session.subrequest('/', { peer: dead })),
    ],
    { requestFilter: (session) => (session.request.path === '/own' ? 204 : undefined) },
  )
  expect(value).toEqual([204, 502, 'CONNECT_REFUSED'])
  await until(() => lines.length === 1)
  expect(lines[0]).toContain('502 GET /fails')
})

test('subrequests of subrequests have a limit', async () => {
  const depths: string[] = []
  const { to } = await startProxy(
    {
      upstreamPeer: dead,
      requestFilter: async (session) => {
        try {
          session.respond((await session.subrequest(`${session.request.path}x`)).status)
        } catch (error) {
          depths.push(session.request.path, (error as UsageError).code)
          session.respond(218)
        }
      },
    },
    { maxSubrequestDepth: 3 },
  )
  expect((await once(to, get('/'))).status).toBe(218)
  expect(depths).toEqual(['/xxx', 'SUBREQUEST_DEPTH'])
})

test('many at once that wait for each other come to an end', async () => {
  const origin = await startOrigin()
  const peer = new HttpPeer(origin.address)
  const { to } = await startProxy(
    {
      upstreamPeer: peer,
      requestFilter: async (session) => {
        if (session.parent === undefined) await (await session.subrequest('/inner')).text()
      },
    },
    { threads: 1, maxConnections: 20, upstreamKeepalivePoolSize: 1 },
  )
  await drive(
    to,
    200,
    20,
    () => get('/outer'),
    (_index, reply) => expect(reply?.status).toBe(200),
  )
})

test('one that is under way is cancelled when its client leaves, and when its request ends', async () => {
  let gone = 0
  let asked = 0
  const origin = await startRaw((socket) => {
    socket.on('data', () => asked++)
    socket.on('close', () => gone++)
  })
  const peer = new HttpPeer(origin.address)
  const codes: string[] = []
  const { to } = await startProxy({
    upstreamPeer: dead,
    requestFilter: async (session) => {
      const waiting = failure(session.subrequest('/', { peer })).then((code) => void codes.push(code))
      if (session.request.path === '/ends') return 204
      await waiting
      return undefined
    },
  })
  const client = await Client.connect(to)
  client.write(get('/leaves'))
  await until(() => asked === 1)
  await client.end()
  await until(() => gone === 1 && codes.length === 1)
  expect((await once(to, get('/ends'))).status).toBe(204)
  await until(() => codes.length === 2)
  expect(codes).toEqual(['CLIENT_ABORTED', 'CLIENT_ABORTED'])
  await until(() => origin.sockets.size === 0)
})

test('a body that nobody reads to its end does not hold its connection', async () => {
  const origin = await startOrigin((_seen, res) => res.end('x'.repeat(5_000_000)))
  const { reply } = await inFilter(
    async (session) => (await session.subrequest('/', { peer: new HttpPeer(origin.address) })).status,
  )
  expect(reply.body).toBe('200')
  await until(() => origin.sockets.size === 0)
})

test('time and size are bounded', async () => {
  const silent = await startRaw(() => {})
  const long = await startOrigin((_seen, res) => res.end('x'.repeat(2_000)))
  const { value } = await inFilter(async (session) => [
    await failure(session.subrequest('/', { peer: new HttpPeer(silent.address), timeoutMs: 50 })),
    await failure(
      session.subrequest('/', { peer: new HttpPeer(long.address), maxBytes: 1_999 }).then((r) => r.text()),
    ),
    (await (await session.subrequest('/', { peer: new HttpPeer(long.address), maxBytes: 2_000 })).text())
      .length,
  ])
  expect(value).toEqual(['REQUEST_EXPIRED', 'BODY_TOO_LARGE', 2_000])
})

test('a request has so many under way', async () => {
  const silent = await startRaw(() => {})
  const peer = new HttpPeer(silent.address)
  const { value } = await inFilter((session) => {
    for (let at = 0; at < 32; at++) void failure(session.subrequest('/', { peer }))
    return mistake(() => session.subrequest('/', { peer }))
  })
  expect(value).toBe('SUBREQUEST_LIMIT')
})

test('what is wrong with one is said by name', async () => {
  const { value } = await inFilter((session) => [
    mistake(() => session.subrequest('no-path')),
    mistake(() => session.subrequest('/a b')),
    ...[
      { method: 'CONNECT' },
      { method: 'a b' },
      { host: 'a/b' },
      { body: 1 },
      { peer: '127.0.0.1' },
      { other: 1 },
    ].map((options) => mistake(() => session.subrequest('/', options as object))),
    ...[{ Host: 'b' }, { 'content-length': '1' }, { a: 'b\r\nc: d' }, { 'a b': 'c' }].map((headers) =>
      mistake(() => session.subrequest('/', { headers: headers as Record<string, string> })),
    ),
  ])
  expect(value).toEqual([
    ...Array(2).fill('INVALID_HEADER'),
    ...Array(6).fill('INVALID_OPTIONS'),
    ...Array(4).fill('INVALID_HEADER'),
  ])
})

test('a detached one outlives its request, and what comes of it hurts nobody', async () => {
  const { promise, resolve } = deferred()
  const origin = await startOrigin((_seen, res) => void promise.then(() => res.end('late')))
  let returned: unknown = 'unset'
  const { to, proxy } = await startProxy({
    upstreamPeer: dead,
    requestFilter: (session) => {
      returned = session.subrequest('/copy', { peer: new HttpPeer(origin.address), detached: true })
      session.subrequest('/copy', { peer: dead, detached: true })
      return 204
    },
    logging: (session) => expect(mistake(() => session.subrequest('/'))).toBe('SESSION_ENDED'),
  })
  expect((await once(to, get('/'))).status).toBe(204)
  expect(returned).toBeUndefined()
  await until(() => origin.seen.length === 1)
  resolve()
  await until(() => proxy.entry.detached === 0)
  expect(origin.sockets.size).toBe(1)
})

test('routes and values are for those through the phases, not for those straight to a peer', async () => {
  const origin = await startOrigin()
  const peer = new HttpPeer(origin.address)
  const { to } = await startProxy(
    {
      upstreamPeer: dead,
      requestFilter: async (session) => {
        const straight = await session.subrequest('/routed', { peer })
        const through = await session.subrequest('/routed')
        return { status: 200, body: `${straight.status} ${await straight.text()}, ${through.status}` }
      },
    },
    {
      routes: [{ match: { path: '/routed' }, respond: { status: 410 } }],
      requestHeaders: { set: { 'x-set': '1' } },
    },
  )
  expect((await once(to, get('/'))).body).toBe('200 GET /routed , 410')
  expect(origin.seen[0]!.header('x-set')).toBeUndefined()
})
