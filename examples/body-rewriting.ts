// Bodies that are read and rewritten on their way. docs/bodies.md says more.
import { TransformStream } from 'node:stream/web'
import { HttpPeer, HttpProxy, type ProxyHttp, type ResponseHeader, Server, type Session } from 'millrace'

const origin = new HttpPeer('http://127.0.0.1:3000')
const BANNER = '<p>Maintenance on Sunday.</p>'

class Rewriting implements ProxyHttp<{ bytes: number }> {
  newCtx() {
    return { bytes: 0 }
  }
  async requestFilter(session: Session) {
    const { headers } = session.request
    if (!headers.get('content-type')?.startsWith('application/json')) return undefined
    // All of it, before anything is sent: a body of more than 64 KiB is answered with 413.
    const body = await session.readBody({ maxBytes: 65_536 })
    return isOrder(body) ? undefined : { status: 422, body: 'an order needs an item' }
  }
  upstreamPeer() {
    return origin
  }
  requestBodyFilter(_session: Session, chunk: Buffer, _end: boolean, ctx: { bytes: number }) {
    // Piece by piece, as it comes: only counted here.
    ctx.bytes += chunk.length
  }
  responseFilter(_session: Session, response: ResponseHeader) {
    const type = response.headers.get('content-type') ?? ''
    if (type.startsWith('text/html')) {
      // As a whole, and without its coding: the head waits, and gets the new length.
      response.transformBody({ maxBytes: 1_048_576 }, (page) =>
        page.toString().replace('<body>', `<body>${BANNER}`),
      )
    } else if (type.startsWith('text/plain')) {
      // As a stream: of any length, and nothing waits.
      response.body = (stream) => stream.pipeThrough(upperCase())
    }
  }
  logging(session: Session, _error: unknown, ctx: { bytes: number }) {
    console.log(`${session.summary()} after ${ctx.bytes} bytes`)
  }
}

function isOrder(body: Buffer): boolean {
  try {
    return typeof (JSON.parse(body.toString()) as { item?: unknown }).item === 'string'
  } catch {
    return false
  }
}

function upperCase() {
  const [decoder, encoder] = [new TextDecoder(), new TextEncoder()]
  return new TransformStream<Uint8Array, Uint8Array>({
    transform: (piece, out) =>
      out.enqueue(encoder.encode(decoder.decode(piece, { stream: true }).toUpperCase())),
    flush: (out) => out.enqueue(encoder.encode(decoder.decode().toUpperCase())),
  })
}

const server = new Server()
server.addService(new HttpProxy(new Rewriting())).addTcp('127.0.0.1:8000')
await server.run()
