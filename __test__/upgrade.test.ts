// WebSocket with the clients and servers people use.
import { once } from 'node:events'
import { createServer, type Server as HttpServer, request } from 'node:http'
import { createSecureServer } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { type AnyPhases, HttpPeer, type HttpProxyOptions, type ProxyError, UsageError } from '../ts/index.js'
import { HttpProxy } from '../ts/proxy.js'
import { once as ask, get } from './support/client.js'
import { runExample } from './support/example.js'
import { startProxy, until } from './support/proxy.js'
import { bytes, ca } from './support/tls.js'

/** An origin that echoes each message, and closes with 1000 at `bye`. */
async function startSockets() {
  const http = createServer((_req, res) => void res.end('plain'))
  const sockets = new WebSocketServer({ server: http })
  sockets.on('connection', (socket) => {
    socket.on('error', () => {})
    socket.on('message', (data, isBinary) => {
      if (String(data) === 'bye') socket.close(1000, 'bye')
      else socket.send(data, { binary: isBinary })
    })
  })
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  onTestFinished(() => {
    for (const client of sockets.clients) client.terminate()
    http.closeAllConnections()
    http.close()
  })
  return { sockets, address: `127.0.0.1:${(http.address() as AddressInfo).port}` }
}

async function proxied(phases: Partial<AnyPhases> = {}, options: HttpProxyOptions = {}) {
  const origin = await startSockets()
  const logged: (string | undefined)[] = []
  const started = await startProxy(
    {
      upstreamPeer: new HttpPeer(origin.address),
      logging: (session, error?: ProxyError) =>
        void logged.push(`${session.response?.status} ${error?.code} ${session.bytes.received > 0}`),
      ...phases,
    } as AnyPhases,
    options,
  )
  const connect = (path = '/') => {
    const socket = new WebSocket(`ws://${started.to.host}:${started.to.port}${path}`)
    socket.on('error', () => {})
    onTestFinished(() => socket.terminate())
    return socket
  }
  return { ...started, origin, logged, connect }
}

test('a ws client and a ws server talk, in small and large messages, and close in order', async () => {
  const { connect, logged } = await proxied()
  const socket = connect()
  await once(socket, 'open')
  const large = Buffer.alloc(1_000_000, 'abc')
  for (const message of ['hello', '', 'ä'.repeat(1_000)]) {
    socket.send(message)
    expect(String((await once(socket, 'message'))[0])).toBe(message)
  }
  socket.send(large)
  expect(large.equals((await once(socket, 'message'))[0])).toBe(true)
  socket.send('bye')
  const [code, reason] = await once(socket, 'close')
  expect([code, String(reason)]).toEqual([1000, 'bye'])
  await until(() => logged.length > 0)
  expect(logged).toEqual(['101 undefined true'])
})

test('phases may refuse it, and change the fields of the 101', async () => {
  const { connect } = await proxied({
    requestFilter: (session) => (session.request.path === '/no' ? 401 : undefined),
    responseFilter: (session, response) => {
      response.headers.set('x-status', String(session.response?.status))
    },
  } as Partial<AnyPhases>)
  const [, refused] = await once(connect('/no'), 'unexpected-response')
  expect(refused.statusCode).toBe(401)
  const socket = connect('/yes')
  const [response] = await once(socket, 'upgrade')
  expect(response.headers['x-status']).toBe('101')
})

test('50 sockets at once keep to themselves', async () => {
  const { connect } = await proxied()
  await Promise.all(
    Array.from({ length: 50 }, async (_, index) => {
      const socket = connect()
      await once(socket, 'open')
      for (let round = 0; round < 20; round++) {
        socket.send(`${index} ${round}`)
        expect(String((await once(socket, 'message'))[0])).toBe(`${index} ${round}`)
      }
      socket.close()
      await once(socket, 'close')
    }),
  )
})

test('with upgrades: [] it is a plain request', async () => {
  const { connect } = await proxied({}, { upgrades: [] })
  const [, response] = await once(connect(), 'unexpected-response')
  expect(response.statusCode).toBe(200)
})

test('tunnelIdleTimeoutMs ends a silent tunnel', async () => {
  const { connect, logged } = await proxied({}, { tunnelIdleTimeoutMs: 100 })
  const socket = connect()
  const [code] = await once(socket, 'close')
  expect(code).toBe(1006)
  await until(() => logged.length > 0)
  expect(logged).toEqual(['101 READ_TIMEOUT true'])
})

test('a client that goes away ends its origin’s socket, and the other way round', async () => {
  const { connect, origin, logged } = await proxied()
  const socket = connect()
  await once(socket, 'open')
  socket.terminate()
  await until(() => origin.sockets.clients.size === 0)
  const other = connect()
  await once(other, 'open')
  for (const client of origin.sockets.clients) client.terminate()
  expect((await once(other, 'close'))[0]).toBe(1006)
  await until(() => logged.length === 2)
})

test('closing the server gives open sockets its grace', async () => {
  const { connect, server } = await proxied()
  const socket = connect()
  await once(socket, 'open')
  const closing = server.close({ graceMs: 200 })
  socket.send('still here')
  expect(String((await once(socket, 'message'))[0])).toBe('still here')
  await once(socket, 'close')
  expect(await closing).toMatchObject({ requests: { finished: 0, cut: 1 } })
})

test('examples/websocket.ts lets in who has the token', async () => {
  const { address } = await startSockets()
  const { at } = await runExample('websocket', `http://${address}`)
  const ask = (query: string) => {
    const socket = new WebSocket(`ws://${at}/${query}`)
    socket.on('error', () => {})
    return socket
  }
  const [, refused] = await once(ask(''), 'unexpected-response')
  expect(refused.statusCode).toBe(401)
  const socket = ask('?token=secret')
  await once(socket, 'open')
  socket.send('hello')
  expect(String((await once(socket, 'message'))[0])).toBe('hello')
  socket.terminate()
})

test('a peer that is spoken to in HTTP/2 where it can be gets its WebSockets in HTTP/1.1', async () => {
  const http = createSecureServer({ ...bytes('localhost'), allowHTTP1: true }, (req, res) =>
    res.end(req.httpVersion),
  )
  const sockets = new WebSocketServer({ server: http as unknown as HttpServer })
  sockets.on('connection', (socket) => void socket.on('message', (data) => socket.send(String(data))))
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  onTestFinished(() => void http.close())
  const { port } = http.address() as AddressInfo
  const { connect, to } = await proxied({
    upstreamPeer: new HttpPeer(`https://localhost:${port}`, { ca, protocol: 'auto' }),
  })
  for (const round of ['first', 'again']) {
    expect((await ask(to, get('/'))).body).toBe('2.0')
    const socket = connect()
    await once(socket, 'open')
    socket.send(round)
    expect(String((await once(socket, 'message'))[0])).toBe(round)
    socket.terminate()
  }
})

test('h2c is not passed on', async () => {
  const { to } = await proxied()
  const req = request({
    host: to.host,
    port: to.port,
    headers: { connection: 'Upgrade, HTTP2-Settings', upgrade: 'h2c', 'http2-settings': 'AAMAAABkAAQ' },
  }).end()
  const [response] = await once(req, 'response')
  expect(response.statusCode).toBe(200)
  response.resume()
})

test.each([['h2c'], ['WebSocket'], [''], [1]])('upgrades: [%j] is refused', (name) => {
  const make = () =>
    new HttpProxy({ upstreamPeer: new HttpPeer('127.0.0.1:1') }, { upgrades: [name as string] })
  expect(make).toThrow(UsageError)
})
