import type { Crossing } from './crossing/crossing.js'
import type { Environment } from './crossing/environment.js'
import { Endpoint, splitAddress, TlsEndpoint } from './endpoint.js'
import { invalidOptions, type OptionProblem, UsageError } from './errors.js'
import type { AnyLog } from './logger.js'
import type { NativeServer, NativeSocketOptions } from './native.js'
import { checkInto, flag, group, integer } from './options.js'
import { type HttpPeer, keepaliveRules, nativeKeepalive, type TcpKeepalive } from './peer.js'
import { makeTls } from './tls/endpoint-tls.js'
import type { TlsOptions } from './tls/options.js'

/** What is asked of the system for a listening socket. */
export interface SocketOptions {
  /** Connections the system holds until they are accepted. Default: 1,024. */
  backlog?: number
  /** Linux: lets several processes listen on the same address, which share its connections. Default: false. */
  reusePort?: boolean
  /** Whether an IPv6 socket refuses IPv4 clients. Default: the system's. */
  ipv6Only?: boolean
  /** Probes on silent connections. Default: off. */
  tcpKeepalive?: TcpKeepalive
  /** Size of the system's receive buffer, in bytes. Default: the system's. */
  recvBuffer?: number
  /** Size of the system's send buffer, in bytes. Default: the system's. */
  sendBuffer?: number
}

const BYTES = 2 ** 31 - 1

const socketRules = {
  backlog: integer(1_024, 1, 65_535),
  reusePort: flag(false, 'reusePort'),
  ipv6Only: flag<boolean | undefined>(undefined),
  tcpKeepalive: group(keepaliveRules),
  recvBuffer: integer<number | undefined>(undefined, 1_024, BYTES),
  sendBuffer: integer<number | undefined>(undefined, 1_024, BYTES),
}

/** @internal What a server offers to a service that it starts. */
export interface Host {
  readonly native: NativeServer
  readonly environment: Environment
  readonly log: AnyLog
  numberOf(peer: HttpPeer): number
}

/** One of the things a server runs: an `HttpProxy`, an `HttpApp`, a `TcpProxy`, a `TcpApp`, or a `DemoOrigin`. */
export abstract class Service {
  /** Where it listens, in the order added. */
  readonly endpoints: readonly Endpoint[] = []
  #isTaken = false

  /** Its name, in the log and of its threads. */
  abstract get name(): string

  /** @internal Of the URLs of its endpoints in the clear. */
  protected readonly scheme: 'http' | 'tcp' = 'http'

  /** @internal Whether it can be offered by ALPN. */
  protected abstract readonly speaksH2: boolean

  /**
   * Listens on an IP address and port when the server starts; port 0 is chosen by the system.
   *
   * @param address `127.0.0.1:8080`, `0.0.0.0:0`, `[::1]:8080`
   * @throws UsageError INVALID_OPTIONS, UNSUPPORTED_PLATFORM (`reusePort`), ALREADY_STARTED
   */
  addTcp(address: string, options: SocketOptions = {}): Endpoint {
    const problems: OptionProblem[] = []
    const sockets = this.#check(address, options, '', problems)
    if (problems.length > 0) throw invalidOptions('addTcp', problems)
    return this.#add(new Endpoint(address, sockets))
  }

  /**
   * Listens with TLS on an IP address and port when the server starts; port 0 is chosen by the
   * system. Certificates are read and checked at once.
   *
   * @throws UsageError INVALID_OPTIONS, UNSUPPORTED_PLATFORM (`reusePort`), ALREADY_STARTED
   */
  addTls(address: string, tls: TlsOptions, options: SocketOptions = {}): TlsEndpoint {
    const problems: OptionProblem[] = []
    const sockets = this.#check(address, options, 'options', problems)
    const made = makeTls(tls, this.speaksH2, problems)
    if (made === undefined || problems.length > 0) throw invalidOptions('addTls', problems)
    return this.#add(new TlsEndpoint(address, sockets, made))
  }

  #check(address: unknown, options: unknown, path: string, problems: OptionProblem[]): NativeSocketOptions {
    if (Object.isFrozen(this.endpoints))
      throw new UsageError('ALREADY_STARTED', 'the server has started: add endpoints before')
    if (typeof address !== 'string' || splitAddress(address) === undefined)
      problems.push({
        path: 'address',
        found: address,
        allowed: 'an IP address and a port: 127.0.0.1:8080 or [::1]:8080',
      })
    const { tcpKeepalive, ...rest } = checkInto(socketRules, options, problems, path)
    const native: Record<string, unknown> = { ...nativeKeepalive(tcpKeepalive) }
    for (const [name, value] of Object.entries(rest)) if (value !== undefined) native[name] = value
    return native as unknown as NativeSocketOptions
  }

  #add<E extends Endpoint>(endpoint: E): E {
    Endpoint.speaks(endpoint, this.scheme)
    ;(this.endpoints as Endpoint[]).push(endpoint)
    return endpoint
  }

  /** @internal */
  static is(value: unknown): value is Service {
    return typeof value === 'object' && value !== null && #isTaken in value
  }

  /** @internal It belongs to a server from now on. */
  static take(service: Service): void {
    if (service.#isTaken)
      throw new UsageError('ALREADY_STARTED', `the service ${service.name} belongs to a server already`)
    service.#isTaken = true
  }

  /** @internal Adds itself to the addon's server: its number there. */
  abstract addTo(host: Host): number

  /** @internal Its server has stopped; some of its requests may end within `afterMs`. */
  stopped(_crossing: Crossing, _afterMs: number): void {}
}
