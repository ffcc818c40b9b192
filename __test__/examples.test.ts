// The examples of docs/tls.md and docs/http2.md, with curl and the clients and servers of Node.js.
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import {
  connect,
  createServer as createHttp2,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
} from 'node:http2'
import { createServer as createHttps } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { type TLSSocket, connect as tlsConnect } from 'node:tls'
import { promisify } from 'node:util'
import { expect, onTestFinished, test, vi } from 'vitest'
import { runExample } from './support/example.js'

const CERTS = '__test__/certs'
const pem = (name: string) => readFileSync(`${CERTS}/${name}`)

/** What curl prints. It connects to `at` for whatever host the URL has. */
async function curl(at: string, url: string, ...more: string[]): Promise<string> {
  const args = ['-sS', '--max-time', '10', '--connect-to', `::${at}`, ...more, url]
  return (await promisify(execFile)('curl', args)).stdout
}

/** An origin over TLS that answers with what it got. */
async function startSecureOrigin(): Promise<string> {
  const origin = createHttps({ cert: pem('localhost.pem'), key: pem('localhost.key') }, (req, res) => {
    const seen = ['x-forwarded-proto', 'x-client'].map((name) => req.headers[name])
    res.end(`${req.url} ${seen.join(' ')}`)
  })
  origin.listen(0, '127.0.0.1')
  await once(origin, 'listening')
  onTestFinished(() => {
    origin.closeAllConnections()
    origin.close()
  })
  return `https://127.0.0.1:${(origin.address() as AddressInfo).port}`
}

/** A connection whose handshake is done. */
async function shake(at: string): Promise<TLSSocket> {
  const [host, port] = at.split(':') as [string, string]
  const socket = tlsConnect({ host, port: Number(port), rejectUnauthorized: false })
  onTestFinished(() => void socket.destroy())
  await once(socket, 'secureConnect')
  return socket
}

/** Asks on a connection that is open, and waits until `answer` comes. */
async function ask(socket: TLSSocket, path: string, answer: string): Promise<void> {
  socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`)
  for (let text = ''; !text.includes(answer); ) text += (await once(socket, 'data'))[0]
}

test('examples/tls.ts speaks TLS on both sides and knows its clients by their certificates', async () => {
  const { secure } = await runExample('tls', await startSecureOrigin(), {
    CERT: `${CERTS}/localhost.pem`,
    KEY: `${CERTS}/localhost.key`,
    CLIENT_CA: `${CERTS}/ca.pem`,
    ORIGIN_CA: `${CERTS}/ca.pem`,
  })
  const trust = ['--cacert', `${CERTS}/ca.pem`]
  const own = (name: string) => ['--cert', `${CERTS}/${name}.pem`, '--key', `${CERTS}/${name}.key`]
  const forged = ['-H', 'x-client: me']
  expect(await curl(secure, 'https://localhost/a', ...trust, ...forged)).toBe('/a https unknown')
  expect(await curl(secure, 'https://localhost/admin', ...trust, '-w', '%{http_code}')).toBe('403')
  const shown = await curl(secure, 'https://localhost/admin', ...trust, ...own('client'), ...forged)
  expect(shown).toMatch(/^\/admin https (?:[0-9A-F]{2}:){31}[0-9A-F]{2}$/)
  // One that nobody we trust has signed opens nothing, not even what is open to all.
  await expect(curl(secure, 'https://localhost/a', ...trust, ...own('stranger'))).rejects.toThrow()
  await expect(curl(secure, 'https://localhost/a')).rejects.toThrow('certificate')
})

test('examples/tls.ts reads its certificate again at SIGHUP, and open connections stay', async () => {
  const folder = mkdtempSync(`${tmpdir()}/millrace-`)
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const renew = (name: string) => {
    copyFileSync(`${CERTS}/${name}.pem`, `${folder}/cert.pem`)
    copyFileSync(`${CERTS}/${name}.key`, `${folder}/key.pem`)
  }
  renew('localhost')
  const { secure, child, ended, stderr } = await runExample('tls', await startSecureOrigin(), {
    CERT: `${folder}/cert.pem`,
    KEY: `${folder}/key.pem`,
    ORIGIN_CA: `${CERTS}/ca.pem`,
  })
  const names = async () => (await shake(secure)).getPeerX509Certificate()?.subjectAltName
  const open = await shake(secure)
  await ask(open, '/before', '/before https unknown')

  renew('example')
  child.kill('SIGHUP')
  await vi.waitFor(async () => expect(await names()).toBe('DNS:example.test, DNS:www.example.test'), 10_000)
  // One that has expired changes nothing, and ends nothing.
  renew('expired')
  child.kill('SIGHUP')
  await vi.waitFor(() => expect(stderr()).toContain('The certificate stays as it was'), 10_000)
  expect(stderr()).toContain('expired')
  expect(await names()).toContain('example.test')
  renew('wildcard')
  child.kill('SIGHUP')
  await vi.waitFor(async () => expect(await names()).toBe('DNS:*.wild.test'), 10_000)

  await ask(open, '/after', '/after https unknown')
  child.kill('SIGTERM')
  expect(await ended).toEqual([0, null])
})

test('examples/tls.ts needs no files for a first try', async () => {
  const { secure } = await runExample('tls', await startSecureOrigin(), { ORIGIN_CA: `${CERTS}/ca.pem` })
  expect(await curl(secure, 'https://localhost/', '-k')).toBe('/ https unknown')
  await expect(curl(secure, 'https://localhost/')).rejects.toThrow('certificate')
})

/** An origin of HTTP/2 in the clear, and the connections to it. */
async function startH2Origin() {
  const sessions = new Set<ServerHttp2Session>()
  const origin = createHttp2((req: Http2ServerRequest, res: Http2ServerResponse) => {
    res.addTrailers({ 'x-trailer': 'there' })
    res.end(`HTTP/${req.httpVersion} ${req.authority}`)
  })
  origin.on('session', (session: ServerHttp2Session) => sessions.add(session))
  origin.listen(0, '127.0.0.1')
  await once(origin, 'listening')
  onTestFinished(() => {
    for (const session of sessions) session.destroy()
    origin.close()
  })
  return { url: `http://127.0.0.1:${(origin.address() as AddressInfo).port}`, sessions }
}

test('examples/http2.ts speaks HTTP/2 on both sides, over TLS and in the clear', async () => {
  const origin = await startH2Origin()
  const { at, secure } = await runExample('http2', origin.url)
  const ways: [string, string, string, string[]][] = [
    [secure, 'https', 'HTTP/2 over TLS (h2)', ['-k', '--http2']],
    [secure, 'https', 'HTTP/1.1 over TLS (http/1.1)', ['-k', '--http1.1']],
    [secure, 'https', 'HTTP/1.1 over TLS (no ALPN)', ['-k', '--no-alpn']],
    [at, 'http', 'HTTP/2 in the clear', ['--http2-prior-knowledge']],
    [at, 'http', 'HTTP/1.1 in the clear', []],
    // Asked for by Upgrade it is not given.
    [at, 'http', 'HTTP/1.1 in the clear', ['--http2']],
  ]
  for (const [index, [target, scheme, way, flags]] of ways.entries()) {
    const answer = await curl(target, `${scheme}://some.test/`, '-i', ...flags)
    const [version] = way.split(' ')
    const place = index === 0 ? 'a new' : 'an old'
    expect(answer).toContain(`\r\nx-way: ${way}, on ${place} connection to the origin\r\n`)
    expect(answer.startsWith(`${version} 200`), answer).toBe(true)
    expect(answer).toMatch(/\r\n\r\nHTTP\/2\.0 some\.test/)
  }
  // All of them on one connection.
  expect(origin.sessions.size).toBe(1)
})

test('examples/http2.ts serves many requests on one connection, trailers included', async () => {
  const origin = await startH2Origin()
  const { secure } = await runExample('http2', origin.url)
  const client = connect(`https://${secure}`, { rejectUnauthorized: false })
  client.on('error', () => {})
  onTestFinished(() => client.destroy())
  const [settings] = await once(client, 'remoteSettings')
  expect(settings).toMatchObject({ maxConcurrentStreams: 200, initialWindowSize: 128 * 1024 })
  expect(client.alpnProtocol).toBe('h2')
  const one = async () => {
    const stream = client.request({ ':path': '/' })
    stream.resume()
    const [[head], [trailers]] = await Promise.all([once(stream, 'response'), once(stream, 'trailers')])
    return `${head[':status']} ${trailers['x-trailer']}`
  }
  const all = await Promise.all(Array.from({ length: 100 }, one))
  expect(new Set(all)).toEqual(new Set(['200 there']))
  expect(origin.sessions.size).toBe(1)
})
