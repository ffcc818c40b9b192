import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2'
import type { Writable } from 'node:stream'
import type { ReadyAnswer } from './answer.js'
import { H1Message, isFramed, says } from './h1.js'
import { grouped, H2Message, sending, whenHeard } from './h2.js'
import { pairs, pairsOf, type RawHeaders } from './message.js'
import type { Outlet } from './outlet.js'
import type { PipeSocket } from './pipe.js'

/** The head of a request, as it left for an origin. */
export interface UpstreamHead {
  readonly method: string
  readonly target: string
  readonly host: string
  readonly version: '1.1' | '2'
  readonly headers: RawHeaders
}

/** One request and the way to answer it, whatever its version. */
export interface Exchange {
  readonly head: UpstreamHead
  readonly body: IncomingMessage | ServerHttp2Stream
  trailers(): RawHeaders
  /** It closes where nobody waits for the answer any more. */
  readonly to: Writable
  /** Sends the head of the answer. @throws UsageError INVALID_ANSWER for what the version cannot send */
  send(answer: ReadyAnswer): Sending
  /** The connection is cut. */
  cut(): void
}

/** An answer whose head has been sent. */
export interface Sending {
  /** Whether a body may follow. */
  readonly hasBody: boolean
  readonly outlet: Outlet
}

const mayHaveBody = (status: number) => status !== 204 && status !== 304

/** @param out where the answer is written by hand */
export function h1Exchange(
  req: IncomingMessage,
  method: string,
  res: ServerResponse,
  out: Writable,
): Exchange {
  const headers = pairs(req.rawHeaders)
  return {
    head: {
      method,
      target: req.url ?? '',
      host: req.headers.host ?? '',
      version: '1.1',
      headers,
    },
    body: req,
    trailers: () => pairs(req.rawTrailers),
    to: out,
    cut: () => void req.socket.destroy(new Error('cut')),
    send({ status, headers: given, trailers, interims, body }) {
      for (const interim of interims) new H1Message(out, startLine(interim.status), interim.headers).flush()
      const fields = [...given]
      if (mayHaveBody(status) && !isFramed(fields)) {
        const hasLength = body instanceof Uint8Array && trailers.length === 0
        fields.push(
          hasLength ? ['content-length', String(body.byteLength)] : ['transfer-encoding', 'chunked'],
        )
      }
      const hasBody = mayHaveBody(status) && method !== 'HEAD'
      const isLast = says(fields, 'connection', 'close') || says(headers, 'connection', 'close')
      const outlet = new H1Message(out, startLine(status), fields, {
        hasBody,
        trailers,
        ended() {
          // `node:http` goes on to the next request.
          res.end()
          if (isLast) out.end()
        },
      })
      if (!(body instanceof Uint8Array)) outlet.flush()
      return { hasBody, outlet }
    },
  }
}

const startLine = (status: number) => `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Unknown'}`

/** @param misused is told of trailers that cannot be sent */
export function h2Exchange(
  socket: PipeSocket,
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  raw: string[] | undefined,
  misused: (error: unknown) => void,
): Exchange {
  const send = <T>(what: () => T): T => sending('INVALID_ANSWER', 'an origin', what)
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
    cut() {
      const now = () => void socket.destroy(new Error('cut'))
      // What has been sent comes before the cut.
      if (stream.headersSent) whenHeard(stream.session, now)
      else now()
    },
    send({ status, headers, trailers, interims, body }) {
      for (const interim of interims)
        send(() => stream.additionalHeaders({ ':status': interim.status, ...grouped(interim.headers) }))
      const hasBody = mayHaveBody(status) && method !== 'HEAD'
      const fields = grouped(headers)
      const waits = trailers.length > 0
      const hasLength = 'content-length' in fields || waits || !mayHaveBody(status)
      if (body instanceof Uint8Array && !hasLength) fields['content-length'] = String(body.byteLength)
      const isEmpty = body instanceof Uint8Array && body.byteLength === 0
      const options = { endStream: (isEmpty || !hasBody) && !waits, sendDate: false, waitForTrailers: waits }
      send(() => stream.respond({ ':status': status, ...fields }, options as object))
      stream.once('wantTrailers', () => {
        try {
          send(() => stream.sendTrailers(grouped(trailers)))
        } catch (error) {
          misused(error)
        }
      })
      return { hasBody, outlet: new H2Message(stream) }
    },
  }
}
