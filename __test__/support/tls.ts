import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { RequestListener } from 'node:http'
import {
  createSecureServer,
  createServer,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type SecureServerOptions,
} from 'node:http2'
import { createServer as createHttps } from 'node:https'
import type { AddressInfo } from 'node:net'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import { onTestFinished } from 'vitest'
import {
  type AnyPhases,
  HttpPeer,
  HttpProxy,
  type HttpProxyOptions,
  Server,
  type TlsEndpoint,
  type TlsOptions,
} from '../../ts/index.js'
import { DEAD } from './origin.js'

/** The path of a file with certificates; `crates/test-certs/examples/write.rs` makes them. */
export const certs = (name: string) => `__test__/certs/${name}`
/** A certificate with its key. */
export const pair = (name: string) => ({ cert: certs(`${name}.pem`), key: certs(`${name}.key`) })
/** The same, read. */
export const bytes = (name: string) => ({
  cert: readFileSync(certs(`${name}.pem`)),
  key: readFileSync(certs(`${name}.key`)),
})
/** The authority that has signed all but those of strangers. */
export const ca = readFileSync(certs('ca.pem'))

const own: AnyPhases = {
  upstreamPeer: new HttpPeer(DEAD),
  requestFilter: () => ({ status: 200, body: 'own' }),
}

/** Starts a proxy that listens with TLS. It is closed with the test. */
export async function startTls(
  tls: TlsOptions = pair('localhost'),
  phases: AnyPhases = own,
  options: HttpProxyOptions = {},
) {
  const lines: string[] = []
  const log = (level: string) => (line: string) => void lines.push(`${level} ${line}`)
  const logger = { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') }
  const server = new Server({ graceMs: 1_000, logger })
  const https: TlsEndpoint = server
    .addService(new HttpProxy(phases, { threads: 2, ...options }))
    .addTls('127.0.0.1:0', tls)
  await server.start()
  onTestFinished(async () => {
    await server.close({ graceMs: 0 })
  })
  return { server, https, to: https.address, url: `https://localhost:${https.address.port}`, lines }
}

/** A client whose handshake is done. Rejects if it fails, in TLS 1.3 also by what follows. */
export async function shake(
  to: { host: string; port: number },
  options: ConnectionOptions = {},
): Promise<TLSSocket> {
  const socket = connect({ ...to, ca, servername: 'localhost', ...options })
  socket.on('error', () => {})
  onTestFinished(() => void socket.destroy())
  await once(socket, 'secureConnect')
  return socket
}

/** Sends a request of HTTP/1.1 and reads to the end: all that came. Rejects if the connection fails. */
export async function askOver(socket: TLSSocket, path = '/'): Promise<string> {
  socket.write(`GET ${path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n`)
  let text = ''
  for await (const piece of socket) text += piece
  return text
}

/** An origin that speaks HTTP/2 and HTTP/1.1. */
export interface TlsOrigin {
  port: number
  /** For each request: its version, the name asked for, the name of the client's certificate, and its connection. */
  seen: { version: string; servername: string; client: string | undefined; port: number; path: string }[]
  /** The answers to these paths wait for it. */
  go: () => void
}

type Handler = (req: Http2ServerRequest, res: Http2ServerResponse) => void

/** Starts an origin with TLS, or one that speaks HTTP/2 in the clear, or HTTP/1.1 alone. It is closed with the test. */
export async function startTlsOrigin(
  options: SecureServerOptions | 'clear' | 'http/1.1' = {},
  handler?: Handler,
): Promise<TlsOrigin> {
  const waiting: (() => void)[] = []
  const origin: TlsOrigin = { port: 0, seen: [], go: () => waiting.splice(0).forEach((go) => void go()) }
  const answer: Handler = (req, res) => {
    const socket = req.socket as TLSSocket
    origin.seen.push({
      version: req.httpVersion,
      servername: String(socket.servername ?? ''),
      client: socket.getPeerCertificate?.()?.subjectaltname,
      port: req.socket.remotePort ?? 0,
      path: req.url,
    })
    if (handler) handler(req, res)
    else if (req.url.startsWith('/wait')) waiting.push(() => res.end(req.url))
    else res.end(`${req.httpVersion} ${req.url}`)
  }
  const server =
    options === 'clear'
      ? createServer(answer)
      : options === 'http/1.1'
        ? // The server of node:http2 offers HTTP/2 whatever it is told.
          createHttps({ ...bytes('localhost') }, answer as unknown as RequestListener)
        : createSecureServer({ ...bytes('localhost'), allowHTTP1: true, ...options }, answer)
  const sessions = new Set<{ destroy(): void }>()
  server.on('session', (session) => void sessions.add(session))
  server.on('sessionError', () => {})
  server.on('connection', (socket) => void sessions.add(socket))
  server.on('tlsClientError', () => {})
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  origin.port = (server.address() as AddressInfo).port
  onTestFinished(() => {
    for (const session of sessions) session.destroy()
    server.close()
  })
  return origin
}
