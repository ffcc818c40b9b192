import { isIP } from 'node:net'
import type { EndpointCheck } from './connection-check.js'
import { UsageError } from './errors.js'
import type { AnyLog } from './logger.js'
import type { NativeSocketOptions } from './native.js'
import type { Address } from './session.js'
import type { Sockets } from './socket-options.js'
import { type EndpointTls, updateTls } from './tls/endpoint-tls.js'
import type { Certificate } from './tls/options.js'

/** Where a service listens. */
export class Endpoint {
  /** What was asked for: an address and a port, or `unix:` and a path. */
  readonly asked: string
  /** @internal The options as they were given. */
  readonly given: object
  /** @internal */
  readonly options: NativeSocketOptions
  /** @internal Absent without a function that is asked about connections. */
  readonly check: EndpointCheck | undefined
  /** @internal Absent without TLS. */
  readonly tls: EndpointTls | undefined
  readonly #remove: (endpoint: Endpoint) => Promise<void>
  #bound: Address | undefined
  #scheme: 'http' | 'tcp' = 'http'
  #number = 0
  #closing: Promise<void> | undefined
  #isReplaced = false

  /** @internal */
  constructor(
    asked: string,
    { given, options, check }: Sockets,
    remove: (endpoint: Endpoint) => Promise<void>,
    tls?: EndpointTls,
  ) {
    this.asked = asked
    this.given = given
    this.options = options
    this.check = check
    this.#remove = remove
    this.tls = tls
  }

  /** What was bound. @throws UsageError NOT_STARTED before `start()` */
  get address(): Address {
    if (this.#bound !== undefined) return this.#bound
    const why = this.#isReplaced
      ? 'is not listened on, as a configuration says others in its place'
      : 'has no address before the server has started'
    throw new UsageError('NOT_STARTED', `${this.asked} ${why}`)
  }

  /**
   * `http://host:port` or `https://host:port` of what was bound; of a service of connections `tcp://` or `tls://`, and
   * of a Unix socket `unix:/path`.
   *
   * @throws UsageError NOT_STARTED before `start()`
   */
  get url(): string {
    const { host, port } = this.address
    if (this.asked.startsWith(UNIX)) return this.asked
    const [plain, secure] = this.#scheme === 'http' ? ['http', 'https'] : ['tcp', 'tls']
    const scheme = this.tls === undefined ? plain : secure
    return `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`
  }

  /**
   * Stops listening, while the server goes on; before it starts, takes the endpoint back. Resolves when
   * the address is free. The endpoint's connections end as those of a server that closes, idle ones at once
   * and others when what they are at is done, but none is cut off. It may be called several times.
   *
   * @throws UsageError ALREADY_STARTED (rejects) while the server is starting
   */
  close(): Promise<void> {
    this.#closing ??= this.#remove(this).catch((error: unknown) => {
      this.#closing = undefined
      throw error
    })
    return this.#closing
  }

  /** @internal */
  static bound(endpoint: Endpoint, address: string | undefined, number: number): void {
    const parts = address === undefined ? undefined : partsOf(address)
    endpoint.#bound = parts === undefined ? undefined : Object.freeze(parts)
    endpoint.#number = number
    if (endpoint.tls !== undefined) endpoint.tls.given = undefined
  }

  /** @internal A configuration says where to listen in its place: it becomes the first of that; of none it is nothing. */
  static replace(endpoint: Endpoint, by: Endpoint | undefined): void {
    endpoint.#isReplaced = by === undefined
    if (by === undefined) return
    const { asked, given, options, check, tls } = by
    Object.assign(endpoint, { asked, given, options, check, tls })
  }

  /** @internal Its number within its service. */
  static number(endpoint: Endpoint): number {
    return endpoint.#number
  }

  /** @internal What its service speaks. */
  static speaks(endpoint: Endpoint, scheme: 'http' | 'tcp'): void {
    endpoint.#scheme = scheme
  }

  /** @internal Its server starts: where it logs. */
  static logsTo(endpoint: Endpoint, log: AnyLog): void {
    if (endpoint.tls !== undefined) endpoint.tls.log = log
    if (endpoint.check !== undefined) endpoint.check.log = log
  }
}

/** Where a service listens with TLS. */
export class TlsEndpoint extends Endpoint {
  /**
   * Replaces all certificates, for handshakes from now on; connections that are open stay. The first
   * is shown where none is for the name asked for. If one of them cannot be used, all stay as they
   * were. Where a configuration says that there is no TLS (`tls: false`), they are only checked.
   *
   * @throws UsageError INVALID_OPTIONS
   */
  updateCertificates(certificates: Certificate | readonly Certificate[]): void {
    updateTls(this.tls, certificates)
  }
}

const UNIX = 'unix:'

function partsOf(address: string): Address | undefined {
  return address.startsWith(UNIX) ? { host: address.slice(UNIX.length), port: 0 } : splitAddress(address)
}

/** `1.2.3.4:80` or `[::1]:80`, in parts. */
export function splitAddress(address: string): { host: string; port: number } | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(address)
  if (match === null || Number(match[3]) > 65_535) return undefined
  const [, six, four, port] = match
  if (six === undefined ? isIP(four!) !== 4 : isIP(six) !== 6) return undefined
  return { host: (six ?? four)!, port: Number(port) }
}
