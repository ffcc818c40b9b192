// Connections that are passed on as they come, without a word in JavaScript.
import { once as onceOf } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { connect as connectTls, createServer as createTlsServer } from 'node:tls'
import { expect, onTestFinished, test } from 'vitest'
import { Server, selfSigned, TcpPeer, TcpProxy, type TcpProxyOptions } from '../ts/index.js'
import { startService } from './support/app.js'
import { all, client, ending, opened, text } from './support/connections.js'
import { DEAD } from './support/origin.js'
import { until } from './support/proxy.js'
import { problems } from './support/refusals.js'

const start = (peer: TcpPeer | string, options: TcpProxyOptions = {}) =>
  startService(new TcpProxy(peer, { threads: 1, ...options }))

async function listening(server: ReturnType<typeof createServer>): Promise<string> {
  server.listen(0, '127.0.0.1')
  await onceOf(server, 'listening')
  onTestFinished(() => void server.close())
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

const echo = () => listening(createServer((socket) => void socket.on('error', () => {}).pipe(socket)))

test('bytes go to the peer and back, and are counted and logged', async () => {
  const { to, url, server, lines } = await start(await echo())
  expect(url).toBe(`tcp://127.0.0.1:${to.port}`)
  const socket = await client(to)
  const sent = Buffer.alloc(4 << 20, 'abcdefg')
  socket.end(sent)
  expect((await all(socket)).equals(sent)).toBe(true)
  expect(server.stats().services[0]).toMatchObject({
    name: 'tcp-proxy',
    traffic: { received: sent.length, sent: sent.length },
    pool: { created: 1 },
  })
  await until(() => lines.some((line) => line.includes(`${sent.length} B received, ${sent.length} B sent`)))
  await until(() => server.stats().services[0]?.connections === 0)
})

test('each side ends by itself', async () => {
  const answers = createServer({ allowHalfOpen: true }, async (socket) => {
    const body = await all(socket)
    socket.end(`${body.length} bytes`)
  })
  const { to } = await start(await listening(answers))
  const socket = await client(to, { allowHalfOpen: true })
  socket.end('x'.repeat(1000))
  expect(await text(socket)).toBe('1000 bytes')
})

test('TLS on either side, or on both', async () => {
  const { cert, key } = selfSigned('localhost')
  const secure = createTlsServer({ cert, key }, (socket) => void socket.on('error', () => {}).pipe(socket))
  const far = new TcpPeer(`tls://${await listening(secure as never)}`, { sni: 'localhost', ca: cert })
  for (const peer of [new TcpPeer(await echo()), far]) {
    const server = new Server({ logger: false })
    const service = server.addService(new TcpProxy(peer))
    const [plain, tls] = [service.addTcp('127.0.0.1:0'), service.addTls('127.0.0.1:0', { cert, key })]
    await server.start()
    onTestFinished(async () => {
      await server.close({ graceMs: 0 })
    })
    expect(tls.url).toMatch(/^tls:/)
    const near = await client(plain.address)
    near.end('in the clear')
    expect(await text(near)).toBe('in the clear')
    const secured = connectTls({ ...tls.address, ca: cert, servername: 'localhost' })
    secured.end('over TLS')
    expect(await text(secured)).toBe('over TLS')
  }
})

test('a peer that is not there resets the client, with a line in the log', async () => {
  const { to, lines } = await start(DEAD)
  expect(await ending(opened(to))).toBe('ECONNRESET')
  await until(() => lines.some((line) => /^warn .*CONNECT_REFUSED/.test(line)))
})

test('a peer whose certificate is not trusted is not spoken to', async () => {
  const { cert, key } = selfSigned('localhost')
  let connections = 0
  const secure = createTlsServer({ cert, key }, () => {
    connections++
  })
  const peer = new TcpPeer(`tls://${await listening(secure as never)}`, { sni: 'localhost' })
  const { to, lines } = await start(peer)
  expect(await ending(opened(to))).toBe('ECONNRESET')
  await until(() => lines.some((line) => line.includes('TLS_FAILED')))
  expect(connections).toBe(0)
})

test('a reset of one side is a reset of the other', async () => {
  const sockets: Socket[] = []
  const { to } = await start(
    await listening(createServer((socket) => void sockets.push(socket.on('error', () => {})))),
  )
  const first = await client(to)
  await until(() => sockets.length === 1)
  sockets[0]!.resetAndDestroy()
  expect(await ending(first)).toBe('ECONNRESET')
  const second = await client(to)
  await until(() => sockets.length === 2)
  second.resetAndDestroy()
  expect(await ending(sockets[1]!)).toMatch(/ECONNRESET|end/)
})

test('idleTimeoutMs and maxConnections', async () => {
  const { to } = await start(await echo(), { idleTimeoutMs: 150, maxConnections: 1 })
  const first = await client(to)
  first.write('x')
  await onceOf(first, 'data')
  const second = await client(to)
  expect(await ending(second)).toMatch(/ECONNRESET|end/)
  expect(await ending(first)).toBe('ECONNRESET')
})

test('a server that closes waits for its connections as long as its grace', async () => {
  const { to, server } = await start(await echo())
  const [ends, stays] = [await client(to), await client(to)]
  for (const socket of [ends, stays]) {
    socket.write('x')
    await onceOf(socket, 'data')
  }
  const reset = ending(stays)
  const closing = server.close({ graceMs: 300 })
  ends.end('last words')
  expect(await text(ends)).toBe('last words')
  expect(await reset).toBe('ECONNRESET')
  expect((await closing).connections.cut).toBe(1)
})

test('addresses and options of a peer are checked, in its own words', () => {
  for (const address of ['10.0.0.1', 'http://10.0.0.1:1', 'tcp://a', 'tcp://a:1/x', 'tcp://u@a:1', '', 5])
    expect(problems(() => new TcpPeer(address as string))).toMatchObject([
      { path: 'address', allowed: expect.stringContaining('tcp://host:port') },
    ])
  for (const [address, as] of [
    ['10.0.0.1:5432', '10.0.0.1:5432'],
    ['tcp://db.example:80', 'db.example:80'],
    ['tls://db.example:443', 'db.example:443'],
    ['[::1]:1', '[::1]:1'],
  ] as const)
    expect(new TcpPeer(address).address).toBe(as)
  expect(problems(() => new TcpPeer('a:1', { protocol: 'h2' } as never))).toMatchObject([
    { path: 'protocol' },
  ])
  expect(problems(() => new TcpPeer('tls://a:1', { tls: false }))).toMatchObject([
    { path: 'tls', allowed: 'what tcp:// or tls:// says, or nothing' },
  ])
  expect(problems(() => new TcpPeer('a:1', { sni: 'x' }))).toMatchObject([{ path: 'sni' }])
  expect(problems(() => new TcpProxy(5 as never, { h2c: true } as never)).map(({ path }) => path)).toEqual([
    'h2c',
    'peer',
  ])
})
