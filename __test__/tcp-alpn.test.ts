// What is agreed on by ALPN where connections are nobody's business but their owner's (RFC 7301).
import { once as onceOf } from 'node:events'
import type { AddressInfo } from 'node:net'
import { connect, createServer, type TLSSocket } from 'node:tls'
import { describe, expect, onTestFinished, test } from 'vitest'
import { HttpApp, Server, selfSigned, TcpApp, TcpPeer, TcpProxy, type TlsOptions } from '../ts/index.js'
import { startService } from './support/app.js'
import { client, text } from './support/connections.js'
import { problems } from './support/refusals.js'

const { cert, key } = selfSigned('localhost')

/** Starts an app over TLS that says what was agreed on. */
async function saying(options: Partial<TlsOptions> = {}) {
  const server = new Server({ logger: false })
  const app = new TcpApp((connection) => void connection.resume().end(`agreed: ${connection.tls?.alpn}`))
  const endpoint = server.addService(app).addTls('127.0.0.1:0', { cert, key, ...options })
  await server.start()
  onTestFinished(async () => {
    await server.close({ graceMs: 0 })
  })
  return endpoint.address
}

function shake(to: { host: string; port: number }, offered?: string[]): TLSSocket {
  const protocols = offered === undefined ? {} : { ALPNProtocols: offered }
  const socket = connect({ ...to, ca: cert, servername: 'localhost', ...protocols })
  onTestFinished(() => void socket.destroy())
  return socket
}

test('by itself an app agrees on nothing, and refuses nobody', async () => {
  const to = await saying()
  for (const offered of [undefined, ['postgresql'], ['mqtt', 'h2'], ['h2', 'http/1.1']]) {
    const socket = shake(to, offered)
    expect(await text(socket)).toBe('agreed: undefined')
    expect(socket.alpnProtocol).toBe(false)
  }
})

test('with alpn it agrees on the first that the client knows, and refuses who knows none', async () => {
  const to = await saying({ alpn: ['postgresql', 'h2', 'pr\u00f6to'] })
  for (const [offered, agreed] of [
    [undefined, undefined],
    [['postgresql'], 'postgresql'],
    [['h2', 'postgresql'], 'postgresql'],
    [['http/1.1', 'h2'], 'h2'],
    [['pr\u00f6to'], 'pr\u00f6to'],
  ] as const) {
    const socket = shake(to, offered as string[] | undefined)
    expect(await text(socket)).toBe(`agreed: ${agreed}`)
  }
  const refused = shake(to, ['mqtt'])
  const [error] = await onceOf(refused, 'error')
  expect((error as NodeJS.ErrnoException).code).toBe('ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL')
})

test('a TcpProxy agrees on what its endpoint says, and offers its peer what that says', async () => {
  const seen: unknown[] = []
  const far = createServer({ cert, key, ALPNProtocols: ['mqtt', 'postgresql'] }, (socket) => {
    seen.push(socket.alpnProtocol)
    // It ends when its client has: a close that crosses the client's would be a reset.
    socket.on('error', () => undefined).pipe(socket)
  })
  far.listen(0, '127.0.0.1')
  await onceOf(far, 'listening')
  onTestFinished(() => void far.close())
  const address = `tls://127.0.0.1:${(far.address() as AddressInfo).port}`
  for (const alpn of [undefined, ['postgresql'], ['other', 'mqtt']]) {
    const offered = alpn === undefined ? {} : { alpn }
    const peer = new TcpPeer(address, { sni: 'localhost', ca: cert, ...offered })
    const { to, service } = await startService(new TcpProxy(peer))
    const plain = await client(to)
    plain.end('done')
    expect(await text(plain)).toBe('done')
    const tls = service.addTls('127.0.0.1:0', { cert, key, alpn: ['postgresql'] })
    const socket = shake(tls.address, ['postgresql'])
    socket.end('done')
    expect(await text(socket)).toBe('done')
    expect(socket.alpnProtocol).toBe('postgresql')
  }
  expect(seen).toEqual([false, false, 'postgresql', 'postgresql', 'mqtt', 'mqtt'])
})

describe('what is refused', () => {
  const add = (service: HttpApp | TcpApp | TcpProxy, options: object) => () =>
    service.addTls('127.0.0.1:0', { cert, key, ...options })
  const app = () => new TcpApp(() => undefined)
  test.each<[string, () => unknown, object[]]>([
    ['h2 of an app', add(app(), { h2: true }), [{ path: 'h2' }]],
    ['h2 of a proxy', add(new TcpProxy('a:1'), { h2: false }), [{ path: 'h2' }]],
    ['a list of nothing', add(app(), { alpn: [] }), [{ path: 'alpn' }]],
    [
      'names that are none',
      add(app(), { alpn: ['', 'a'.repeat(256), 'b', 'b', 5] }),
      [{ path: 'alpn[0]' }, { path: 'alpn[1]' }, { path: 'alpn[3]' }, { path: 'alpn[4]' }],
    ],
    [
      'others than HTTP of an HttpApp',
      add(new HttpApp(() => 200), { alpn: ['h2', 'mqtt'] }),
      [{ path: 'alpn[1]', allowed: "'h2' or 'http/1.1', once each" }],
    ],
    [
      'more than a handshake can hold',
      add(app(), { alpn: Array.from({ length: 65 }, (_, at) => `p${at}`) }),
      [{ path: 'alpn[64]' }],
    ],
    ['of a peer in the clear', () => new TcpPeer('tcp://a:1', { alpn: ['x'] }), [{ path: 'alpn' }]],
    ['names of a peer', () => new TcpPeer('tls://a:1', { alpn: [''] }), [{ path: 'alpn[0]' }]],
  ])('%s', (_, make, found) => {
    expect(problems(make)).toMatchObject(found)
  })
})
