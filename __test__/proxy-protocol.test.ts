// The PROXY protocol: what proxies say of their connections, and what origins are told of theirs.
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { describe, expect, onTestFinished, test } from 'vitest'
import {
  Connector,
  HttpPeer,
  type HttpPeerOptions,
  HttpProxy,
  type ProxyProtocolOptions,
  type Session,
  selfSigned,
  TcpPeer,
  TcpProxy,
  type UsageError,
} from '../ts/index.js'
import { startService } from './support/app.js'
import { Client, get } from './support/client.js'
import { client, text } from './support/connections.js'
import { DEAD, startOrigin } from './support/origin.js'
import { startProxy, until } from './support/proxy.js'

const own = {
  upstreamPeer: new HttpPeer(DEAD),
  requestFilter: ({ client, server, connection }: Session) => ({
    status: 200,
    body: JSON.stringify({ client, server, end: connection.remote }),
  }),
}
const V1 = 'PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n'
const SIGNATURE = '\r\n\r\n\0\r\nQUIT\n'
/** Of the same two ends, with a field that nobody knows. */
const V2 = `${SIGNATURE}\x21\x11\0\x10\xc0\0\x02\x01\xc6\x33\x64\x07\xdc\x04\x01\xbb\xe0\0\x01x`
const SAID = {
  client: { host: '192.0.2.1', port: 56324 },
  server: { host: '198.51.100.7', port: 443 },
}

/** An endpoint that believes these. */
async function behind(proxyProtocol: ProxyProtocolOptions) {
  const running = await startProxy(own)
  const { address } = running.proxy.addTcp('127.0.0.1:0', { proxyProtocol })
  /** What is answered to a request behind this header; undefined if the connection is closed. */
  const ask = async (header: string | Uint8Array) => {
    const client = await Client.connect(address)
    client.write(header)
    client.write(get('/'))
    const reply = await client.reply()
    client.socket.destroy()
    return reply === undefined ? undefined : reply.status === 200 ? JSON.parse(reply.body) : reply.status
  }
  return { ...running, address, ask }
}

describe('from proxies', () => {
  test('the ends that a header names are those of the session, in both versions', async () => {
    const { ask } = await behind({ from: ['loopback'] })
    expect(await ask(V1)).toEqual({ ...SAID, end: SAID.client })
    expect(await ask(V2)).toEqual({ ...SAID, end: SAID.client })
    const v6 = await ask('PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n')
    expect(v6.client).toEqual({ host: '2001:db8::1', port: 1 })
  })

  test('what is said of no client leaves the ends as they are: health checks', async () => {
    const { ask, address } = await behind({ from: ['loopback'] })
    for (const header of ['PROXY UNKNOWN\r\n', `${SIGNATURE}\x20\0\0\0`, `${SIGNATURE}\x20\x11\0\x03abc`])
      expect(await ask(header)).toMatchObject({ client: { host: '127.0.0.1' }, server: address })
  })

  test('a header comes in any pieces, once for a connection', async () => {
    const { address } = await behind({ from: ['127.0.0.1'] })
    for (const header of [V1, V2]) {
      const client = await Client.connect(address)
      for (const byte of Buffer.from(header + get('/'), 'latin1')) {
        client.write(Uint8Array.of(byte))
        await new Promise((resolve) => setImmediate(resolve))
      }
      expect(JSON.parse((await client.reply())!.body).client).toEqual(SAID.client)
      client.write(get('/'))
      expect(JSON.parse((await client.reply())!.body).client).toEqual(SAID.client)
      client.socket.destroy()
    }
  })

  test('what is no header, or is cut short, is closed without an answer', async () => {
    const { ask } = await behind({ from: ['loopback'], timeoutMs: 60_000 })
    for (const wrong of [
      '',
      'PROXY TCP4 192.0.2.1 198.51.100.7 56324\r\n',
      'PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\n',
      `PROXY UNKNOWN ${'x'.repeat(100)}\r\n`,
      `${SIGNATURE}\x11\x11\0\0`,
      `${SIGNATURE}\x21\x11\0\x01x`,
      `${SIGNATURE}\x21\x11\x20\0`,
      // A checksum that is wrong.
      `${SIGNATURE}\x21\x11\0\x13\xc0\0\x02\x01\xc6\x33\x64\x07\xdc\x04\x01\xbb\x03\0\x04\0\0\0\0`,
    ])
      expect(await ask(Buffer.from(wrong, 'latin1')), JSON.stringify(wrong)).toBeUndefined()
  })

  test('a header that does not come in time ends the connection', async () => {
    const { address } = await behind({ from: ['loopback'], timeoutMs: 100 })
    const client = await Client.connect(address)
    client.write('PROXY TCP4 192.')
    expect(await client.rest()).toBe('')
  })

  test('who is not listed is closed, or served as what it is', async () => {
    const refusing = await behind({ from: ['192.0.2.0/24', 'unix'] })
    expect(await refusing.ask(V1)).toBeUndefined()
    expect(await refusing.ask('')).toBeUndefined()
    const direct = await behind({ from: ['192.0.2.0/24'], others: 'direct' })
    expect(await direct.ask('')).toMatchObject({ client: { host: '127.0.0.1' }, server: direct.address })
    // A header is nothing but a wrong request there.
    expect(await direct.ask(V1)).toBe(400)
  })

  test('with TLS it comes before the handshake', async () => {
    const { proxy } = await startProxy(own)
    const { address } = proxy.addTls('127.0.0.1:0', selfSigned('localhost'), {
      proxyProtocol: { from: ['loopback'] },
    })
    const plain = await Client.connect(address)
    plain.socket.removeAllListeners('data')
    plain.write(V2)
    const socket = connectTls({ socket: plain.socket, rejectUnauthorized: false })
    onTestFinished(() => void socket.destroy())
    const secure = new Client(socket)
    secure.write(get('/'))
    expect(JSON.parse((await secure.reply())!.body)).toMatchObject(SAID)
  })

  test.skipIf(process.platform === 'win32')('over a Unix socket it gives clients an address', async () => {
    const path = join(tmpdir(), `millrace-proxy-${process.pid}.sock`)
    const { proxy } = await startProxy(own)
    proxy.addUnix(path, { mode: 0o600, proxyProtocol: { from: ['unix'] } })
    const client = new Client(connect({ path }))
    client.write(V2 + get('/'))
    expect(JSON.parse((await client.reply())!.body)).toMatchObject(SAID)
    client.socket.destroy()
  })

  test('filters and limits are about the client that is named', async () => {
    const running = await startProxy(own, { maxConnectionsPerClient: 1 })
    const asked: string[] = []
    const { address } = running.proxy.addTcp('127.0.0.1:0', {
      proxyProtocol: { from: ['loopback'] },
      connectionFilter: {
        deny: ['192.0.2.66'],
        check: ({ client, server }) => asked.push(`${client.host} ${server.host}`) > 0,
      },
    })
    const ask = async (host: string) => {
      const client = await Client.connect(address)
      onTestFinished(() => void client.socket.destroy())
      client.write(V1.replace('192.0.2.1', host) + get('/'))
      return (await client.reply())?.status
    }
    expect([await ask('192.0.2.66'), await ask('192.0.2.1'), await ask('192.0.2.1')]).toEqual([
      undefined,
      200,
      undefined,
    ])
    expect(await ask('192.0.2.2')).toBe(200)
    expect(asked).toEqual(['192.0.2.1 198.51.100.7', '192.0.2.2 198.51.100.7'])
  })

  test('trusted proxies are looked for at the client that is named', async () => {
    const origin = await startOrigin()
    const { proxy } = await startProxy({ upstreamPeer: new HttpPeer(origin.address) })
    const { address } = proxy.addTcp('127.0.0.1:0', { proxyProtocol: { from: ['loopback'] } })
    const client = await Client.connect(address)
    client.write(V1 + get('/'))
    await client.reply()
    client.socket.destroy()
    expect(origin.seen[0]!.header('x-forwarded-for')).toBe('192.0.2.1')
  })

  test('who is believed has to be said, and options are checked', () => {
    const proxy = new HttpProxy(own)
    for (const [proxyProtocol, path] of [
      [{}, 'proxyProtocol.from'],
      [{ from: [] }, 'proxyProtocol.from'],
      [{ from: ['all'] }, 'proxyProtocol.from[0]'],
      [{ from: ['unix'], others: 'drop' }, 'proxyProtocol.others'],
      [{ from: ['unix'], timeoutMs: 0 }, 'proxyProtocol.timeoutMs'],
      [true, 'proxyProtocol'],
    ] as const) {
      let problems: unknown
      try {
        proxy.addTcp('127.0.0.1:0', { proxyProtocol: proxyProtocol as unknown as ProxyProtocolOptions })
      } catch (error) {
        problems = (error as UsageError).problems
      }
      expect(problems).toMatchObject([{ path }])
    }
  })
})

/** An origin that keeps the first bytes of each connection, up to its first request, and answers. */
async function told(options: HttpPeerOptions) {
  const headers: string[] = []
  const server = createServer((socket: Socket) => {
    let text = ''
    let isFirst = true
    socket
      .on('error', () => {})
      .on('data', (data) => {
        text += data.toString('latin1')
        const at = text.indexOf('GET /')
        if (at < 0 || !text.endsWith('\r\n\r\n')) return
        if (isFirst) headers.push(text.slice(0, at))
        else expect(at).toBe(0)
        isFirst = false
        text = ''
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
      })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void server.close())
  const peer = new HttpPeer(`127.0.0.1:${(server.address() as AddressInfo).port}`, options)
  return { headers, peer, ...(await startProxy({ upstreamPeer: peer })) }
}

describe('to origins', () => {
  test.each(['v1', 'v2'] as const)(
    '%s: each connection says whose it is, and serves nobody else',
    async (proxyProtocol) => {
      const { headers, to, server } = await told({ proxyProtocol, idleTimeoutMs: 60_000 })
      const clients = [await Client.connect(to), await Client.connect(to)]
      for (const client of [...clients, ...clients]) {
        client.write(get('/'))
        expect((await client.reply())?.status).toBe(200)
      }
      const ports = clients.map(({ socket }) => socket.localPort!)
      const two = (port: number) => String.fromCharCode(port >> 8, port & 255)
      expect(headers).toEqual(
        ports.map((port) =>
          proxyProtocol === 'v1'
            ? `PROXY TCP4 127.0.0.1 127.0.0.1 ${port} ${to.port}\r\n`
            : `${SIGNATURE}\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01${two(port)}${two(to.port)}`,
        ),
      )
      expect(server.stats().services[0]!.pool).toMatchObject({ created: 2, reused: 2 })
      for (const { socket } of clients) socket.destroy()
    },
  )

  test('they end with the connection of their client, and the next with the same ends has its own', async () => {
    const { headers, proxy, server } = await told({ proxyProtocol: 'v1', idleTimeoutMs: 60_000 })
    // All clients that come through it have the ends that it tells.
    const { address } = proxy.addTcp('127.0.0.1:0', { proxyProtocol: { from: ['loopback'] } })
    const pool = () => server.stats().services[0]!.pool
    const [one, two] = [await Client.connect(address), await Client.connect(address)]
    for (const client of [one, two, one]) {
      client.write(client === one && headers.length > 0 ? get('/') : V2 + get('/'))
      expect((await client.reply())?.status).toBe(200)
    }
    expect(headers).toEqual([V1, V1])
    expect(pool()).toMatchObject({ created: 2, reused: 1, idle: 2 })
    one.socket.destroy()
    await until(() => pool().idle === 1)
    two.socket.destroy()
    await until(() => pool().open === 0)
  })

  test('what comes in by the protocol goes on by it', async () => {
    const { headers, proxy } = await told({ proxyProtocol: 'v1' })
    const { address } = proxy.addTcp('127.0.0.1:0', { proxyProtocol: { from: ['loopback'] } })
    const client = await Client.connect(address)
    client.write(V2 + get('/'))
    expect((await client.reply())?.status).toBe(200)
    client.socket.destroy()
    expect(headers).toEqual([V1])
  })

  test('a proxy of connections tells its peer as well', async () => {
    const heard: Promise<string>[] = []
    const peer = createServer((socket) => void heard.push(text(socket)))
    await new Promise<void>((resolve) => peer.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => void peer.close())
    const address = `127.0.0.1:${(peer.address() as AddressInfo).port}`
    const proxy = new TcpProxy(new TcpPeer(address, { proxyProtocol: 'v1' }))
    const { to } = await startService(proxy)
    const own = await client(to)
    const port = own.localPort
    own.end('hello')
    await text(own)
    expect(await heard[0]).toBe(`PROXY TCP4 127.0.0.1 127.0.0.1 ${port} ${to.port}\r\nhello`)
    const behind = await client(
      proxy.addTcp('127.0.0.1:0', { proxyProtocol: { from: ['loopback'] } }).address,
    )
    behind.end(`${V1}hello`)
    await text(behind)
    expect(await heard[1]).toBe(`${V1}hello`)
  })

  test.each([
    ['v1', 'PROXY UNKNOWN\r\n'],
    ['v2', `${SIGNATURE}\x20\0\0\0`],
  ] as const)('%s: a request of one’s own has no client', async (proxyProtocol, header) => {
    const { headers, peer } = await told({ proxyProtocol })
    await using connector = new Connector()
    expect(await (await connector.fetch(peer)).text()).toBe('ok')
    expect(headers).toEqual([header])
  })

  test('without it origins are told nothing', async () => {
    const { headers, to } = await told({})
    const client = await Client.connect(to)
    client.write(get('/'))
    await client.reply()
    client.socket.destroy()
    expect(headers).toEqual([''])
    expect(() => new HttpPeer(DEAD, { proxyProtocol: 'v3' as 'v2' })).toThrow(
      /proxyProtocol: .+ 'v1' or 'v2'/,
    )
  })
})
