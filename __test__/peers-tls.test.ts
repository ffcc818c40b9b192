// TLS and HTTP/2 with origins.
import { once } from 'node:events'
import { connect as connectH2 } from 'node:http2'
import { describe, expect, onTestFinished, test } from 'vitest'
import { HttpPeer, type HttpPeerOptions, type ProxyError } from '../ts/index.js'
import { once as ask, Client, get, post } from './support/client.js'
import { startOrigin, startRaw } from './support/origin.js'
import { startProxy, until } from './support/proxy.js'
import { bytes, ca, certs, pair, startTlsOrigin, type TlsOrigin } from './support/tls.js'

/** What becomes of one request to an origin with these options of its peer. */
async function reach(
  origin: TlsOrigin,
  options: HttpPeerOptions,
  address = `https://localhost:${origin.port}`,
) {
  const errors: (ProxyError | undefined)[] = []
  const { to } = await startProxy({
    upstreamPeer: new HttpPeer(address, options),
    logging: (_session, error) => void errors.push(error),
  })
  const reply = await ask(to, get('/x'))
  await until(() => errors.length === 1)
  return { status: reply.status, body: reply.body, error: errors[0], seen: origin.seen.at(-1) }
}

describe('who is trusted', () => {
  const FOR_OTHERS = { sni: 'example.test', ca }
  test.each<[string, HttpPeerOptions, string, RegExp | undefined]>([
    ['nobody has signed it that is trusted', {}, 'localhost', /no trusted ca has signed/],
    ['the ca has signed it', { ca }, 'localhost', undefined],
    ['another ca has not', { ca: certs('stranger.pem') }, 'localhost', /no trusted ca has signed/],
    ['it is trusted itself', { ca: certs('self-signed.pem') }, 'self-signed', undefined],
    ['it is for the host', { ca }, 'example', /for another name/],
    ['it is for the name in sni', FOR_OTHERS, 'example', undefined],
    ['it is not for the name in sni', FOR_OTHERS, 'localhost', /for another name/],
    ['verifyHostname: false takes any name', { ca, verifyHostname: false }, 'example', undefined],
    ['verifyHostname: false takes no stranger', { verifyHostname: false }, 'example', /no trusted ca/],
    ['verifyCert: false takes all', { verifyCert: false }, 'expired', undefined],
    ['it has expired', { ca }, 'expired', /has expired/],
    ['alternativeName may be its name', { ca, alternativeName: 'example.test' }, 'example', undefined],
    ['alternativeName is no third name', { ca, alternativeName: 'other.test' }, 'example', /another name/],
    ['an empty sni does not turn the check off', { ca, sni: '' }, 'example', /for another name/],
    ['an empty sni and the right name', { ca, sni: '' }, 'localhost', undefined],
  ])('%s', async (_, options, certificate, problem) => {
    const origin = await startTlsOrigin(bytes(certificate))
    const { status, error } = await reach(origin, options)
    expect([status, error?.code]).toEqual(problem ? [502, 'TLS_FAILED'] : [200, undefined])
    if (problem) expect(error).toMatchObject({ source: 'upstream', message: expect.stringMatching(problem) })
  })

  test('a failed handshake is one of failToConnect, and may be tried again', async () => {
    const origin = await startTlsOrigin()
    const good = new HttpPeer(`https://localhost:${origin.port}`, { ca })
    const bad = new HttpPeer(`https://localhost:${origin.port}`)
    const failed: [string, boolean][] = []
    const { to } = await startProxy({
      upstreamPeer: () => (failed.length === 0 ? bad : good),
      failToConnect: (_session, _peer, error) => {
        failed.push([error.code, error.canRetry])
        return 'retry'
      },
    })
    expect((await ask(to, post('/x', 'body'))).status).toBe(200)
    expect(failed).toEqual([['TLS_FAILED', true]])
  })
})

describe('what the origin sees', () => {
  test.each<[string, HttpPeerOptions, string]>([
    ['the host', { ca }, 'localhost'],
    ['sni', { ca, sni: 'example.test', alternativeName: 'localhost' }, 'example.test'],
    ['none', { ca, sni: '' }, 'false'],
  ])('the name asked for is %s', async (_, options, name) => {
    const { seen } = await reach(await startTlsOrigin(), options)
    expect(seen?.servername).toBe(name)
  })

  test('an IP address is none, and its certificate has to be for it', async () => {
    const origin = await startTlsOrigin()
    const { status, seen } = await reach(origin, { ca }, `https://127.0.0.1:${origin.port}`)
    expect([status, seen?.servername]).toEqual([200, 'false'])
    const other = await startTlsOrigin(bytes('example'))
    const { error } = await reach(other, { ca }, `https://127.0.0.1:${other.port}`)
    expect(error?.code).toBe('TLS_FAILED')
  })

  test('tls: true where the address is no URL', async () => {
    const origin = await startTlsOrigin()
    const { status } = await reach(origin, { ca, tls: true, sni: 'localhost' }, `127.0.0.1:${origin.port}`)
    expect(status).toBe(200)
  })

  test('the certificate of cert and key, where it wants one', async () => {
    const origin = await startTlsOrigin({ ca: [ca], requestCert: true, rejectUnauthorized: true })
    const { seen } = await reach(origin, { ca, ...pair('client') })
    expect(seen?.client).toBe('DNS:client.test')
    const { status, error } = await reach(origin, { ca })
    expect([status, error?.source]).toEqual([502, 'upstream'])
  })
})

describe('protocol', () => {
  test.each<[HttpPeerOptions['protocol'], string, string | undefined]>([
    [undefined, 'both', '1.1'],
    ['h1', 'both', '1.1'],
    ['h2', 'both', '2.0'],
    ['auto', 'both', '2.0'],
    ['auto', 'http/1.1', '1.1'],
    ['h2', 'http/1.1', undefined],
  ])('%s with an origin of %s', async (protocol, spoken, version) => {
    const origin = await startTlsOrigin(spoken === 'both' ? {} : 'http/1.1')
    const { status, seen, error } = await reach(origin, { ca, ...(protocol ? { protocol } : {}) })
    expect([status, seen?.version]).toEqual([version === undefined ? 502 : 200, version])
    if (version === undefined) expect(error?.code).toBe('TLS_FAILED')
  })

  test.each([['127.0.0.1'], ['http://127.0.0.1']])(
    'h2 in the clear, by prior knowledge: %s',
    async (host) => {
      const origin = await startTlsOrigin('clear')
      const { seen, body } = await reach(origin, { protocol: 'h2' }, `${host}:${origin.port}`)
      expect([seen?.version, body]).toEqual(['2.0', '2.0 /x'])
    },
  )

  test('auto in the clear is h1', async () => {
    const origin = await startOrigin()
    const { to } = await startProxy({ upstreamPeer: new HttpPeer(origin.address, { protocol: 'auto' }) })
    expect((await ask(to, get('/x'))).body).toBe('GET /x ')
  })

  test('clients of both versions share one connection of HTTP/2', async () => {
    const origin = await startTlsOrigin()
    const { to, http } = await startProxy({
      upstreamPeer: new HttpPeer(`https://localhost:${origin.port}`, { ca, protocol: 'h2' }),
    })
    await ask(to, get('/first'))
    const h2 = connectH2(http.url)
    onTestFinished(() => h2.destroy())
    const replies = Array.from({ length: 10 }, (_, index) => ask(to, get(`/wait${index}`)))
    const answered = once(h2.request({ ':path': '/wait10' }), 'response')
    await until(() => origin.seen.length === 12)
    origin.go()
    expect((await Promise.all(replies)).map(({ body }) => body)).toEqual(
      replies.map((_, index) => `/wait${index}`),
    )
    await answered
    expect(new Set(origin.seen.map(({ port }) => port)).size).toBe(1)
  })

  test('h2MaxStreams: beyond it another connection is made', async () => {
    const origin = await startTlsOrigin('clear')
    const { to } = await startProxy({
      upstreamPeer: new HttpPeer(`127.0.0.1:${origin.port}`, { protocol: 'h2', h2MaxStreams: 2 }),
    })
    const replies = Array.from({ length: 4 }, (_, index) => ask(to, get(`/wait${index}`)))
    await until(() => origin.seen.length === 4)
    origin.go()
    await Promise.all(replies)
    expect(new Set(origin.seen.map(({ port }) => port)).size).toBe(2)
  })

  test('h2PingIntervalMs: an origin that does not answer is dropped', async () => {
    // It answers the settings and one request, and is silent from then on.
    const SETTINGS = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])
    const ACK = Buffer.from([0, 0, 0, 4, 1, 0, 0, 0, 0])
    const HEADERS = Buffer.from([0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88])
    const raw = await startRaw((socket) => {
      socket.write(SETTINGS)
      let read = Buffer.alloc(0)
      socket.on('data', (data) => {
        read = Buffer.concat([read, data])
        // Behind the preface, frame by frame, to that of the request.
        for (let at = 24; at + 9 <= read.length; at += 9 + read.readUIntBE(at, 3))
          if (read[at + 3] === 1) {
            socket.write(Buffer.concat([ACK, HEADERS]))
            socket.removeAllListeners('data').resume()
            return
          }
      })
    })
    const { server, to } = await startProxy({
      upstreamPeer: new HttpPeer(raw.address, {
        protocol: 'h2',
        h2PingIntervalMs: 100,
        idleTimeoutMs: 60_000,
      }),
    })
    expect((await ask(to, get('/'))).status).toBe(200)
    await until(() => raw.sockets.size === 0 && server.stats().services[0]!.pool.open === 0)
  })
})

test('peers that differ in trust do not share a connection', async () => {
  const origin = await startTlsOrigin()
  const address = `https://localhost:${origin.port}`
  const peers = [
    new HttpPeer(address, { ca }),
    new HttpPeer(address, { ca, ...pair('client') }),
    new HttpPeer(address, { ca, verifyHostname: false }),
    new HttpPeer(address, { ca, protocol: 'h2' }),
    new HttpPeer(address, { ca }),
  ]
  let next = 0
  const { to } = await startProxy({ upstreamPeer: () => peers[next++ % peers.length]! }, { threads: 1 })
  const client = await Client.connect(to)
  for (const _ of peers) await client.ask(get('/'))
  const ports = origin.seen.map(({ port }) => port)
  expect(new Set(ports.slice(0, 4)).size).toBe(4)
  expect(ports[4]).toBe(ports[0])
})
