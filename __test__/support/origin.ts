import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, createServer as createNetServer, type ListenOptions, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'

/** A request as the origin got it. */
export interface Seen {
  method: string
  url: string
  /** Names as received, in order. */
  headers: [string, string][]
  body: string
  /** The port of the connection it came on: the same for requests that shared one. */
  port: number
  remote: string
  /** The first value of a field. */
  header(name: string): string | undefined
}

export interface Origin {
  /** `127.0.0.1:port`, for a peer. */
  address: string
  port: number
  /** Every request, in order. */
  seen: Seen[]
  /** How many connections were made to it. */
  connections: number
  /** Those open now. */
  sockets: Set<Socket>
}

type Handler = (seen: Seen, res: ServerResponse, req: IncomingMessage) => void

/** Answers with the tag of the request, and with what was asked for as the body. */
function echo(seen: Seen, res: ServerResponse): void {
  res.setHeader('x-tag', seen.header('x-tag') ?? '')
  res.setHeader('content-type', 'text/plain')
  res.end(`${seen.method} ${seen.url} ${seen.body}`)
}

/** An origin on node:http that counts what it gets. It closes with the test. */
export async function startOrigin(
  handler: Handler = echo,
  listen: ListenOptions = { host: '127.0.0.1', port: 0 },
): Promise<Origin> {
  const origin: Origin = { address: '', port: 0, seen: [], connections: 0, sockets: new Set() }
  const server = createServer((req, res) => {
    const chunks: Buffer[] = []
    req.on('data', (chunk: Buffer) => chunks.push(chunk))
    req.on('end', () => {
      const headers: [string, string][] = []
      for (let i = 0; i < req.rawHeaders.length; i += 2)
        headers.push([req.rawHeaders[i]!, req.rawHeaders[i + 1]!])
      const seen: Seen = {
        method: req.method ?? '',
        url: req.url ?? '',
        headers,
        body: Buffer.concat(chunks).toString('latin1'),
        port: req.socket.remotePort ?? 0,
        remote: req.socket.remoteAddress ?? '',
        header: (name) => headers.find(([key]) => key.toLowerCase() === name)?.[1],
      }
      origin.seen.push(seen)
      handler(seen, res, req)
    })
  })
  // What a test does not ask for, the origin does not do: it closes idle connections late.
  server.keepAliveTimeout = 60_000
  server.on('connection', (socket: Socket) => {
    origin.connections++
    origin.sockets.add(socket)
    socket.on('close', () => origin.sockets.delete(socket))
    socket.on('error', () => {})
  })
  server.listen(listen)
  await once(server, 'listening')
  const { address, port, family } = (
    typeof server.address() === 'string' ? { address: '', port: 0, family: '' } : server.address()
  ) as AddressInfo
  origin.port = port
  origin.address = `${family === 'IPv6' ? `[${address}]` : address}:${port}`
  onTestFinished(async () => {
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
  })
  return origin
}

/** An origin on bare sockets: `connected` does with each what it likes. It closes with the test. */
export async function startRaw(
  connected: (socket: Socket, index: number) => void,
): Promise<{ address: string; port: number; connections: number; sockets: Set<Socket> }> {
  const origin = { address: '', port: 0, connections: 0, sockets: new Set<Socket>() }
  const server = createNetServer({ allowHalfOpen: false }, (socket) => {
    origin.sockets.add(socket)
    socket.on('close', () => origin.sockets.delete(socket))
    socket.on('error', () => {})
    connected(socket, origin.connections++)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  origin.port = (server.address() as AddressInfo).port
  origin.address = `127.0.0.1:${origin.port}`
  onTestFinished(async () => {
    for (const socket of origin.sockets) socket.destroy()
    server.close()
    await once(server, 'close')
  })
  return origin
}

/** A fast origin for many small requests without bodies: answers each with its `x-tag`, in header and body. */
export function startTagging() {
  return startRaw((socket) => {
    let text = ''
    socket.on('data', (data) => {
      text += data.toString('latin1')
      let answers = ''
      for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
        const tag = /\r\nx-tag: *([^\r]*)/i.exec(text.slice(0, end))?.[1] ?? ''
        text = text.slice(end + 4)
        answers += `HTTP/1.1 200 OK\r\nx-tag: ${tag}\r\ncontent-length: ${tag.length}\r\n\r\n${tag}`
      }
      if (answers !== '') socket.write(answers)
    })
  })
}

/** An address that refuses connections. */
export const DEAD = '127.0.0.1:1'
