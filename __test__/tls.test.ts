// TLS with clients, met with those of Node.js and with curl.
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect as connectH2 } from 'node:http2'
import { get as getOver } from 'node:https'
import { connect } from 'node:net'
import { promisify } from 'node:util'
import { describe, expect, onTestFinished, test } from 'vitest'
import {
  HttpPeer,
  HttpProxy,
  Server,
  type Session,
  type TlsOptions,
  type TlsView,
  UsageError,
} from '../ts/index.js'
import { get, once as onceOver } from './support/client.js'
import { DEAD } from './support/origin.js'
import { deferred, startProxy, until } from './support/proxy.js'
import { askOver, bytes, ca, certs, pair, shake, startTls } from './support/tls.js'

/** The names of the certificate that is shown to a client that asks for `servername`. */
async function shownFor(to: { host: string; port: number }, servername: string) {
  const socket = await shake(to, { servername, rejectUnauthorized: false })
  return socket.getPeerCertificate().subjectaltname
}

const LOCALHOST = 'DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1'
const EXAMPLE = 'DNS:example.test, DNS:www.example.test'
const WILDCARD = 'DNS:*.wild.test'

describe('certificates', () => {
  const text = (name: string) => ({
    cert: readFileSync(certs(`${name}.pem`), 'utf8'),
    key: readFileSync(certs(`${name}.key`), 'utf8'),
  })
  test.each([
    ['paths', pair],
    ['bytes', bytes],
    ['text', text],
  ])('PEM as %s', async (_, read) => {
    const { to } = await startTls(read('localhost'))
    expect(await askOver(await shake(to))).toMatch(/^HTTP\/1\.1 200 OK\r\n.*own$/s)
  })

  test('the name that is asked for says which is shown: exact, wildcard, or the first', async () => {
    const { to } = await startTls({ certificates: [pair('localhost'), pair('example'), pair('wildcard')] })
    for (const [name, shown] of [
      ['localhost', LOCALHOST],
      ['example.test', EXAMPLE],
      ['WWW.Example.Test', EXAMPLE],
      ['a.wild.test', WILDCARD],
      ['wild.test', LOCALHOST],
      ['a.b.wild.test', LOCALHOST],
      ['other.test', LOCALHOST],
      ['', LOCALHOST],
    ] as const)
      expect([name, await shownFor(to, name)]).toEqual([name, shown])
  })

  test('names say what a certificate is shown for', async () => {
    const { to } = await startTls({
      certificates: [pair('localhost'), { ...pair('example'), names: ['www.example.test'] }],
    })
    expect(await shownFor(to, 'www.example.test')).toBe(EXAMPLE)
    expect(await shownFor(to, 'example.test')).toBe(LOCALHOST)
  })

  test('they are replaced while connections are open, all or none', async () => {
    const { https, to } = await startTls({ ...pair('localhost'), h2: false })
    const open = await shake(to)
    open.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
    await once(open, 'data')

    https.updateCertificates([pair('example'), pair('wildcard')])
    expect(await shownFor(to, 'localhost')).toBe(EXAMPLE)
    expect(await shownFor(to, 'x.wild.test')).toBe(WILDCARD)
    https.updateCertificates(bytes('wildcard'))
    expect(await shownFor(to, 'localhost')).toBe(WILDCARD)

    const wrong = () =>
      https.updateCertificates([pair('example'), { ...pair('localhost'), key: certs('ca.pem') }])
    expect(wrong).toThrow(
      /^invalid options of updateCertificates:\n {2}certificates\[1\]\.key: found "__test__\/certs\/ca\.pem: there is no/,
    )
    expect(() => https.updateCertificates([])).toThrow(/certificates/)
    expect(await shownFor(to, 'localhost')).toBe(WILDCARD)
    expect(await askOver(open)).toMatch(/200 OK.*own$/s)
  })
})

describe('sniCallback', () => {
  test('is called once at a time for a name, and its answers are kept', async () => {
    const asked: string[] = []
    const gate = deferred()
    const sniCallback = async (name: string) => {
      asked.push(name)
      await gate.promise
      return name === 'example.test' ? bytes('example') : undefined
    }
    const { to } = await startTls({ ...pair('localhost'), sniCallback })
    const many = Promise.all(Array.from({ length: 20 }, () => shownFor(to, 'example.test')))
    await until(() => asked.length > 0)
    gate.resolve()
    expect(new Set(await many)).toEqual(new Set([EXAMPLE]))
    expect(await shownFor(to, 'EXAMPLE.test')).toBe(EXAMPLE)
    expect(await shownFor(to, 'unknown.test')).toBe(LOCALHOST)
    expect(await shownFor(to, 'localhost')).toBe(LOCALHOST)
    expect(asked).toEqual(['example.test', 'unknown.test'])
  })

  test('answers are kept for sniCacheTtlMs', async () => {
    let asked = 0
    const sniCallback = () => {
      asked++
      return pair('example')
    }
    const { to } = await startTls({ sniCallback, sniCacheTtlMs: 0 })
    await shownFor(to, 'example.test')
    await shownFor(to, 'example.test')
    expect(asked).toBe(2)
  })

  test('updateCertificates forgets what it found', async () => {
    const asked: string[] = []
    const sniCallback = (name: string) => {
      asked.push(name)
      return pair('example')
    }
    const { to, https } = await startTls({ ...pair('localhost'), sniCallback })
    await shownFor(to, 'example.test')
    await shownFor(to, 'example.test')
    expect(asked).toHaveLength(1)
    https.updateCertificates(pair('localhost'))
    expect(await shownFor(to, 'example.test')).toBe(EXAMPLE)
    expect(asked).toHaveLength(2)
  })

  const thrower = () => {
    throw new Error('no database')
  }
  test.each<[string, NonNullable<TlsOptions['sniCallback']>, RegExp]>([
    ['throws', thrower, /no database/],
    ['rejects', async () => thrower(), /no database/],
    ['answers with nonsense', () => 5 as never, /what sniCallback found.*found 5/s],
    ['answers with half of it', () => ({ cert: certs('example.pem') }) as never, /key: found undefined/],
    ['answers with an expired one', () => pair('expired'), /cert: the certificate has expired/],
    [
      'answers with a strange key',
      () => ({ ...pair('example'), key: certs('client.key') }),
      /key: the key does not/,
    ],
  ])('that %s costs nobody but who asked, with a line in the log', async (_, sniCallback, line) => {
    const { to, lines } = await startTls({ ...pair('localhost'), sniCallback })
    expect(await shownFor(to, 'example.test')).toBe(LOCALHOST)
    expect(lines.join('\n')).toMatch(/^error sniCallback failed for "example.test": /)
    expect(lines.join('\n')).toMatch(line)
    expect(await askOver(await shake(to))).toMatch(/own$/)
  })

  test('that never settles ends the handshakes that wait for it, and no other', async () => {
    const sniCallback = () => new Promise<never>(() => {})
    const { to, lines } = await startTls({ ...pair('localhost'), sniCallback, handshakeTimeoutMs: 300 })
    await expect(shownFor(to, 'example.test')).rejects.toThrow()
    await until(() => lines.includes('error sniCallback failed for "example.test": no answer within 300 ms'))
    expect(await askOver(await shake(to))).toMatch(/own$/)
  })

  test('without a listed certificate, a name that it has none for fails', async () => {
    const { to } = await startTls({
      sniCallback: (name) => (name === 'example.test' ? pair('example') : null),
    })
    expect(await shownFor(to, 'example.test')).toBe(EXAMPLE)
    await expect(shownFor(to, 'other.test')).rejects.toThrow()
  })
})

describe('client certificates', () => {
  const clientAuth = { ca, mode: 'request' } as const

  test('are visible on the session, with what else the handshake came to', async () => {
    const seen: (TlsView | undefined)[] = []
    const later: string[] = []
    const gate = deferred()
    const phases = {
      upstreamPeer: new HttpPeer(DEAD),
      requestFilter: (session: Session) => {
        seen.push(session.tls, session.tls)
        return 204
      },
      logging: async (session: Session) => {
        await gate.promise
        later.push(`${session.tls?.serverName}`)
      },
    }
    const { to } = await startTls({ ...pair('localhost'), clientAuth }, phases)
    const client = bytes('client')
    await askOver(await shake(to, { ...client, ALPNProtocols: ['http/1.1'] }))
    await askOver(await shake(to, { maxVersion: 'TLSv1.2' }))
    expect(seen[0]).toBe(seen[1])
    expect(seen[0]).toMatchObject({ version: 'TLSv1.3', alpn: 'http/1.1', serverName: 'localhost' })
    expect(seen[0]?.cipher).toMatch(/^TLS_/)
    const [own, between, ...more] = seen[0]!.clientCertificates
    expect([own?.subject, own?.subjectAltName, more]).toEqual(['CN=a test', 'DNS:client.test', []])
    expect(own?.fingerprint256).toMatch(/^[0-9A-F:]{95}$/)
    expect(own?.checkIssued(between!)).toBe(true)
    expect(seen[0]?.clientCertificate).toBe(own)
    expect(seen[2]).toMatchObject({ version: 'TLSv1.2', alpn: undefined, clientCertificate: undefined })
    // Its connection has long been closed.
    gate.resolve()
    await until(() => later.length === 2)
    expect(later).toEqual(['localhost', 'localhost'])
  })

  test('in the clear there is nothing to see', async () => {
    const seen: unknown[] = []
    const { to } = await startProxy({
      upstreamPeer: new HttpPeer(DEAD),
      requestFilter: (session) => {
        seen.push(session.tls)
        return 204
      },
    })
    await onceOver(to, get('/'))
    expect(seen).toEqual([undefined])
  })

  test.each([
    ['request', undefined, true],
    ['request', 'client', true],
    ['request', 'stranger', false],
    ['require', undefined, false],
    ['require', 'client', true],
    ['require', 'stranger', false],
  ] as const)('mode %s with %s: %s', async (mode, name, works) => {
    const { to } = await startTls({ ...pair('localhost'), clientAuth: { ca, mode } })
    const answer = shake(to, name === undefined ? {} : bytes(name)).then((socket) => askOver(socket))
    if (works) expect(await answer).toMatch(/own$/)
    else await expect(answer).rejects.toThrow(/alert|ECONNRESET|disconnected/)
  })
})

describe('options', () => {
  test('minVersion', async () => {
    const { to, lines } = await startTls({ ...pair('localhost'), minVersion: 'TLSv1.3' })
    await expect(shake(to, { maxVersion: 'TLSv1.2' })).rejects.toThrow(/version/)
    await until(() => lines.some((line) => /^debug TLS handshake with .* failed: /.test(line)))
    expect((await shake(to)).getProtocol()).toBe('TLSv1.3')
    const { to: older } = await startTls()
    expect((await shake(older, { maxVersion: 'TLSv1.2' })).getProtocol()).toBe('TLSv1.2')
    await expect(shake(older, { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1' })).rejects.toThrow()
  })

  test.each([
    ['by default', {}, 'h2'],
    ['h2: false', { h2: false }, 'http/1.1'],
    ['alpn', { alpn: ['http/1.1', 'h2'] }, 'http/1.1'],
  ] as const)('what is offered %s', async (_, options, chosen) => {
    const { to } = await startTls({ ...pair('localhost'), ...options })
    expect((await shake(to, { ALPNProtocols: ['h2', 'http/1.1'] })).alpnProtocol).toBe(chosen)
  })

  test.each(['TLSv1.2', 'TLSv1.3'] as const)('sessionTickets, %s', async (maxVersion) => {
    for (const sessionTickets of [true, false]) {
      const { to } = await startTls({ ...pair('localhost'), sessionTickets })
      const first = await shake(to, { maxVersion })
      let session: Buffer | undefined = first.getSession()
      first.on('session', (ticket: Buffer) => {
        session = ticket
      })
      await askOver(first)
      const again = await shake(to, { maxVersion, session: session! })
      expect([sessionTickets, again.isSessionReused()]).toEqual([sessionTickets, sessionTickets])
    }
  })

  test('handshakeTimeoutMs: a client that says nothing is not waited for', async () => {
    const { to } = await startTls({ ...pair('localhost'), handshakeTimeoutMs: 100 })
    const socket = connect(to)
    onTestFinished(() => void socket.destroy())
    await once(socket, 'close')
  })

  test('the url is one of https, and the sockets have their options', async () => {
    const server = new Server({ logger: false })
    const proxy = new HttpProxy({ upstreamPeer: new HttpPeer(DEAD) })
    const https = proxy.addTls('127.0.0.1:0', pair('localhost'), { backlog: 5 })
    expect(https.options.backlog).toBe(5)
    server.addService(proxy)
    await server.start()
    onTestFinished(async () => void (await server.close({ graceMs: 0 })))
    expect(https.url).toBe(`https://127.0.0.1:${https.address.port}`)
    const { port } = https.address
    expect(() => proxy.addTls(`127.0.0.1:${port}`, pair('localhost'))).toThrow(UsageError)
  })
})

test('what is no handshake ends its own connection only', async () => {
  const { to, lines } = await startTls()
  for (const junk of [
    'GET / HTTP/1.1\r\nhost: a\r\n\r\n',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    '\x16\x03\x01\xff\xff',
    '\0'.repeat(600),
  ]) {
    const socket = connect(to)
    socket.end(junk)
    socket.resume()
    socket.on('error', () => {})
    await once(socket, 'close')
  }
  expect(lines.filter((line) => !line.startsWith('debug '))).toEqual([])
  expect(await askOver(await shake(to))).toMatch(/own$/)
})

describe('clients that others wrote', () => {
  test.each([
    ['--http2', '2'],
    ['--http1.1', '1.1'],
  ])('curl %s', async (flag, version) => {
    const { url } = await startTls()
    const args = [
      '-sS',
      '--max-time',
      '10',
      '--cacert',
      certs('ca.pem'),
      flag,
      '-w',
      ' %{http_version}',
      `${url}/x`,
    ]
    expect((await promisify(execFile)('curl', args)).stdout).toBe(`own ${version}`)
  })

  test('node:http2, 50 requests at once on a connection', async () => {
    const { url } = await startTls(pair('localhost'), {
      upstreamPeer: new HttpPeer(DEAD),
      requestFilter: (session) => ({ status: 200, body: session.request.path }),
    })
    const client = connectH2(url, { ca })
    onTestFinished(() => client.destroy())
    const one = async (path: string) => {
      let text = ''
      for await (const piece of client.request({ ':path': path }).setEncoding('utf8')) text += piece
      return text
    }
    const paths = Array.from({ length: 50 }, (_, index) => `/${index}`)
    expect(await Promise.all(paths.map(one))).toEqual(paths)
  })

  test('node:https', async () => {
    const { url } = await startTls()
    const request = getOver(url, { ca })
    const [response] = await once(request, 'response')
    let text = ''
    for await (const piece of response) text += piece
    expect(text).toBe('own')
  })
})
