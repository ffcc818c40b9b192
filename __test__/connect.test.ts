// CONNECT, with the clients and proxies people use.
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createServer, request } from 'node:http'
import { connect as connectH2 } from 'node:http2'
import { type AddressInfo, connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { promisify } from 'node:util'
import { describe, expect, onTestFinished, test } from 'vitest'
import {
  type AnyPhases,
  HttpPeer,
  type ProxyError,
  type ResponseHeader,
  type Session,
  UsageError,
} from '../ts/index.js'
import { once as ask, get, post } from './support/client.js'
import { runExample } from './support/example.js'
import { DEAD, startOrigin, startRaw } from './support/origin.js'
import { startProxy, until } from './support/proxy.js'
import { WAYS_TO_WRITE } from './support/recorder.js'
import { ca, startTlsOrigin } from './support/tls.js'

const CONNECT = 'CONNECT far.test:443 HTTP/1.1\r\nhost: far.test:443\r\n\r\n'

/** A proxy that leads every tunnel to `address`. */
async function tunnelling(address: string, phases: Partial<AnyPhases> = {}) {
  const logged: string[] = []
  const started = await startProxy(
    {
      upstreamPeer: new HttpPeer(address),
      logging: (session, error?: ProxyError) =>
        void logged.push(`${session.request.method} ${session.response?.status} ${error?.code}`),
      ...phases,
    } as AnyPhases,
    { connect: true },
  )
  return { ...started, logged }
}

/** A tunnel made by the client of Node.js. */
async function tunnel(to: { host: string; port: number }, target: string) {
  const req = request({ ...to, method: 'CONNECT', path: target }).end()
  const [response, socket] = (await once(req, 'connect')) as [{ statusCode: number }, Socket]
  onTestFinished(() => void socket.destroy())
  return { status: response.statusCode, socket }
}

const echoing = () => startRaw((socket) => void socket.pipe(socket))

test('off, it is a 405', async () => {
  const origin = await echoing()
  const { to } = await startProxy({ upstreamPeer: new HttpPeer(origin.address) })
  expect((await ask(to, CONNECT)).status).toBe(405)
  expect(origin.connections).toBe(0)
})

describe.each(WAYS_TO_WRITE)('%s', (_, through) => {
  test('see a CONNECT, but for those of an exchange', async () => {
    const origin = await startRaw((socket) => void socket.end('hello'))
    const seen: unknown[] = []
    const { reply, calls } = await through(
      {
        requestFilter: ({ request }: Session) => {
          const { method, target, host, path, query } = request
          seen.push(method, target, host, path, query)
        },
        upstreamPeer: () => new HttpPeer(origin.address),
        responseFilter: (session: Session, response: ResponseHeader) => {
          seen.push(session.response?.status, session.upstream?.reused)
          response.headers.set('x-by', 'me')
        },
      },
      CONNECT,
      { connect: true },
    )
    expect([reply.status, reply.header('x-by'), reply.body]).toEqual([200, 'me', 'hello'])
    expect(seen).toEqual(['CONNECT', 'far.test:443', 'far.test:443', '', '', 200, false])
    expect(calls).toEqual([
      'newCtx',
      'earlyRequestFilter',
      'requestFilter',
      'proxyUpstreamFilter',
      'upstreamPeer',
      'connectedToUpstream',
      'responseFilter',
      'logging',
    ])
  })
})

test('a client of Node.js speaks TLS with the origin through it', async () => {
  const origin = await startTlsOrigin()
  const { to, logged } = await tunnelling(`127.0.0.1:${origin.port}`)
  const { status, socket } = await tunnel(to, 'localhost:443')
  expect(status).toBe(200)
  const tls = connectTls({ socket, servername: 'localhost', ca })
  tls.end(get('/x', { connection: 'close' }))
  let text = ''
  for await (const piece of tls.setEncoding('utf8')) text += piece
  expect(text).toMatch(/^HTTP\/1.1 200 OK\r\n.*\r\n\r\n1.1 \/x$/s)
  await until(() => logged.length === 1)
  expect(logged).toEqual(['CONNECT 200 undefined'])
})

test('curl speaks through it', async () => {
  const origin = await startOrigin()
  const { to } = await tunnelling(origin.address)
  const proxy = `http://${to.host}:${to.port}`
  const curl = (...args: string[]) => promisify(execFile)('curl', ['-sS', '-m', '10', ...args])
  const found = await curl('--version').catch(() => undefined)
  if (found === undefined) return
  const { stdout } = await curl('--proxytunnel', '--proxy', proxy, 'http://far.test/x', '-d', 'body')
  expect(stdout).toBe('POST /x body')
})

test('over HTTP/2 the stream is the tunnel', async () => {
  const origin = await echoing()
  const { to, logged } = await tunnelling(origin.address, {
    requestFilter: ({ request }) => (request.host === 'no.test:1' ? 403 : undefined),
  } as Partial<AnyPhases>)
  const client = connectH2(`http://${to.host}:${to.port}`)
  onTestFinished(() => client.destroy())
  const open = (authority: string) => client.request({ ':method': 'CONNECT', ':authority': authority })
  const stream = open('far.test:443')
  const [head] = await once(stream, 'response')
  expect(head[':status']).toBe(200)
  const large = 'abc'.repeat(100_000)
  stream.end(large)
  let text = ''
  for await (const piece of stream.setEncoding('utf8')) text += piece
  expect(text === large).toBe(true)
  const refused = open('no.test:1')
  const [answer] = await once(refused, 'response')
  expect(answer[':status']).toBe(403)
  refused.close()
  await until(() => logged.length === 2)
  expect(logged).toEqual(['CONNECT 200 undefined', 'CONNECT 403 undefined'])
})

test('a failure to connect is answered, retried, and logged', async () => {
  const origin = await startRaw((socket) => void socket.end('hello'))
  const peers = [new HttpPeer(DEAD), new HttpPeer(origin.address)]
  let failures = 0
  const { to, logged } = await tunnelling(DEAD, {
    upstreamPeer: () => peers[failures]!,
    failToConnect: (_session, _peer, error) => {
      expect(error.canRetry).toBe(true)
      return ++failures === 1 ? 'retry' : 'fail'
    },
  } as Partial<AnyPhases>)
  expect(await ask(to, CONNECT)).toMatchObject({ status: 200, body: 'hello' })
  peers.reverse()
  const reply = await ask(to, CONNECT)
  expect([reply.status, reply.header('connection')]).toEqual([502, 'close'])
  await until(() => logged.length === 2)
  expect(logged).toEqual(['CONNECT 200 undefined', 'CONNECT 502 CONNECT_REFUSED'])
})

test('a phase may refuse it, and cannot say 200 itself', async () => {
  const { to, logged } = await tunnelling(DEAD, {
    requestFilter: ({ request }) => (request.host === 'no.test:1' ? 407 : 200),
  } as Partial<AnyPhases>)
  const refused = await ask(to, CONNECT.replaceAll('far.test:443', 'no.test:1'))
  expect([refused.status, refused.header('connection')]).toEqual([407, 'close'])
  expect((await ask(to, CONNECT)).status).toBe(500)
  await until(() => logged.length === 2)
  expect(logged).toEqual(['CONNECT 407 undefined', 'CONNECT 500 PHASE_RETURN'])
})

test('examples/connect.ts leads to one place or nowhere', async () => {
  const origin = await startOrigin()
  const { at } = await runExample('connect', `http://${origin.address}`)
  const [host, port] = at.split(':')
  const to = { host: host!, port: Number(port) }
  const { status, socket } = await tunnel(to, 'Origin.Example:443')
  expect(status).toBe(200)
  socket.end(get('/x', { connection: 'close' }))
  let text = ''
  for await (const piece of socket.setEncoding('utf8')) text += piece
  expect(text).toMatch(/GET \/x $/)
  expect((await tunnel(to, 'elsewhere.example:443')).status).toBe(403)
  expect((await ask(to, get('/', { host: 'origin.example:443' }))).status).toBe(403)
})

/** A proxy of Node.js that leads to `port` whatever it is asked for, with what it was asked. */
async function startConnectProxy(port: number) {
  const asked: [string, string | undefined][] = []
  const server = createServer()
  const sockets = new Set<Socket>()
  server.on('connect', (req, client: Socket, head) => {
    asked.push([req.url!, req.headers['proxy-authorization']])
    client.on('error', () => {})
    sockets.add(client)
    if (req.headers['proxy-authorization'] !== 'Basic eA==')
      return void client.end('HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n')
    const origin = connectTcp(port, '127.0.0.1', () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n')
      origin.write(head)
      origin.pipe(client).pipe(origin)
    })
    origin.on('error', () => client.destroy())
    sockets.add(origin)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { asked, address: `127.0.0.1:${(server.address() as AddressInfo).port}` }
}

const headers = { 'Proxy-Authorization': 'Basic eA==' }

describe('connectProxy', () => {
  test('a peer is reached through it, by its name, and its connection is kept', async () => {
    const origin = await startOrigin()
    const proxy = await startConnectProxy(origin.port)
    const addresses: unknown[] = []
    const { to } = await startProxy({
      upstreamPeer: new HttpPeer('http://far.invalid', {
        connectProxy: { address: `http://${proxy.address}`, headers },
      }),
      responseFilter: ({ upstream }) => void addresses.push(upstream?.address, upstream?.peer.address),
    })
    for (let n = 0; n < 2; n++) expect((await ask(to, post('/x', 'body'))).body).toBe('POST /x body')
    expect(origin.seen.map((seen) => seen.header('proxy-authorization'))).toEqual([undefined, undefined])
    expect(proxy.asked).toEqual([['far.invalid:80', 'Basic eA==']])
    expect(addresses.slice(0, 2)).toEqual([proxy.address, 'far.invalid:80'])
  })

  test.each([
    ['h1', '1.1'],
    ['h2', '2.0'],
    ['auto', '2.0'],
  ] as const)('TLS is with the peer behind it: %s', async (protocol, version) => {
    const origin = await startTlsOrigin()
    const proxy = await startConnectProxy(origin.port)
    const { to } = await startProxy({
      upstreamPeer: new HttpPeer('https://localhost', {
        ca,
        protocol,
        connectProxy: { address: proxy.address, headers },
      }),
    })
    expect((await ask(to, get('/x'))).body).toBe(`${version} /x`)
    expect(proxy.asked).toEqual([['localhost:443', 'Basic eA==']])
  })

  test('its refusal is CONNECT_FAILED and says the status', async () => {
    const proxy = await startConnectProxy(1)
    const errors: (ProxyError | undefined)[] = []
    const { to } = await startProxy({
      upstreamPeer: new HttpPeer('far.invalid:80', { connectProxy: { address: proxy.address } }),
      failToConnect: (_session, _peer, error) => void errors.push(error),
    })
    expect((await ask(to, get('/'))).status).toBe(502)
    expect(errors[0]).toMatchObject({
      code: 'CONNECT_FAILED',
      canRetry: true,
      message: expect.stringContaining(`through the proxy ${proxy.address}: it answered 407`),
    })
  })

  test.each<[unknown, string]>([
    ['127.0.0.1:1', 'connectProxy'],
    [{}, 'connectProxy.address'],
    [{ address: 'https://a' }, 'connectProxy.address'],
    [{ address: 'a' }, 'connectProxy.address'],
    [{ address: 'http://u:p@a' }, 'connectProxy.address'],
    [{ address: 'a:1', headers: { host: 'b' } }, 'connectProxy.headers'],
    [{ address: 'a:1', headers: { 'a b': 'c' } }, 'connectProxy.headers'],
    [{ address: 'a:1', headers: { a: 'b\r\nc: d' } }, 'connectProxy.headers'],
    [{ address: 'a:1', headers: { a: 1 } }, 'connectProxy.headers'],
    [{ address: 'a:1', header: {} }, 'connectProxy.header'],
  ])('%j is refused', (connectProxy, path) => {
    const make = (address: string, options: unknown) => () => new HttpPeer(address, options as never)
    expect(make('b:2', { connectProxy })).toThrow(UsageError)
    expect(make('b:2', { connectProxy })).toThrow(path)
    const good = { connectProxy: { address: 'unix:/run/proxy.sock', headers: { 'x-latin': '\xe9' } } }
    expect(make('b:2', good)).not.toThrow()
    expect(make('unix:/run/a.sock', good)).toThrow('connectProxy')
  })
})
