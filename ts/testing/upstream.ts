import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import {
  createServer as createHttp2,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2'
import type { Duplex } from 'node:stream'
import type { SourceStage } from '../bodies/source.js'
import { UsageError } from '../errors.js'
import type { HttpPeer } from '../peer.js'
import { type ReadyAnswer, readyAnswer, type UpstreamAnswer } from './answer.js'
import { Message, pairs, pairsOf, type RawHeaders, tooLong } from './message.js'
import { Methods } from './methods.js'
import { drained, type PipeSocket } from './pipe.js'

/** A request as it left for an origin. */
export class UpstreamRequest extends Message {
  /** How many have left, this one included: 1 for the first. */
  readonly number: number
  /** Such as `GET`. */
  readonly method: string
  /** As it was sent: `/path?query`. */
  readonly target: string
  /** The host asked for. */
  readonly host: string
  /** The version of HTTP. */
  readonly version: '1.1' | '2'
  /** Where it went: `host:port` or `unix:/path`. */
  readonly address: string
  /** The same as a phase chose it; undefined for a subrequest that went straight to a peer. */
  readonly peer: HttpPeer | undefined
  /** What `upstream` threw, if it did: the connection was cut. */
  threw: unknown = undefined
  /** @internal Its body is still to come. */
  isComing = false

  /** @internal */
  constructor(head: UpstreamHead, place: Place, number: number) {
    super(head.headers)
    this.number = number
    this.method = head.method
    this.target = head.target
    this.host = head.host
    this.version = head.version
    this.address = place.address
    this.peer = place.peer
  }

  /**
   * The body, as far as it came.
   * @throws UsageError CANNOT_READ_BODY while it is still coming, as it may be where `upstream` is called
   */
  override bytes(): Buffer {
    if (!this.isComing) return super.bytes()
    throw new UsageError(
      'CANNOT_READ_BODY',
      'the body of this request has not come whole yet: in upstream, `await request.text()` first, or use that',
    )
  }
}

/** Stands for the origins: gets each request, and what is known of it beside. */
export type UpstreamHandler = (
  request: Request,
  sent: UpstreamRequest,
) => UpstreamAnswer | PromiseLike<UpstreamAnswer>

interface UpstreamHead {
  readonly method: string
  readonly target: string
  readonly host: string
  readonly version: '1.1' | '2'
  readonly headers: RawHeaders
}

/** Where a connection leads. */
export interface Place {
  readonly address: string
  readonly peer: HttpPeer | undefined
  readonly isTls: boolean
}

/** One request and the way to answer it, whatever its version. */
interface Exchange {
  readonly head: UpstreamHead
  readonly body: IncomingMessage | ServerHttp2Stream
  trailers(): RawHeaders
  /** Where the answer goes. */
  readonly to: ServerResponse | ServerHttp2Stream
  send(answer: ReadyAnswer): Sending
  /** The connection is cut. */
  cut(): void
}

/** An answer whose head has been sent. */
interface Sending {
  /** Whether a body may follow. */
  readonly hasBody: boolean
  end(): void
}

/** What a connection of HTTP/2 begins with. */
const PREFACE = 'PRI * HTTP/2.0'

/** Answers in the place of the origins, on connections that nobody has listened for. */
export class Upstream {
  readonly requests: UpstreamRequest[] = []
  readonly #handlers: readonly (UpstreamHandler | UpstreamAnswer)[]
  readonly #misused: (error: unknown) => void
  readonly #places = new WeakMap<object, Place>()
  readonly #methods = new WeakMap<object, Methods>()
  readonly #sockets = new Set<PipeSocket>()
  readonly #h1 = createServer({ keepAliveTimeout: 0, requestTimeout: 0, maxHeaderSize: 1024 * 1024 })
  #h2: Http2Server | undefined

  constructor(handlers: readonly (UpstreamHandler | UpstreamAnswer)[], misused: (error: unknown) => void) {
    this.#handlers = handlers
    this.#misused = misused
    this.#h1.on('request', (req, res) => {
      this.#methods.get(req.socket)?.restore(req)
      void this.#serve(h1Exchange(req, res), this.#places.get(req.socket)!)
    })
    this.#h1.on('clientError', (_error, socket) => void socket.destroy())
  }

  /** Serves a connection, in the version that its first bytes are in. */
  accept(socket: PipeSocket, place: Place): void {
    this.#sockets.add(socket)
    socket.once('close', () => this.#sockets.delete(socket))
    this.#places.set(socket, place)
    socket.once('readable', () => {
      const first = socket.read() as Buffer | null
      if (first === null) return void socket.destroy()
      socket.unshift(first)
      const isH2 = first.toString('latin1', 0, PREFACE.length) === PREFACE
      if (isH2) return void this.#http2(place, socket).emit('connection', socket)
      const methods = new Methods()
      this.#methods.set(socket, methods)
      socket.incoming = (piece) => methods.passable(piece)
      this.#h1.emit('connection', socket)
    })
  }

  /** One server for each connection, so that its streams know where they have come to. */
  #http2(place: Place, socket: PipeSocket): Http2Server {
    const server = createHttp2({ settings: { maxHeaderListSize: 1024 * 1024 } })
    server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, ...[, raw]: unknown[]) => {
      stream.on('error', () => {})
      void this.#serve(h2Exchange(socket, stream, headers, raw as string[] | undefined), place)
    })
    server.on('session', (session) => session.on('error', () => {}))
    server.on('sessionError', () => {})
    this.#h2 = server
    return server
  }

  /** Cuts what is left. */
  close(): void {
    for (const socket of this.#sockets) socket.destroy()
    for (const request of this.requests) request.isComing = false
    this.#h2?.removeAllListeners()
  }

  async #serve(exchange: Exchange, place: Place): Promise<void> {
    const sent = new UpstreamRequest(exchange.head, place, this.requests.length + 1)
    this.requests.push(sent)
    const left = new AbortController()
    let isSaid = false
    exchange.to.once('close', () => {
      if (!isSaid || !exchange.to.writableFinished) left.abort()
    })
    const whole = new Promise<void>((resolve) => {
      exchange.body.once('end', resolve)
      exchange.body.once('close', resolve)
    })
    const body = bodyOf(exchange, sent, () => this.#misused(tooLong('the body of a request to upstream')))
    try {
      const given = await this.#ask(requestOf(exchange.head, place, body, left.signal), sent)
      const answer = await readyAnswer(given).catch((error: unknown) => {
        this.#misused(error)
        throw error
      })
      // Otherwise it would be chance how much of the request the phases get to see.
      if (!answer.early) await whole
      await respond(exchange.to, exchange.send(answer), answer.body)
      isSaid = true
    } catch (error) {
      sent.threw = error
      exchange.cut()
    }
  }

  async #ask(request: Request, sent: UpstreamRequest): Promise<UpstreamAnswer> {
    const handler = this.#handlers[Math.min(sent.number, this.#handlers.length) - 1]
    if (typeof handler === 'function') return handler(request, sent)
    // The same may be given again.
    return handler instanceof Response ? handler.clone() : (handler as UpstreamAnswer)
  }
}

function requestOf(
  { method, target, host, headers }: UpstreamHead,
  { isTls, address }: Place,
  body: ReadableStream<Uint8Array> | null,
  signal: AbortSignal,
): Request {
  const origin = `${isTls ? 'https' : 'http'}://${host === '' ? address : host}`
  const url = URL.canParse(target) ? target : `${origin}${target.startsWith('/') ? target : '/'}`
  const hasBody = body !== null
  const made = new Request(URL.canParse(url) ? url : 'http://invalid.invalid/', {
    // What a Request cannot have is put in its place below.
    method: hasBody ? 'POST' : 'GET',
    headers: headers.filter(([name]) => !name.startsWith(':')) as [string, string][],
    signal,
    ...(hasBody ? { body, duplex: 'half' } : {}),
  } as RequestInit)
  Object.defineProperty(made, 'method', { value: method, configurable: true })
  return made
}

/** The body of a request, which is kept as well; null where there is none. */
function bodyOf(
  exchange: Exchange,
  sent: UpstreamRequest,
  exceeded: () => void,
): ReadableStream<Uint8Array> | null {
  const { body } = exchange
  const { headers } = sent
  const isFramed = headers.has('transfer-encoding') || Number(headers.get('content-length') ?? 0) > 0
  const hasBody = sent.version === '2' ? !(body as ServerHttp2Stream).endAfterHeaders : isFramed
  sent.isComing = hasBody
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      let isOver = false
      body.on('data', (piece: Buffer) => {
        if (!sent.keep(piece)) return exceeded()
        if (!isOver) controller.enqueue(new Uint8Array(piece))
      })
      body.once('end', () => {
        sent.complete = true
        sent.isComing = false
        sent.trailed(exchange.trailers())
        if (!isOver) controller.close()
        isOver = true
      })
      body.once('close', () => {
        sent.isComing = false
        if (!isOver) controller.error(new Error('the request was given up'))
        isOver = true
      })
      body.on('error', () => {})
    },
  })
  return hasBody ? stream : null
}

async function respond(
  to: Exchange['to'],
  { hasBody, end }: Sending,
  body: Uint8Array | SourceStage,
): Promise<void> {
  const isOpen = () => !to.destroyed && !to.writableEnded
  if (body instanceof Uint8Array) {
    if (hasBody && body.byteLength > 0) to.write(body)
    return end()
  }
  const stop = () => body.cancel()
  to.once('close', stop)
  try {
    for (;;) {
      if (!hasBody || !isOpen()) return end()
      const { chunk, end: isLast } = await body.next()
      if (chunk !== null && isOpen() && !to.write(chunk) && isOpen()) await drained(to)
      if (isLast) return end()
    }
  } finally {
    body.cancel()
  }
}

function h1Exchange(req: IncomingMessage, res: ServerResponse): Exchange {
  return {
    head: {
      method: req.method ?? '',
      target: req.url ?? '',
      host: req.headers.host ?? '',
      version: '1.1',
      headers: pairs(req.rawHeaders),
    },
    body: req,
    trailers: () => pairs(req.rawTrailers),
    to: res,
    cut: () => void (req.socket as Duplex).destroy(new Error('cut')),
    send({ status, headers, trailers, interims, body }) {
      for (const interim of interims) {
        const lines = interim.headers.map(([name, value]) => `${name}: ${value}\r\n`).join('')
        req.socket.write(`HTTP/1.1 ${interim.status} Interim\r\n${lines}\r\n`, 'latin1')
      }
      res.sendDate = false
      res.statusCode = status
      for (const [name, value] of headers) res.appendHeader(name, value)
      const mayHaveBody = status !== 204 && status !== 304
      const isFramed = res.hasHeader('content-length') || res.hasHeader('transfer-encoding')
      if (body instanceof Uint8Array && trailers.length === 0 && mayHaveBody && !isFramed)
        res.setHeader('content-length', body.byteLength)
      if (trailers.length > 0) res.addTrailers(trailers)
      res.on('error', () => {})
      res.flushHeaders()
      return { hasBody: mayHaveBody && req.method !== 'HEAD', end: () => void res.end() }
    },
  }
}

function h2Exchange(
  socket: PipeSocket,
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  raw?: string[],
): Exchange {
  let trailed: RawHeaders = []
  stream.on('trailers', (trailers: IncomingHttpHeaders) => {
    trailed = pairsOf(trailers)
  })
  const method = String(headers[':method'])
  return {
    head: {
      method,
      target: String(headers[':path'] ?? ''),
      host: String(headers[':authority'] ?? headers.host ?? ''),
      version: '2',
      headers: raw === undefined ? pairsOf(headers) : pairs(raw).filter(([name]) => !name.startsWith(':')),
    },
    body: stream,
    trailers: () => trailed,
    to: stream,
    cut: () => void socket.destroy(new Error('cut')),
    send({ status, headers, trailers, interims, body }) {
      for (const interim of interims)
        stream.additionalHeaders({ ':status': interim.status, ...grouped(interim.headers) })
      const hasBody = status !== 204 && status !== 304 && method !== 'HEAD'
      const fields = grouped(headers)
      const waits = trailers.length > 0
      const isFramed = 'content-length' in fields || waits || status === 204 || status === 304
      if (body instanceof Uint8Array && !isFramed) fields['content-length'] = String(body.byteLength)
      const options = { endStream: !hasBody && !waits, sendDate: false, waitForTrailers: waits }
      stream.respond({ ':status': status, ...fields }, options as object)
      if (waits) stream.once('wantTrailers', () => stream.sendTrailers(grouped(trailers)))
      return { hasBody, end: () => void (stream.writableEnded || stream.end()) }
    },
  }
}

function grouped(fields: RawHeaders): Record<string, string | string[]> {
  const found: Record<string, string | string[]> = {}
  for (const [given, value] of fields) {
    const name = given.toLowerCase()
    const before = found[name]
    found[name] = before === undefined ? value : [before, value].flat()
  }
  return found
}

/** What `upstream` may be, in words. */
export const UPSTREAMS =
  'a function, or a list of functions and answers, not empty: for one answer, [503] or () => 503'

export function isUpstream(given: unknown): boolean {
  return typeof given === 'function' || (Array.isArray(given) && given.length > 0)
}

/** What `upstream` may be, as a list. */
export function handlersOf(
  given: UpstreamHandler | readonly (UpstreamHandler | UpstreamAnswer)[] | undefined,
): readonly (UpstreamHandler | UpstreamAnswer)[] {
  if (given === undefined) return [200]
  return typeof given === 'function' ? [given] : given
}
