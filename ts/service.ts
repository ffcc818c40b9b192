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

/** @internal The rules of {@link SocketOptions}. */
export const socketRules = {
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

/** Where a service is in its life. One that is `restarting` has failed and waits for its next start. */
export type ServiceState = 'new' | 'starting' | 'ready' | 'restarting' | 'stopping' | 'stopped' | 'failed'

/** One of the things a server runs: an `HttpProxy`, a `BackgroundService`, or a `DemoOrigin`. */
export abstract class Service {
  /** Where it listens, in the order added. */
  readonly endpoints: readonly Endpoint[] = []
  #isTaken = false
  #state: ServiceState = 'new'

  /** Its name, in the log and of its threads. */
  abstract get name(): string

  /** Where it is in its life: `ready` when it serves. A server emits `service` when that changes. */
  get state(): ServiceState {
    return this.#state
  }

  /** @internal Whether it can be offered by ALPN. */
  protected abstract readonly speaksH2: boolean
  /** @internal Whether it can have endpoints. */
  protected readonly listens: boolean = true

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
    if (!this.listens) {
      const allowed = `no endpoint: the service ${this.name} works in the background`
      throw invalidOptions('addTcp', [{ path: 'address', found: address, allowed }])
    }
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
    ;(this.endpoints as Endpoint[]).push(endpoint)
    return endpoint
  }

  /** @internal */
  static is(value: unknown): value is Service {
    return typeof value === 'object' && value !== null && #isTaken in value
  }

  /** @internal Whether it can have endpoints. */
  static isListening(service: Service): boolean {
    return service.listens
  }

  /** @internal What it was told to listen on is forgotten. */
  static forgetEndpoints(service: Service): void {
    ;(service.endpoints as Endpoint[]).length = 0
  }

  /** @internal It belongs to a server from now on. */
  static take(service: Service): void {
    if (service.#isTaken)
      throw new UsageError('ALREADY_STARTED', `the service ${service.name} belongs to a server already`)
    service.#isTaken = true
  }

  /** @internal Adds itself to the addon's server: its number there. */
  abstract addTo(host: Host): number

  /** @internal It has come to another state. */
  static moved(service: Service, state: ServiceState): void {
    service.#state = state
  }

  /** @internal Whether its failure closes the server. */
  get closesServer(): boolean {
    return true
  }

  /** @internal What it threw last. */
  get cause(): unknown {
    return undefined
  }

  /** @internal Its work is to begin, for the so many-th time; only work in the background is told. */
  begin(_run: number, _native: NativeServer, _number: number): void {}

  /** @internal Its work is to end. */
  end(_run: number): void {}

  /** @internal Its server has stopped; some of its requests may end within `afterMs`. */
  stopped(_crossing: Crossing, _afterMs: number): void {}
}
