import type { X509Certificate } from 'node:crypto'
import { type Answer, checkAnswer, discard } from './answer.js'
import type { Connection, RequestState } from './crossing/state.js'
import { show, UsageError } from './errors.js'
import type { Head } from './head.js'
import { allFields, allValues, checkValue, type HeaderView, joinedValue, needle } from './headers.js'
import { checkOptions, integer } from './options.js'
import type { HttpPeer } from './peer.js'
import { MAY_ANSWER, nameOf } from './phases.js'
import { type SubrequestOptions, subrequest } from './subrequest.js'

/** One end of a connection. */
export interface Address {
  /** An IP address, or the path of a Unix socket. */
  readonly host: string
  /** 0 for a Unix socket, and where it is not known. */
  readonly port: number
}

/** The request as received; it never changes. */
export interface RequestView {
  /** Such as `GET`. */
  readonly method: string
  /** As sent: `/a?b`, or in absolute form `http://host/a?b`. */
  readonly target: string
  /** The target's path, without its query, scheme and authority; empty for CONNECT. */
  readonly path: string
  /** What follows the first `?` of the target; empty if there is none. */
  readonly query: string
  /** The host asked for, with its port if one was given. */
  readonly host: string
  /** The version of HTTP. */
  readonly version: '1.0' | '1.1' | '2'
  /** Its fields. */
  readonly headers: HeaderView
}

/** The response so far: the origin's with the edits made, or one's own. */
export interface ResponseView {
  /** 200 to 599. */
  readonly status: number
  /** Its fields. */
  readonly headers: HeaderView
}

/** What the TLS handshake of a client came to. */
export interface TlsView {
  /** The version of TLS. */
  readonly version: 'TLSv1.2' | 'TLSv1.3'
  /** The cipher suite, by its IANA name. */
  readonly cipher: string
  /**
   * The protocol agreed on by ALPN: `h2` or `http/1.1`, or with a `TcpApp` one of its endpoint's `alpn`; undefined
   * if none was.
   */
  readonly alpn: string | undefined
  /** The name the client asked for (SNI), in lower case. */
  readonly serverName: string | undefined
  /** The client's certificate, which is valid; undefined if it showed none. */
  readonly clientCertificate: X509Certificate | undefined
  /** That certificate, and those that the client sent along with it. */
  readonly clientCertificates: readonly X509Certificate[]
}

/** The connection to the client, for as long as it lives. */
export interface ConnectionView {
  /** Unique in this process. */
  readonly id: string
  /**
   * The other end of its socket: the client's, or that of a proxy in between; whom such a proxy names where
   * the endpoint believes it (`proxyProtocol`).
   */
  readonly remote: Address
  /** How many requests it has carried, this one included. */
  readonly requests: number
  /** Values of one's own, kept until the connection closes. */
  readonly data: Map<unknown, unknown>
}

/** The connection to the origin. */
export interface UpstreamView {
  /** The peer of this try. */
  readonly peer: HttpPeer
  /** What was connected to: an address the peer's name stands for. */
  readonly address: string
  /** Whether the connection had carried a request before. */
  readonly reused: boolean
  /** Which try this is, from 1 on. */
  readonly attempt: number
}

/** Times of the request; those in milliseconds count from `start`. */
export interface Timings {
  /** When its head was there, in milliseconds since 1970. */
  readonly start: number
  /** How long connecting took; absent where a connection was reused. */
  readonly connectMs?: number
  /** When the first byte of the origin's response was there. */
  readonly firstByteMs?: number
  /** The whole request; known in `logging`. */
  readonly totalMs?: number
}

/**
 * One request, from its first phase to the end of `logging`. After that every access throws
 * SESSION_ENDED. It is an object of this request alone: it is never used again for another.
 */
export interface Session {
  /** Unique in this process. */
  readonly id: string
  /** The request as received. */
  readonly request: RequestView
  /** Undefined until there is one. */
  readonly response: ResponseView | undefined
  /**
   * Who sent the request: the other end of the connection, or whom `forwarding.trustedProxies` name;
   * their word may come without a port, which is 0 then.
   */
  readonly client: Address
  /** Where the client connected to, here or, as the endpoint's `proxyProtocol` says, at a proxy in front. */
  readonly server: Address
  /** The client's connection. */
  readonly connection: ConnectionView
  /** The client's TLS; undefined in the clear. */
  readonly tls: TlsView | undefined
  /** Undefined until there is a connection. */
  readonly upstream: UpstreamView | undefined
  /**
   * Aborted when the client leaves, when a phase has taken too long, when the request's time is up, when its server
   * ends it, and at the end of a request that has failed in another way; the reason is a `ProxyError`. When the time of a try is up while a phase of it waits, too: the next try
   * has another.
   */
  readonly signal: AbortSignal
  /** When what happened. */
  readonly timings: Timings
  /** Bytes of the request and of the response, heads included, as far as they are known. */
  readonly bytes: {
    /** Of the request. */
    readonly received: number
    /** Of the response. */
    readonly sent: number
  }
  /**
   * Answers the request; the request side's later phases are skipped.
   *
   * @throws UsageError ALREADY_ANSWERED, RESPONSE_STARTED, CANNOT_ANSWER (this phase may not answer, or
   * none is running), INVALID_ANSWER, INVALID_HEADER
   */
  respond(answer: Answer): void
  /**
   * Waits for the whole of the request's body: in the phases before the upstream is chosen, or later if
   * one of those has read it. It goes upstream all the same, on each try, and through
   * `requestBodyFilter`. The client is asked for it if it waits for a 100; its time is no phase's time.
   * Each call gives a copy of its own. A request without a body gives an empty one at once.
   *
   * Rejects with a ProxyError, BODY_TOO_LARGE (413) beyond `maxBytes`, or why the client did not send
   * it; with a UsageError CANNOT_READ_BODY, INVALID_OPTIONS, SESSION_ENDED.
   */
  readBody(options?: ReadBodyOptions): Promise<Buffer>
  /**
   * Sends the client a 103 (Early Hints) with these values of `link`, such as
   * `</style.css>; rel=preload; as=style`, at once and before the answer: it can fetch them while the
   * origin is still at work. A client of HTTP/1.0 gets none; after 16 for one request, or where the
   * response has begun meanwhile, they are dropped.
   *
   * @throws UsageError INVALID_HEADER, RESPONSE_STARTED (the answer is given or on its way)
   */
  sendEarlyHints(links: string | readonly string[]): void
  /**
   * Makes a request of one's own, for this one: through all phases, as if a client had sent it, or
   * straight to `peer`. It shares the proxy's connections. It is cancelled when this request ends,
   * unless it is `detached`: then nothing is returned, and what comes of it is forgotten.
   * A response that a phase or an error page gave is one like any other; a straight one rejects with
   * a `ProxyError` where the peer fails. See `docs/subrequests.md`.
   *
   * @param target a path with its query: `/a?b`
   * @throws UsageError INVALID_OPTIONS, INVALID_HEADER, SUBREQUEST_DEPTH, SUBREQUEST_LIMIT
   */
  subrequest(target: string, options: SubrequestOptions & { detached: true }): void
  /** Without `detached` the response is returned; all else is the same. */
  subrequest(target: string, options?: SubrequestOptions & { detached?: false }): Promise<Response>
  /** The session that this request was made for as a subrequest; undefined of a client's request. */
  readonly parent: Session | undefined
  /** The request in one line, for a log. */
  summary(): string
}

/** How a request's body is read. */
export interface ReadBodyOptions {
  /** The largest body, in bytes: so much may be held for each request, twice. Default: 1,048,576. */
  maxBytes?: number
}

const readBodyRules = { maxBytes: integer(1_048_576, 0, 2 ** 31 - 1) }

function live(state: RequestState): RequestState {
  if (state.live) return state
  throw new UsageError('SESSION_ENDED', 'the request is over: its session must not be used any more')
}

/** What the `link` fields of one response may have together, in characters. */
const MOST_LINKS = 16 * 1024

/** `<uri>; name=value; …`, or several of them (RFC 8288 §3). */
const LINK = (() => {
  const token = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+"
  const parameter = `[ \\t]*;[ \\t]*${token}(?:=(?:${token}|"(?:[^"\\\\]|\\\\.)*"))?`
  const link = `<[!#$%&'()*+,\\-./0-9:;=?@A-Z[\\]_a-z~]+>(?:${parameter})*`
  return new RegExp(`^${link}(?:[ \\t]*,[ \\t]*${link})*$`)
})()

/** @throws UsageError INVALID_HEADER */
function linkFields(links: string | readonly string[]): string {
  const values = typeof links === 'string' ? [links] : links
  const isLink = (value: unknown) => typeof value === 'string' && LINK.test(value)
  if (!Array.isArray(values) || values.length === 0 || !values.every(isLink))
    throw new UsageError(
      'INVALID_HEADER',
      `${show(links)} is no value of link, nor a list of them: <uri>; rel=…`,
    )
  let fields = ''
  for (const value of values) {
    checkValue('link', value)
    fields += `link\0${value}\n`
  }
  if (fields.length > MOST_LINKS)
    throw new UsageError('INVALID_HEADER', `the links have more than ${MOST_LINKS} characters`)
  return fields
}

/** The session that phases get. */
export class LiveSession implements Session {
  readonly #state: RequestState

  constructor(state: RequestState) {
    this.#state = state
  }

  /** @internal What is behind it, for `millrace/testing`. */
  static stateOf(session: Session): RequestState {
    return (session as LiveSession).#state
  }

  get id(): string {
    return live(this.#state).meta(0)
  }

  get request(): RequestView {
    const state = live(this.#state)
    state.request ??= new LiveRequest(state)
    return state.request
  }

  get response(): ResponseView | undefined {
    return live(this.#state).responseView()
  }

  get client(): Address {
    return live(this.#state).client()
  }

  get server(): Address {
    return live(this.#state).address(4)
  }

  get connection(): Connection {
    return live(this.#state).connection()
  }

  get tls(): TlsView | undefined {
    return live(this.#state).tls()
  }

  get upstream(): UpstreamView | undefined {
    return live(this.#state).upstream()
  }

  get signal(): AbortSignal {
    return live(this.#state).signal()
  }

  get timings(): Timings {
    return live(this.#state).timings()
  }

  get bytes(): { received: number; sent: number } {
    const state = live(this.#state)
    return { received: state.fact(4), sent: state.fact(5) }
  }

  respond(answer: Answer): void {
    try {
      this.#respond(answer)
    } catch (error) {
      discard(answer)
      throw error
    }
  }

  #respond(answer: Answer): void {
    const state = live(this.#state)
    if (state.answer !== null) throw new UsageError('ALREADY_ANSWERED', 'this request has its answer already')
    if (state.responseStarted)
      throw new UsageError('RESPONSE_STARTED', 'the head of the response has gone out')
    if (state.phase < 0 || (MAY_ANSWER & (1 << state.phase)) === 0) {
      const where =
        state.phase < 0 ? 'no phase of this request is running' : `${nameOf(state.phase)} may not answer`
      throw new UsageError('CANNOT_ANSWER', `respond was called where it cannot answer: ${where}`)
    }
    state.answer = checkAnswer(answer, state.method())
  }

  // Not an async function: whoever does not wait for it need not hear of its failure.
  readBody(options: ReadBodyOptions = {}): Promise<Buffer> {
    try {
      const state = live(this.#state)
      const { maxBytes } = checkOptions('readBody', readBodyRules, options)
      return state.readBody(maxBytes)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  sendEarlyHints(links: string | readonly string[]): void {
    const state = live(this.#state)
    const fields = linkFields(links)
    if (state.responseStarted || state.answer !== null || state.ending)
      throw new UsageError('RESPONSE_STARTED', 'the answer is on its way: hints come too late')
    state.sendInterim(103, fields)
  }

  subrequest(target: string, options: SubrequestOptions & { detached: true }): void
  subrequest(target: string, options?: SubrequestOptions & { detached?: false }): Promise<Response>
  subrequest(target: string, options: SubrequestOptions = {}): Promise<Response> | undefined {
    return subrequest(live(this.#state), target, options)
  }

  get parent(): Session | undefined {
    return live(this.#state).parent?.session
  }

  summary(): string {
    return live(this.#state).summary()
  }
}

class LiveRequest implements RequestView {
  readonly #state: RequestState
  #headers: LiveHeaders | undefined

  constructor(state: RequestState) {
    this.#state = state
  }

  get method(): string {
    return live(this.#state).method()
  }

  get target(): string {
    return live(this.#state).target()
  }

  get path(): string {
    const target = live(this.#state).target()
    if (this.#state.method() === 'CONNECT') return ''
    const from = pathStart(target)
    const query = target.indexOf('?', from)
    const path = query < 0 ? (from === 0 ? target : target.substring(from)) : target.substring(from, query)
    return path === '' ? '/' : path
  }

  get query(): string {
    const target = live(this.#state).target()
    const at = target.indexOf('?')
    return at < 0 ? '' : target.substring(at + 1)
  }

  get host(): string {
    return live(this.#state).host()
  }

  get version(): '1.0' | '1.1' | '2' {
    return live(this.#state).meta(1) as '1.0' | '1.1' | '2'
  }

  get headers(): HeaderView {
    const state = live(this.#state)
    this.#headers ??= new LiveHeaders(state)
    return this.#headers
  }
}

/** Where the path begins: after the authority of an absolute form. */
function pathStart(target: string): number {
  if (target.charCodeAt(0) === 47) return 0
  const scheme = target.indexOf('://')
  if (scheme < 0) return 0
  const slash = target.indexOf('/', scheme + 3)
  const query = target.indexOf('?', scheme + 3)
  if (slash >= 0 && (query < 0 || slash < query)) return slash
  return query < 0 ? target.length : query
}

class LiveHeaders implements HeaderView {
  readonly #state: RequestState

  constructor(state: RequestState) {
    this.#state = state
  }

  get(name: string): string | undefined {
    const state = live(this.#state)
    return joinedValue(state.text, state.fieldsFor(name), needle(name))
  }

  getAll(name: string): string[] {
    const state = live(this.#state)
    return allValues(state.text, state.fieldsFor(name), needle(name))
  }

  has(name: string): boolean {
    const state = live(this.#state)
    return state.text.indexOf(needle(name), state.fieldsFor(name)) >= 0
  }

  *[Symbol.iterator](): Generator<[string, string]> {
    const state = live(this.#state)
    for (const field of allFields(state.text, state.fields())) {
      yield field
      live(state)
    }
  }
}

/** The response as a session shows it. */
export class LiveResponse implements ResponseView, HeaderView {
  readonly #state: RequestState
  readonly #head: Head

  constructor(state: RequestState, head: Head) {
    this.#state = state
    this.#head = head
  }

  get status(): number {
    live(this.#state)
    return this.#head.status
  }

  get headers(): HeaderView {
    live(this.#state)
    return this
  }

  get(name: string): string | undefined {
    live(this.#state)
    return this.#head.get(name)
  }

  getAll(name: string): string[] {
    live(this.#state)
    return this.#head.getAll(name)
  }

  has(name: string): boolean {
    live(this.#state)
    return this.#head.has(name)
  }

  [Symbol.iterator](): Iterator<[string, string]> {
    live(this.#state)
    return this.#head[Symbol.iterator]()
  }
}
