import type { Address, ConnectionView, Session, TlsView } from '../session.js'

/**
 * What is known of a request beside what a `Request` can say: the second argument of a handler. It is an
 * object of this request alone, and after its end every access throws SESSION_ENDED.
 */
export interface HandlerInfo {
  /** Unique in this process. */
  readonly id: string
  /** The version of HTTP that the client speaks. */
  readonly version: '1.0' | '1.1' | '2'
  /**
   * Who sent the request: the other end of the connection, or whom `trustedProxies` name; their word may
   * come without a port, which is 0 then.
   */
  readonly client: Address
  /** Where the client connected to. */
  readonly server: Address
  /** The client's connection, and what you keep with it. */
  readonly connection: ConnectionView
  /** The client's TLS; undefined in the clear. */
  readonly tls: TlsView | undefined
  /**
   * Aborted when the client leaves, when the handler has taken too long, when the request's time is up or when its
   * server ends it; the reason is a `ProxyError`. The signal of the `Request` follows it.
   */
  readonly signal: AbortSignal
  /**
   * Sends the client a 103 (Early Hints) with these values of `link`, at once and before the response.
   *
   * @throws UsageError INVALID_HEADER, RESPONSE_STARTED
   */
  sendEarlyHints(links: string | readonly string[]): void
}

/** What handlers get. */
export class LiveInfo implements HandlerInfo {
  readonly #session: Session

  constructor(session: Session) {
    this.#session = session
  }

  get id(): string {
    return this.#session.id
  }

  get version(): '1.0' | '1.1' | '2' {
    return this.#session.request.version
  }

  get client(): Address {
    return this.#session.client
  }

  get server(): Address {
    return this.#session.server
  }

  get connection(): ConnectionView {
    return this.#session.connection
  }

  get tls(): TlsView | undefined {
    return this.#session.tls
  }

  get signal(): AbortSignal {
    return this.#session.signal
  }

  sendEarlyHints(links: string | readonly string[]): void {
    this.#session.sendEarlyHints(links)
  }
}
