import { type IncomingMessage, request as request1 } from 'node:http'
import { connect, type IncomingHttpHeaders } from 'node:http2'
import type { SourceStage } from '../bodies/source.js'
import { H1Message, isFramed, says } from './h1.js'
import { grouped, H2_LIMITS, H2Message, MOST_OF_HEAD, sending, whenHeard } from './h2.js'
import { type InjectedInterim, InjectedResponse, pairs, pairsOf, type RawHeaders } from './message.js'
import { type Outlet, pour } from './outlet.js'
import type { PipeSocket } from './pipe.js'
import { sleep } from './time.js'

/** A request as it is to be sent. */
export interface Sent {
  readonly method: string
  readonly target: string
  readonly host: string
  readonly headers: RawHeaders
  /** Undefined: there is none. */
  readonly body: Uint8Array | SourceStage | undefined
  readonly isTls: boolean
}

/** What is told of a request besides its response. */
export interface AskEvents {
  /** What the body of the request threw. */
  threw(error: unknown): void
  /** The response is longer than what can be kept. */
  exceeded(): void
  /** Settles when the proxy is done with the request. */
  readonly served: Promise<void>
  /** Whether the next piece of the body is waited for. */
  waiting(isForBody: boolean): void
}

/** Whether the proxy has the head of the request. Before, a client that leaves has made no request. */
export class Begun {
  #is = false
  #whenBegun: (() => void)[] = []

  /** It has. */
  now(): void {
    this.#is = true
    for (const call of this.#whenBegun.splice(0)) call()
  }

  /** Calls it when the proxy has, within this turn: nothing that the proxy says to that comes before. */
  when(call: () => void): void {
    if (this.#is) call()
    else this.#whenBegun.push(call)
  }
}

/** What the client got, as long as it is there. */
class Incoming {
  readonly #interims: InjectedInterim[] = []
  readonly #exceeded: () => void
  response = new InjectedResponse(0, [], this.#interims)
  /** The client has left: what comes now is not for anybody. */
  hasLeft = false

  constructor({ exceeded }: AskEvents) {
    this.#exceeded = exceeded
  }

  interim(status: number, raw: RawHeaders): void {
    if (!this.hasLeft) this.#interims.push({ status, headers: new Headers(raw as [string, string][]) })
  }

  head(status: number, raw: RawHeaders): void {
    if (!this.hasLeft) this.response = new InjectedResponse(status, raw, this.#interims)
  }

  piece(piece: Buffer): void {
    if (!this.hasLeft && !this.response.keep(piece)) this.#exceeded()
  }

  end(complete: boolean, trailers: RawHeaders): void {
    if (this.hasLeft) return
    this.response.complete = complete
    this.response.trailed(trailers)
  }
}

/** A request that is being sent. */
interface Asking {
  readonly socket: PipeSocket
  readonly sent: Sent
  readonly incoming: Incoming
  readonly events: AskEvents
  readonly begun: Begun
  readonly over: () => void
}

/**
 * Sends the request and reads the whole response: what did not come is not there.
 * @throws UsageError INVALID_HEADER for what the version cannot send; nothing else
 */
export async function ask(
  version: 'h1' | 'h2',
  socket: PipeSocket,
  sent: Sent,
  signal: AbortSignal,
  begun: Begun,
  events: AskEvents,
): Promise<InjectedResponse> {
  const incoming = new Incoming(events)
  let over!: () => void
  const ended = new Promise<void>((resolve) => {
    over = resolve
  })
  // However it ends, the connection does.
  socket.once('close', over)
  const leave = () => {
    incoming.hasLeft = true
    begun.when(() => void socket.destroy(new Error('the client left')))
  }
  if (signal.aborted) leave()
  else signal.addEventListener('abort', leave, { once: true })
  const asking: Asking = { socket, sent, incoming, events, begun, over }
  try {
    if (version === 'h2') askH2(asking)
    else askH1(asking)
    await ended
    return incoming.response
  } finally {
    signal.removeEventListener('abort', leave)
  }
}

/** Sends the body. One that fails is one that the client gives up, after what it has said so far. */
async function write(outlet: Outlet, { sent, events, begun }: Asking, giveUp: () => void): Promise<void> {
  if (sent.body === undefined) return outlet.end()
  try {
    await pour(sent.body, outlet, events.waiting)
  } catch (error) {
    events.threw(error)
    const isBegun = new Promise<void>((resolve) => begun.when(resolve))
    const isClosed = new Promise<void>((resolve) => void outlet.to.once('close', resolve))
    await Promise.race([Promise.all([isBegun, outlet.passed]), isClosed])
    giveUp()
  }
}

/** Methods whose requests are not expected to have a body: without one they say nothing of it (RFC 9110, 8.6). */
const BODILESS = /^(?:GET|HEAD|DELETE|OPTIONS|TRACE)$/i

/** How long a client that has its response waits for the proxy to be done with the request, in milliseconds. */
const LONGEST_STAY_MS = 1_000

/** `node:http` reads the response alone: it would not send every request. */
function askH1(asking: Asking): void {
  const { socket, sent, incoming, events, begun, over } = asking
  const { method, target, host, body } = sent
  void socket.begun.then(() => begun.now())
  const out = socket.takeOver()
  const request = request1({
    createConnection: () => socket,
    // All that it has to know of the request: whether the response to it has a body.
    method: method === 'HEAD' ? method : 'GET',
    maxHeaderSize: MOST_OF_HEAD,
  })
  request.maxHeadersCount = 0
  const take = (response: IncomingMessage) => {
    incoming.head(response.statusCode ?? 0, pairs(response.rawHeaders))
    response.on('data', (piece: Buffer) => incoming.piece(piece))
    response.on('error', () => {})
    response.once('end', () => incoming.end(response.complete, pairs(response.rawTrailers)))
    response.once('close', () => {
      over()
      // What is left of the request is not sent any more.
      if (!response.complete || !message.isEnded) return void out.end()
      // A client stays that may ask for more; one that leaves now is not told apart from one that has given up.
      const closed = new AbortController()
      socket.once('close', () => closed.abort())
      void Promise.race([events.served, sleep(LONGEST_STAY_MS, closed.signal)]).then(() => {
        closed.abort()
        out.end()
      })
    })
  }
  const fields: [string, string][] = [['host', host], ...sent.headers.map(([...field]) => field)]
  if (!isFramed(fields)) {
    if (body === undefined) {
      if (!BODILESS.test(method)) fields.push(['content-length', '0'])
    } else if (body instanceof Uint8Array) fields.push(['content-length', String(body.byteLength)])
    else fields.push(['transfer-encoding', 'chunked'])
  }
  const message = new H1Message(out, `${method} ${target} HTTP/1.1`, fields)
  const send = () => void write(message, asking, () => socket.destroy(new Error('the client gave up')))
  let waits = body !== undefined && says(fields, 'expect', '100-continue')
  request.on('information', ({ statusCode, rawHeaders }) => {
    incoming.interim(statusCode, pairs(rawHeaders))
    if (!waits || statusCode !== 100) return
    waits = false
    send()
  })
  request.on('response', take)
  request.on('upgrade', (response) => {
    take(response)
    incoming.end(true, [])
    socket.destroy()
  })
  request.on('error', () => void socket.destroy())
  socket.once('end', () => void out.end())
  request.end()
  // The head by itself, also of a body whose first piece is long in coming.
  if (waits || !(body instanceof Uint8Array)) message.flush()
  if (!waits) send()
}

function askH2(asking: Asking): void {
  const { socket, sent, incoming, begun, over } = asking
  const scheme = sent.isTls ? 'https' : 'http'
  const fields = grouped(sent.headers)
  if (sent.body instanceof Uint8Array && !('content-length' in fields))
    fields['content-length'] = String(sent.body.byteLength)
  const session = connect(`${scheme}://localhost`, { ...H2_LIMITS, createConnection: () => socket })
  session.on('error', () => void socket.destroy())
  const head = { ':method': sent.method, ':scheme': scheme, ':authority': sent.host, ':path': sent.target }
  const stream = sending('INVALID_HEADER', 'a client', () =>
    session.request({ ...head, ...fields }, { endStream: sent.body === undefined }),
  )
  let isWhole = false
  let hasHead = false
  let trailers: RawHeaders = []
  stream.on('headers', (headers: IncomingHttpHeaders & { ':status'?: number }) =>
    incoming.interim(Number(headers[':status']), pairsOf(headers)),
  )
  stream.on('response', (headers) => {
    hasHead = true
    incoming.head(Number(headers[':status']), pairsOf(headers))
    // Not before: pieces that are there already would come ahead of the head.
    stream.on('data', (piece: Buffer) => incoming.piece(piece))
  })
  stream.on('trailers', (fields) => {
    trailers = pairsOf(fields)
  })
  stream.once('end', () => {
    isWhole = true
  })
  stream.on('error', () => {})
  stream.once('close', () => {
    incoming.end(hasHead && isWhole && stream.rstCode === 0, trailers)
    session.close(() => void socket.end())
    over()
  })
  whenHeard(session, () => begun.now())
  socket.once('close', () => begun.now())
  if (sent.body !== undefined) void write(new H2Message(stream), asking, () => stream.destroy())
}
