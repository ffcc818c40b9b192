import { normalize } from 'node:path'
import type { Environment } from './crossing/environment.js'
import { Endpoint, IP_AND_PORT, splitAddress, TlsEndpoint } from './endpoint.js'
import { invalidOptions, type OptionProblem, type UsageCode, UsageError } from './errors.js'
import type { Farewell } from './farewell.js'
import type { AnyLog } from './logger.js'
import type { NativeServer, NativeServiceStats } from './native.js'
import type { HttpPeer } from './peer.js'
import { type SocketOptions, tcpSockets, type UnixSocketOptions, unixSockets } from './socket-options.js'
import { noStats, type ThreadStats } from './stats.js'
import { type EndpointTls, makeTls } from './tls/endpoint-tls.js'
import type { Speaks, TlsOptions } from './tls/options.js'

/** @internal What a server offers to a service that it starts. */
export interface Host {
  readonly native: NativeServer
  readonly environment: Environment
  readonly log: AnyLog
  numberOf(peer: HttpPeer): number
}

/** @internal How a server that has stopped leaves. */
export interface Leave {
  /** Ends of requests may be on their way for so long. */
  readonly afterMs: number
  /** How long `logging` is waited for. */
  readonly farewell: Farewell
}

/** Where a service is in its life. One that is `restarting` has failed and waits for its next start. */
export type ServiceState = 'new' | 'starting' | 'ready' | 'restarting' | 'stopping' | 'stopped' | 'failed'

/** A service that its server runs: which one it is there. */
interface Running {
  readonly native: NativeServer
  readonly number: number
  readonly log: AnyLog
}

/** One of the things a server runs: an `HttpProxy`, an `HttpApp`, a `TcpProxy`, a `TcpApp`, a `BackgroundService`, or a `DemoOrigin`. */
export abstract class Service {
  /** Where it listens, in the order added. */
  readonly endpoints: readonly Endpoint[] = []
  #isTaken = false
  /** The services of its server. */
  #others: readonly Service[] = []
  #state: ServiceState = 'new'
  #life: 'planned' | 'starting' | 'over' | Running = 'planned'

  /** Its name, in the log and of its threads. */
  abstract get name(): string

  /** @internal Of the URLs of its endpoints in the clear. */
  protected readonly scheme: 'http' | 'tcp' = 'http'

  /** Where it is in its life: `ready` when it serves. A server emits `service` when that changes. */
  get state(): ServiceState {
    return this.#state
  }

  /** @internal What it can offer by ALPN. */
  protected abstract readonly speaks: Speaks

  /** @internal Whether it can have endpoints. */
  protected readonly listens: boolean = true

  /**
   * Listens on an IP address and port when the server starts; if it runs already, from now on. Port 0 is
   * chosen by the system.
   *
   * @param address `127.0.0.1:8080`, `0.0.0.0:0`, `[::1]:8080`
   * @throws UsageError INVALID_OPTIONS, UNSUPPORTED_PLATFORM (`reusePort`, `fastOpen`), ALREADY_STARTED (it is
   * starting), SERVER_CLOSED, and where it runs ADDRESS_IN_USE, BIND_FAILED
   */
  addTcp(address: string, options: SocketOptions = {}): Endpoint {
    const problems = this.#problems('address', address)
    this.#checkAddress(address, options, problems)
    const sockets = tcpSockets(address, options, problems)
    if (problems.length > 0) throw invalidOptions('addTcp', problems)
    return this.#add(new Endpoint(address, sockets, (endpoint) => this.#remove(endpoint)))
  }

  /**
   * Listens with TLS on an IP address and port when the server starts; if it runs already, from now on.
   * Port 0 is chosen by the system. Certificates are read and checked at once.
   *
   * @throws as `addTcp` does
   */
  addTls(address: string, tls: TlsOptions, options: SocketOptions = {}): TlsEndpoint {
    return this.#addTls(address, options, (problems) => makeTls(tls, this.speaks, problems))
  }

  #addTls(
    address: string,
    options: SocketOptions,
    make: (problems: OptionProblem[]) => EndpointTls | undefined,
  ): TlsEndpoint {
    const problems = this.#problems('address', address)
    this.#checkAddress(address, options, problems)
    const sockets = tcpSockets(address, options, problems, 'options')
    const made = make(problems)
    if (made === undefined || problems.length > 0) throw invalidOptions('addTls', problems)
    return this.#add(new TlsEndpoint(address, sockets, (endpoint) => this.#remove(endpoint), made))
  }

  /**
   * Listens on a Unix socket when the server starts; if it runs already, from now on. A file that a process
   * has left behind is replaced; one that somebody listens on, or that is no socket, is not.
   *
   * @param path an absolute path, or on Linux `@name`: a name that needs no file, and that has no permissions
   * @throws UsageError INVALID_OPTIONS, UNSUPPORTED_PLATFORM, and as `addTcp` does
   */
  addUnix(path: string, options: UnixSocketOptions = {}): Endpoint {
    const problems = this.#problems('path', path)
    const sockets = unixSockets(path, options, problems)
    if (typeof path === 'string' && this.#isTakenAddress(`unix:${path}`, false))
      problems.push({ path: 'path', found: path, allowed: 'a path that no other endpoint of the server has' })
    if (problems.length > 0) throw invalidOptions('addUnix', problems)
    return this.#add(new Endpoint(`unix:${path}`, sockets, (endpoint) => this.#remove(endpoint)))
  }

  /** What is wrong with an endpoint before it is looked at. */
  #problems(path: string, found: unknown): OptionProblem[] {
    const allowed = `no endpoint: the service ${this.name} works in the background`
    return this.listens ? [] : [{ path, found, allowed }]
  }

  #checkAddress(address: unknown, options: unknown, problems: OptionProblem[]): void {
    const wrong = (allowed: string) => problems.push({ path: 'address', found: address, allowed })
    if (typeof address !== 'string' || splitAddress(address) === undefined) wrong(IP_AND_PORT)
    else if (this.#isTakenAddress(address, (options as SocketOptions | null | undefined)?.reusePort === true))
      wrong(ONCE)
  }

  /** Whether another endpoint of the server has an address. Once that runs, the system says so. */
  #isTakenAddress(address: string, isShared: boolean): boolean {
    if (this.#life !== 'planned') return false
    return [this, ...this.#others].some((one) =>
      one.endpoints.some((endpoint) => isSame(endpoint, address, isShared)),
    )
  }

  #add<E extends Endpoint>(endpoint: E): E {
    Endpoint.speaks(endpoint, this.scheme)
    const life = this.#life
    if (life === 'starting')
      throw new UsageError('ALREADY_STARTED', 'the server is starting: add endpoints before, or once it runs')
    if (life === 'over') throw new UsageError('SERVER_CLOSED', 'the server is closed')
    if (life !== 'planned') {
      Endpoint.logsTo(endpoint, life.log)
      const { asked, options, tls, check } = endpoint
      const { number, address, code, message } = life.native.listen(
        life.number, asked, options, tls?.native, check?.native,
      ) // biome-ignore format: one call
      if (code !== undefined) throw new UsageError(code as UsageCode, message ?? code)
      Endpoint.bound(endpoint, address, number)
    }
    ;(this.endpoints as Endpoint[]).push(endpoint)
    return endpoint
  }

  async #remove(endpoint: Endpoint): Promise<void> {
    const life = this.#life
    if (life === 'starting')
      throw new UsageError(
        'ALREADY_STARTED',
        'the server is starting: close endpoints before, or once it runs',
      )
    const at = this.endpoints.indexOf(endpoint)
    if (at < 0) return
    ;(this.endpoints as Endpoint[]).splice(at, 1)
    if (typeof life === 'string') return
    const isFree = await life.native.closeEndpoint(life.number, Endpoint.number(endpoint))
    // False also where the server has closed it meanwhile.
    if (!isFree && this.#life === life)
      life.log.warn(
        `service ${this.name}: ${endpoint.asked} is not free yet: a thread is at work without a pause`,
      )
  }

  /** @internal */
  static is(value: unknown): value is Service {
    return typeof value === 'object' && value !== null && #isTaken in value
  }

  /** @internal Whether it can have endpoints. */
  static isListening(service: Service): boolean {
    return service.listens
  }

  /** @internal What it was told to listen on is forgotten: those endpoints. */
  static forgetEndpoints(service: Service): Endpoint[] {
    return (service.endpoints as Endpoint[]).splice(0)
  }

  /** @internal `addTls` with the TLS of another endpoint. */
  static shareTls(service: Service, address: string, tls: EndpointTls, options: SocketOptions): TlsEndpoint {
    return service.#addTls(address, options, () => tls)
  }

  /**
   * @internal Endpoints that were forgotten are those that it has now, in their order; those beyond are nothing any
   * more.
   */
  static reuseEndpoints(service: Service, forgotten: readonly Endpoint[]): void {
    const endpoints = service.endpoints as Endpoint[]
    for (const [at, endpoint] of forgotten.entries()) {
      Endpoint.replace(endpoint, endpoints[at])
      if (at < endpoints.length) endpoints[at] = endpoint
    }
  }

  /** @internal It belongs to a server from now on, which has the `others`, and more later. */
  static take(service: Service, others: readonly Service[]): void {
    if (service.#isTaken)
      throw new UsageError('ALREADY_STARTED', `the service ${service.name} belongs to a server already`)
    service.#others = others
    const problems = service.endpoints.flatMap(({ asked, options }, at): OptionProblem[] => {
      const isTaken = others.some((one) =>
        one.endpoints.some((endpoint) => isSame(endpoint, asked, options.reusePort)),
      )
      return isTaken ? [{ path: `service.endpoints[${at}]`, found: asked, allowed: ONCE }] : []
    })
    if (problems.length > 0) {
      service.#others = []
      throw invalidOptions('addService', problems)
    }
    service.#isTaken = true
  }

  /** @internal What has to be done before: its server is about to start. May reject, which ends the start. */
  prepare(_log: AnyLog, _batch: boolean): Promise<void> | void {}

  /** @internal What it has begun to prepare is not wanted any more: its server closes. */
  giveUp(): void {}

  /** @internal Its numbers before the start. */
  static noStats(service: Service): NativeServiceStats {
    return noStats(service.name, service.scheme === 'tcp')
  }

  /** @internal What may become of its endpoints. */
  static hosted(service: Service, life: 'planned' | 'starting' | 'over' | Running): void {
    service.#life = life
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

  /** @internal Of the threads of its own that run JavaScript, if it has such. */
  threadStats(): ThreadStats[] | undefined {
    return undefined
  }

  /** @internal What it threw last. */
  get cause(): unknown {
    return undefined
  }

  /** @internal Its work is to begin, for the so many-th time; only work in the background is told. */
  begin(_run: number, _native: NativeServer, _number: number): void {}

  /** @internal Its work is to end. */
  end(_run: number): void {}

  /** @internal Its server has stopped. Never rejects. */
  stopped(_environment: Environment, _leave: Leave): Promise<void> | void {}
}

const ONCE = 'an address that no other endpoint of the server has, unless both have reusePort'

/** Whether an endpoint has this address, and one of the two does not share it. */
function isSame({ asked, options }: Endpoint, address: string, isShared: boolean): boolean {
  return !(isShared && options.reusePort) && canonical(asked) === canonical(address)
}

/** An address as it is compared; port 0 is chosen by the system, and another one each time. */
function canonical(address: string): string | symbol {
  if (address.startsWith('unix:')) return address.startsWith('unix:@') ? address : normalize(address)
  const { host, port } = splitAddress(address) ?? { host: address, port: 1 }
  if (port === 0) return Symbol()
  return `${host.includes(':') ? ipv6(host) : host} ${port}`
}

/** The one way to write it; one with a zone as it is. */
function ipv6(host: string): string {
  try {
    return new URL(`http://[${host}]`).hostname
  } catch {
    return host
  }
}
