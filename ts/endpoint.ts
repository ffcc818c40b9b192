import { isIP } from 'node:net'
import { UsageError } from './errors.js'
import type { AnyLog } from './logger.js'
import type { NativeSocketOptions } from './native.js'
import type { Address } from './session.js'
import { type EndpointTls, updateTls } from './tls/endpoint-tls.js'
import type { Certificate } from './tls/options.js'

/** Where a service listens. */
export class Endpoint {
  /** What was asked for. */
  readonly asked: string
  /** @internal */
  readonly options: NativeSocketOptions
  /** @internal Absent without TLS. */
  readonly tls: EndpointTls | undefined
  #bound: Address | undefined
  #scheme: 'http' | 'tcp' = 'http'

  /** @internal */
  constructor(asked: string, options: NativeSocketOptions, tls?: EndpointTls) {
    this.asked = asked
    this.options = options
    this.tls = tls
  }

  /** What was bound. @throws UsageError NOT_STARTED before `start()` */
  get address(): Address {
    if (this.#bound !== undefined) return this.#bound
    throw new UsageError('NOT_STARTED', `${this.asked} has no address before the server has started`)
  }

  /**
   * `http://host:port` or `https://host:port` of what was bound; of a service of connections `tcp://` or `tls://`.
   *
   * @throws UsageError NOT_STARTED before `start()`
   */
  get url(): string {
    const { host, port } = this.address
    const [plain, secure] = this.#scheme === 'http' ? ['http', 'https'] : ['tcp', 'tls']
    const scheme = this.tls === undefined ? plain : secure
    return `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`
  }

  /** @internal */
  static bound(endpoint: Endpoint, address: string | undefined): void {
    const parts = address === undefined ? undefined : splitAddress(address)
    endpoint.#bound = parts === undefined ? undefined : Object.freeze(parts)
  }

  /** @internal What its service speaks. */
  static speaks(endpoint: Endpoint, scheme: 'http' | 'tcp'): void {
    endpoint.#scheme = scheme
  }

  /** @internal Its server starts: where it logs. */
  static logsTo(endpoint: Endpoint, log: AnyLog): void {
    if (endpoint.tls !== undefined) endpoint.tls.log = log
  }
}

/** Where a service listens with TLS. */
export class TlsEndpoint extends Endpoint {
  /** @internal */
  declare readonly tls: EndpointTls

  /**
   * Replaces all certificates, for handshakes from now on; connections that are open stay. The first
   * is shown where none is for the name asked for. If one of them cannot be used, all stay as they
   * were.
   *
   * @throws UsageError INVALID_OPTIONS
   */
  updateCertificates(certificates: Certificate | readonly Certificate[]): void {
    updateTls(this.tls, certificates)
  }
}

/** `1.2.3.4:80` or `[::1]:80`, in parts. */
export function splitAddress(address: string): { host: string; port: number } | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(address)
  if (match === null || Number(match[3]) > 65_535) return undefined
  const [, six, four, port] = match
  if (six === undefined ? isIP(four!) !== 4 : isIP(six) !== 6) return undefined
  return { host: (six ?? four)!, port: Number(port) }
}
