import { type ClientRequest, type IncomingMessage, OutgoingMessage, request as request1 } from 'node:http'
import { type ClientHttp2Stream, connect, type IncomingHttpHeaders } from 'node:http2'
import type { SourceStage } from '../bodies/source.js'
import { type InjectedInterim, InjectedResponse, pairs, pairsOf, type RawHeaders } from './message.js'
import { drained, type PipeSocket } from './pipe.js'

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

interface Incoming {
  readonly interims: InjectedInterim[]
  response: InjectedResponse
}

/** What is told of a request besides its response. */
export interface AskEvents {
  /** What the body of the request threw. */
  threw(error: unknown): void
  /** The response is longer than what can be kept. */
  exceeded(): void
}

/** A request that is being sent. */
interface Asking {
  readonly socket: PipeSocket
  readonly sent: Sent
  readonly incoming: Incoming
  readonly events: AskEvents
  readonly over: () => void
}

/** Sends the request and reads the whole response. Never rejects: what did not come is not there. */
export function ask(
  version: 'h1' | 'h2',
  socket: PipeSocket,
  sent: Sent,
  signal: AbortSignal,
  events: AskEvents,
): Promise<InjectedResponse> {
  const interims: InjectedInterim[] = []
  const incoming: Incoming = { interims, response: new InjectedResponse(0, [], interims) }
  const { promise, resolve } = settleable()
  // However it ends, the connection does.
  socket.once('close', resolve)
  const asking: Asking = { socket, sent, incoming, events, over: resolve }
  const begun = version === 'h2' ? askH2(asking) : askH1(asking)
  // Not before: a client that has said nothing has made no request that phases could be told of.
  const leave = () => void begun.then(() => socket.destroy(new Error('the client left')))
  if (signal.aborted) leave()
  else signal.addEventListener('abort', leave, { once: true })
  return promise.then(() => {
    signal.removeEventListener('abort', leave)
    return incoming.response
  })
}

function settleable(): { promise: Promise<void>; resolve: () => void } {
  let resolve!: () => void
  const promise = new Promise<void>((settle) => {
    resolve = settle
  })
  return { promise, resolve }
}

function interim(incoming: Incoming, status: number, raw: RawHeaders): void {
  incoming.interims.push({ status, headers: new Headers(raw as [string, string][]) })
}

/** @param begun settles when the proxy has the head */
async function write(
  to: ClientRequest | ClientHttp2Stream,
  body: Sent['body'],
  { threw }: AskEvents,
  begun: Promise<void>,
): Promise<void> {
  if (body === undefined) return void to.end()
  if (body instanceof Uint8Array) return void to.end(body)
  to.once('close', () => body.cancel())
  let passed: Promise<void> = begun
  try {
    for (;;) {
      const { chunk, end } = await body.next()
      // The proxy may want no more of it once it has answered.
      if (to.destroyed || to.writableEnded) return
      if (chunk !== null) {
        const { promise, resolve } = settleable()
        passed = promise
        if (!to.write(chunk, () => resolve())) await drained(to)
      }
      if (end) return void to.end()
    }
  } catch (error) {
    threw(error)
    // A body that fails is one that the client gives up, after what it has said so far.
    if (to instanceof OutgoingMessage) to.flushHeaders()
    await Promise.race([Promise.all([begun, passed]), closed(to)])
    to.destroy()
  }
}

function closed(to: ClientRequest | ClientHttp2Stream): Promise<void> {
  return new Promise((resolve) => void to.once('close', resolve))
}

/** Settles when the proxy has the head. */
function askH1({ socket, sent, incoming, events, over }: Asking): Promise<void> {
  const request = request1({
    createConnection: () => socket,
    method: sent.method,
    path: sent.target,
    setHost: false,
    maxHeaderSize: 1024 * 1024,
  })
  // The constructor makes upper case of it.
  request.method = sent.method
  // It says no more than it was told to.
  request.removeHeader('connection')
  request.setHeader('host', sent.host)
  for (const [name, value] of sent.headers) request.appendHeader(name, value)
  const isFramed = request.hasHeader('content-length') || request.hasHeader('transfer-encoding')
  if (sent.body instanceof Uint8Array && !isFramed) request.setHeader('content-length', sent.body.byteLength)
  // With a method that mostly has none it would send a body without a frame.
  else if (sent.body !== undefined && !isFramed) request.setHeader('transfer-encoding', 'chunked')
  const take = (response: IncomingMessage) => {
    const taken = new InjectedResponse(
      response.statusCode ?? 0,
      pairs(response.rawHeaders),
      incoming.interims,
    )
    incoming.response = taken
    response.on('data', (piece: Buffer) => void (taken.keep(piece) || events.exceeded()))
    response.on('error', () => {})
    response.once('end', () => {
      taken.complete = response.complete
      taken.trailed(pairs(response.rawTrailers))
    })
    // What is left of the request is not sent any more.
    response.once('close', () => void socket.end())
    response.once('close', over)
  }
  const expects = request.hasHeader('expect')
  request.on('information', ({ statusCode, rawHeaders }) => {
    if (statusCode !== 100) interim(incoming, statusCode, pairs(rawHeaders))
  })
  request.on('continue', () => {
    interim(incoming, 100, [])
    if (expects) void write(request, sent.body, events, socket.begun)
  })
  request.on('response', take)
  request.on('upgrade', (response) => {
    take(response)
    incoming.response.complete = true
    socket.destroy()
  })
  request.on('error', () => void socket.destroy())
  if (expects) request.flushHeaders()
  else void write(request, sent.body, events, socket.begun)
  return socket.begun
}

/** Settles when the proxy has the head. */
function askH2({ socket, sent, incoming, events, over }: Asking): Promise<void> {
  const scheme = sent.isTls ? 'https' : 'http'
  const session = connect(`${scheme}://localhost`, { createConnection: () => socket })
  const fields: Record<string, string | string[]> = {}
  for (const [given, value] of sent.headers) {
    const name = given.toLowerCase()
    fields[name] = name in fields ? [fields[name]!, value].flat() : value
  }
  if (sent.body instanceof Uint8Array && !('content-length' in fields))
    fields['content-length'] = String(sent.body.byteLength)
  session.on('error', () => void socket.destroy())
  const stream = session.request(
    {
      ':method': sent.method,
      ':scheme': scheme,
      ':authority': sent.host,
      ':path': sent.target,
      ...fields,
    },
    { endStream: sent.body === undefined },
  )
  let response: InjectedResponse | undefined
  let isWhole = false
  stream.on('headers', (headers: IncomingHttpHeaders & { ':status'?: number }) =>
    interim(incoming, Number(headers[':status']), pairsOf(headers)),
  )
  stream.on('response', (headers) => {
    response = new InjectedResponse(Number(headers[':status']), pairsOf(headers), incoming.interims)
    incoming.response = response
    // Not before: pieces that are there already would come ahead of the head.
    const taken = response
    stream.on('data', (piece: Buffer) => void (taken.keep(piece) || events.exceeded()))
  })
  stream.on('trailers', (trailers) => response?.trailed(pairsOf(trailers)))
  stream.once('end', () => {
    isWhole = true
  })
  stream.on('error', () => {})
  stream.once('close', () => {
    if (response !== undefined) response.complete = isWhole && stream.rstCode === 0
    session.close(() => void socket.end())
    over()
  })
  // What it answers, it answers in order.
  const { promise: begun, resolve } = settleable()
  session.ping(() => resolve())
  socket.once('close', resolve)
  if (sent.body !== undefined) void write(stream, sent.body, events, begun)
  return begun
}
