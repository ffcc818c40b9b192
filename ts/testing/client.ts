import { type ClientRequest, type IncomingMessage, request as request1 } from 'node:http'
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

/** Sends the request and reads the whole response. Never rejects: what did not come is not there. */
export function ask(version: 'h1' | 'h2', socket: PipeSocket, sent: Sent, signal: AbortSignal) {
  const interims: InjectedInterim[] = []
  const incoming: Incoming = { interims, response: new InjectedResponse(0, [], interims) }
  const { promise, resolve } = settleable()
  // However it ends, the connection does.
  socket.once('close', resolve)
  const leave = () => void socket.destroy(new Error('the client left'))
  if (signal.aborted) leave()
  else {
    signal.addEventListener('abort', leave, { once: true })
    if (version === 'h2') askH2(socket, sent, incoming, resolve)
    else askH1(socket, sent, incoming, resolve)
  }
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

async function write(to: ClientRequest | ClientHttp2Stream, body: Sent['body']): Promise<void> {
  if (body === undefined) return void to.end()
  if (body instanceof Uint8Array) return void to.end(body)
  to.once('close', () => body.cancel())
  try {
    for (;;) {
      const { chunk, end } = await body.next()
      // The proxy may want no more of it once it has answered.
      if (to.destroyed || to.writableEnded) return
      if (chunk !== null && !to.write(chunk)) await drained(to)
      if (end) return void to.end()
    }
  } catch {
    // A body that fails is one that the client gives up.
    to.destroy()
  }
}

function askH1(socket: PipeSocket, sent: Sent, incoming: Incoming, over: () => void): void {
  const request = request1({
    createConnection: () => socket,
    method: sent.method,
    path: sent.target,
    setHost: false,
    maxHeaderSize: 1024 * 1024,
  })
  // It says no more than it was told to.
  request.removeHeader('connection')
  request.setHeader('host', sent.host)
  for (const [name, value] of sent.headers) request.appendHeader(name, value)
  const isFramed = request.hasHeader('content-length') || request.hasHeader('transfer-encoding')
  if (sent.body instanceof Uint8Array && !isFramed) request.setHeader('content-length', sent.body.byteLength)
  const take = (response: IncomingMessage) => {
    const taken = new InjectedResponse(
      response.statusCode ?? 0,
      pairs(response.rawHeaders),
      incoming.interims,
    )
    incoming.response = taken
    response.on('data', (piece: Buffer) => void (taken.keep(piece) || socket.destroy(new Error('too long'))))
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
    if (expects) void write(request, sent.body)
  })
  request.on('response', take)
  request.on('upgrade', (response) => {
    take(response)
    incoming.response.complete = true
    socket.destroy()
  })
  request.on('error', () => void socket.destroy())
  if (expects) request.flushHeaders()
  else void write(request, sent.body)
}

function askH2(socket: PipeSocket, sent: Sent, incoming: Incoming, over: () => void): void {
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
    stream.on('data', (piece: Buffer) => void (taken.keep(piece) || socket.destroy(new Error('too long'))))
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
  if (sent.body !== undefined) void write(stream, sent.body)
}
