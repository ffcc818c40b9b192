import { discard } from './answer.js'
import { type BodySource, SourceStage } from './bodies/source.js'
import { type ConnectorBody, type SentBody, sentBody } from './connector-body.js'
import { numberOf } from './crossing/environment.js'
import { describe } from './crossing/failure.js'
import { invalidOptions, type OptionProblem, UsageError, withoutStack } from './errors.js'
import { type HeaderInput, headerFields, isOurs } from './headers.js'
import { NativeConnector, NativeFeed } from './native.js'
import { checkInto, checkOptions, integer, ms, serviceName, value } from './options.js'
import { HttpPeer } from './peer.js'
import type { PoolStats } from './stats.js'
import { isHost, isMethod, isTarget, Running, respond } from './subrequest.js'

/** How a connector runs and what it allows. */
export interface ConnectorOptions {
  /** For the names of its threads. Default: `connector`. */
  name?: string
  /** Threads of its runtime, 1–1,024. Default: 1. */
  threads?: number
  /** Requests under way at once, until their responses have been read; further ones are refused. Default: 1,024. */
  maxConcurrentRequests?: number
  /** For a whole request, to the end of its response, in milliseconds; 0 = off. Default: 0. */
  requestTimeoutMs?: number
  /** Idle connections kept to all origins. Default: 1,024. */
  upstreamKeepalivePoolSize?: number
  /** The largest head of a response, in bytes. Default: 65,536. */
  maxHeaderBytes?: number
  /** The most fields of a head. Default: 128. */
  maxHeaders?: number
}

/** A request of a connector. */
export interface ConnectorRequest {
  /** A token but CONNECT. Default: `GET`. */
  method?: string
  /** A path with its query, or for OPTIONS `*`. Default: `/`. */
  target?: string
  /** The host asked for. Default: what the peer's `host` says, or else the peer's own. */
  host?: string
  /** Default: none. What belongs to a connection, such as `content-length`, is set by itself. */
  headers?: HeaderInput
  /**
   * The whole body, or what makes it piece by piece, as fast as the peer takes it; then its length is not known, and
   * HTTP/1.1 sends it chunked. A Blob, URLSearchParams and FormData have a length, and say their `content-type`
   * unless `headers` do. Default: none.
   */
  body?: ConnectorBody | null
  /** Ends the request, and its response where that is still being read. Default: none. */
  signal?: AbortSignal
}

const connectorRules = {
  name: serviceName('connector'),
  threads: integer(1, 1, 1024),
  maxConcurrentRequests: integer(1_024, 1, 1_048_576),
  requestTimeoutMs: ms(0),
  upstreamKeepalivePoolSize: integer(1_024, 0, 1_048_576),
  maxHeaderBytes: integer(65_536, 1_024, 512 * 1024),
  maxHeaders: integer(128, 1, 10_000),
}

const requestRules = {
  method: value<string>('GET', 'a token but CONNECT', isMethod),
  target: value<string>('/', "a path with its query, or '*' for OPTIONS", (v) => v === '*' || isTarget(v)),
  host: value<string | undefined>(undefined, 'a host', isHost),
  headers: value<HeaderInput>({}, 'headers', (given) => typeof given === 'object' && given !== null),
  body: value<ConnectorBody | null | undefined>(
    undefined,
    'a string, bytes, a stream or an iterable of them, or what else fetch takes',
    (given) => typeof given === 'string' || typeof given === 'object',
  ),
  signal: value<AbortSignal | undefined>(
    undefined,
    'an AbortSignal',
    (given) => given instanceof AbortSignal,
  ),
}

interface Asked {
  method: string
  target: string
  host: string
  fields: string[]
  body: SentBody['sent']
  length: number | undefined
  signal: AbortSignal | undefined
}

/**
 * Sends requests to peers, with the connections, the pool, HTTP/2 and TLS of a proxy and without one: for background
 * work and tests. It needs no server. Its threads go with `close()`.
 */
export class Connector {
  readonly #native: NativeConnector
  readonly #most: number
  readonly #running = new Set<Running>()
  #isClosed = false

  /** @throws UsageError INVALID_OPTIONS */
  constructor(options: ConnectorOptions = {}) {
    const { maxConcurrentRequests, upstreamKeepalivePoolSize, ...rest } = checkOptions(
      'Connector',
      connectorRules,
      options,
    )
    this.#most = maxConcurrentRequests
    this.#native = new NativeConnector({ ...rest, poolSize: upstreamKeepalivePoolSize })
  }

  /**
   * Sends a request to a peer and resolves with its response, whose body streams, whatever its status: redirects are
   * not followed and nothing is decoded. Times are those of the peer. A `Request` says method, path, headers and
   * body, and its host what is asked for; where it goes is the peer's. A body is read ahead by 64 KiB; a longer one
   * that is not read to its end keeps its connection: cancel it.
   *
   * Rejects with a `ProxyError`: CONNECT_REFUSED, READ_TIMEOUT, UPSTREAM_CLOSED …, CLIENT_ABORTED where what makes
   * the body fails, with what it threw as `cause`, OVERLOADED beyond `maxConcurrentRequests`, SERVER_CLOSED when the
   * connector closes; with the reason of a signal that was aborted;
   * with a UsageError INVALID_OPTIONS, INVALID_HEADER, SERVER_CLOSED (after `close()`).
   */
  async fetch(peer: HttpPeer, request: Request | ConnectorRequest = {}): Promise<Response> {
    try {
      const { run, method } = this.#start(peer, request)
      return respond(run, method, Number.POSITIVE_INFINITY)
    } catch (error) {
      discard(request)
      throw error
    }
  }

  #start(peer: HttpPeer, request: Request | ConnectorRequest): { run: Running; method: string } {
    if (!(peer instanceof HttpPeer))
      throw invalidOptions('fetch', [{ path: 'peer', found: peer, allowed: 'an HttpPeer' }])
    const asked = request instanceof Request ? ofRequest(request) : ofObject(request)
    if (this.#isClosed) throw new UsageError('SERVER_CLOSED', 'the connector is closed: make a new one')
    asked.signal?.throwIfAborted()
    if (this.#running.size >= this.#most)
      throw withoutStack({ code: 'OVERLOADED', message: 'too many requests are under way' })
    const { method, target, host, fields, body, length, signal } = asked
    const isWhole = body === undefined || typeof body === 'string' || body instanceof Uint8Array
    const source = isWhole ? undefined : sourceOf(body)
    const feed = source === undefined ? undefined : new NativeFeed()
    let run: Running
    try {
      const given = { peer: numberOf(peer), method, target, host, fields }
      const native = isWhole
        ? this.#native.request(body === undefined ? given : { ...given, body: Buffer.from(body as string) })
        : this.#native.request(length === undefined ? given : { ...given, length }, feed)
      run = new Running(native, () => undefined, 0)
    } catch (error) {
      source?.cancel()
      throw error
    }
    this.#running.add(run)
    const aborted = () => run.cancel(signal!.reason)
    signal?.addEventListener('abort', aborted, { once: true })
    run.over.then(() => {
      this.#running.delete(run)
      signal?.removeEventListener('abort', aborted)
      source?.cancel()
    })
    if (source !== undefined) void pump(source, feed!, run)
    return { run, method }
  }

  /** Its connections to peers. */
  stats(): PoolStats {
    return this.#native.stats()
  }

  /** Ends all requests that are under way, whose promises and bodies fail with SERVER_CLOSED, and all connections. */
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    for (const run of [...this.#running])
      run.cancel(withoutStack({ code: 'SERVER_CLOSED', message: 'the connector was closed' }))
    this.#native.close()
  }

  /** `close()`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

function ofObject(request: ConnectorRequest): Asked {
  // It has a host, and nothing else of what could be taken for an option.
  if (request instanceof URL) {
    const allowed = 'a Request, or an object with a target'
    throw invalidOptions('fetch', [{ path: 'request', found: request, allowed }])
  }
  const problems: OptionProblem[] = []
  const { method, target, host, headers, body, signal } = checkInto(requestRules, request, problems)
  if (problems.length === 0 && target === '*' && method !== 'OPTIONS')
    problems.push({
      path: 'target',
      found: target,
      allowed: 'a path with its query: only OPTIONS may ask for *',
    })
  if (problems.length > 0) throw invalidOptions('fetch', problems)
  const fields = pairs(headerFields(headers))
  if (fields.some((name, at) => at % 2 === 0 && name.toLowerCase() === 'host'))
    throw new UsageError('INVALID_HEADER', 'host is an option of a request, and none of its headers')
  const { sent, length, type } = sentBody(body ?? undefined)
  const hasType = fields.some((name, at) => at % 2 === 0 && name.toLowerCase() === 'content-type')
  if (type !== '' && !hasType) fields.push('content-type', type)
  return { method, target, host: host ?? '', fields, body: sent, length, signal }
}

/** What makes the body. @throws UsageError INVALID_OPTIONS for what makes none, or not any more */
function sourceOf(body: BodySource): SourceStage {
  try {
    return SourceStage.of(body)
  } catch (error) {
    throw error instanceof UsageError ? new UsageError('INVALID_OPTIONS', error.message) : error
  }
}

function ofRequest(request: Request): Asked {
  const { method, url, headers, body, signal, bodyUsed } = request
  const { pathname, search, host } = new URL(url)
  if (!isMethod(method)) throw new UsageError('INVALID_HEADER', `the method ${method} cannot be sent`)
  if (bodyUsed) throw new UsageError('INVALID_OPTIONS', 'the body of the Request has been used already')
  // A fetch would set these anew, too.
  const own = [...headers].filter(([name]) => !isOurs(name) && name !== 'host')
  const fields = pairs(headerFields(own))
  const said = headers.get('content-length')
  const length = said !== null && /^[0-9]{1,15}$/.test(said) ? Number(said) : undefined
  return { method, target: pathname + search, host, fields, body: body ?? undefined, length, signal }
}

/** Names and values in turn. */
function pairs(fields: string): string[] {
  return fields.split('\n').flatMap((line) => (line === '' ? [] : line.split('\0')))
}

/** Feeds a body for as long as it is taken. */
async function pump(source: SourceStage, feed: NativeFeed, run: Running): Promise<void> {
  try {
    for (;;) {
      const { chunk, end } = await source.next()
      if (end) return feed.finish()
      if (chunk !== null && chunk.byteLength > 0 && !(await feed.write(bufferOf(chunk))))
        return source.cancel()
    }
  } catch (cause) {
    feed.abort()
    const message = `the body of the request failed: ${describe(cause)}`
    // A phase that lets it pass fails of it: its own client has not left.
    run.cancel(withoutStack({ code: 'CLIENT_ABORTED', source: 'downstream', status: 500, message, cause }))
  }
}

function bufferOf(chunk: Uint8Array): Buffer {
  return Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
}
