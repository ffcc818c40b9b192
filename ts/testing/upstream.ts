import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import {
  createServer as createHttp2,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2'
import type { Writable } from 'node:stream'
import { UsageError } from '../errors.js'
import type { HttpPeer } from '../peer.js'
import { type ReadyAnswer, readyAnswer, type UpstreamAnswer, unreadable } from './answer.js'
import { WrongPiece } from './body.js'
import { type Exchange, h1Exchange, h2Exchange, type Sending, type UpstreamHead } from './exchange.js'
import { H2_LIMITS, MOST_OF_HEAD } from './h2.js'
import { Message, tooLong } from './message.js'
import { Methods } from './methods.js'
import { pour } from './outlet.js'
import type { PipeSocket } from './pipe.js'

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

/** Where a connection leads. */
export interface Place {
  readonly address: string
  readonly peer: HttpPeer | undefined
  readonly isTls: boolean
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
  readonly #outs = new WeakMap<object, Writable>()
  readonly #sockets = new Set<PipeSocket>()
  /** It reads the requests alone: it would not send every answer. */
  readonly #h1 = createServer({
    keepAliveTimeout: 0,
    requestTimeout: 0,
    maxHeaderSize: MOST_OF_HEAD,
    requireHostHeader: false,
  })
  #h2: Http2Server | undefined

  constructor(handlers: readonly (UpstreamHandler | UpstreamAnswer)[], misused: (error: unknown) => void) {
    this.#handlers = handlers
    this.#misused = misused
    const serve = (req: IncomingMessage, res: ServerResponse, isWaiting = false) => {
      const method = this.#methods.get(req.socket)!.of(req)
      const out = this.#outs.get(req.socket)!
      if (isWaiting) out.write('HTTP/1.1 100 Continue\r\n\r\n')
      void this.#serve(h1Exchange(req, method, res, out), this.#places.get(req.socket)!)
    }
    this.#h1.maxHeadersCount = 0
    this.#h1.on('request', (req, res) => serve(req, res))
    this.#h1.on('checkContinue', (req, res) => serve(req, res, true))
    this.#h1.on('checkExpectation', (req, res) => serve(req, res))
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
      this.#outs.set(socket, socket.takeOver())
      socket.incoming = (piece) => methods.passable(piece)
      this.#h1.emit('connection', socket)
    })
  }

  /** One server for each connection, so that its streams know where they have come to. */
  #http2(place: Place, socket: PipeSocket): Http2Server {
    const server = createHttp2(H2_LIMITS)
    server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, ...[, raw]: unknown[]) => {
      stream.on('error', () => {})
      void this.#serve(h2Exchange(socket, stream, headers, raw as string[] | undefined, this.#misused), place)
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
    const leave = () => left.abort()
    exchange.to.once('close', leave)
    const whole = new Promise<void>((resolve) => {
      exchange.body.once('end', resolve)
      exchange.body.once('close', resolve)
    })
    const body = bodyOf(exchange, sent, () => this.#misused(tooLong('the body of a request to upstream')))
    const cut = (error: unknown) => {
      sent.threw = error
      exchange.cut()
    }
    const refuse = (error: unknown) => {
      this.#misused(error)
      exchange.cut()
    }

    let given: UpstreamAnswer
    try {
      given = await this.#ask(requestOf(exchange.head, place, body, left.signal), sent)
    } catch (error) {
      sent.threw = error
      // Otherwise it would be chance how much of the request comes before the cut.
      await whole
      return cut(error)
    }
    let answer: ReadyAnswer
    let sending: Sending
    try {
      answer = await readyAnswer(given)
      // So would it be what the phases get to see of it.
      if (!answer.early) await whole
      if (exchange.to.destroyed) return
      sending = exchange.send(answer)
    } catch (error) {
      return refuse(error)
    }
    const { hasBody, outlet } = sending
    if (!hasBody && !(answer.body instanceof Uint8Array)) answer.body.cancel()
    try {
      await pour(hasBody ? answer.body : new Uint8Array(), outlet)
    } catch (error) {
      if (error instanceof WrongPiece) return refuse(unreadable(error))
      // What was sent before comes before the cut.
      await outlet.passed
      return cut(error)
    }
    if (await outlet.passed) exchange.to.off('close', leave)
  }

  async #ask(request: Request, sent: UpstreamRequest): Promise<UpstreamAnswer> {
    const handler = this.#handlers[Math.min(sent.number, this.#handlers.length) - 1]
    if (typeof handler === 'function') return handler(request, sent)
    // The same may be given again.
    const isThere = handler instanceof Response && !handler.bodyUsed && handler.body?.locked !== true
    return isThere ? handler.clone() : (handler as UpstreamAnswer)
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
