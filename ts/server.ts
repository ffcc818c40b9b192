import { EventEmitter } from 'node:events'
import { numberOf, theEnvironment } from './crossing/environment.js'
import { describe } from './crossing/failure.js'
import { Endpoint } from './endpoint.js'
import { invalidOptions, type OptionProblem, type UsageCode, UsageError } from './errors.js'
import { type AnyLog, isLogger, type Logger, makeLog } from './logger.js'
import { NativeServer, type NativeServiceEvent } from './native.js'
import { checkInto, checkOptions, flag, ms, type Rule, value } from './options.js'
import { has } from './platform.js'
import { Service, type ServiceState } from './service.js'
import { onSignals } from './signals.js'

/** How a server stops and where it logs. */
export interface ServerOptions {
  /** How long requests may take to end after `close()`, in milliseconds. Default: 30,000. */
  graceMs?: number
  /**
   * How long `run()` goes on as ever after SIGTERM before it closes, in milliseconds: time for load
   * balancers to hear of it, which else send clients to a port that is closed. Default: 0.
   */
  shutdownDelayMs?: number
  /** Where log lines go; `false`: nowhere. Default: warnings and errors, one line each, on stderr. */
  logger?: Logger | false
  /**
   * Linux: makes the thread of JavaScript one that the system does not hurry to switch to
   * (SCHED_BATCH), from the first start on. Requests share wake-ups better so, which saves several
   * microseconds of processor time for each; a program that does much else beside may not want it.
   * Processes that the program starts inherit it. Default: true on Linux, false elsewhere.
   */
  batchJsThread?: boolean
}

/** How a service stands to others. */
export interface AddServiceOptions {
  /**
   * Services of the same server that have to be ready before this one starts, and that stop after it. If
   * one of them fails before it is ready, `start()` rejects. They may be added later. Default: none.
   */
  dependsOn?: readonly Service[]
}

/** Where a server is in its life. After a start that failed it is `new` again. */
export type ServerState = 'new' | 'starting' | 'running' | 'closing' | 'closed'

/** What a server emits, and what listeners are given. */
export interface ServerEvents {
  /** The server has come to another state. */
  state: [state: ServerState]
  /** A service has come to another state; with `failed` and `restarting`, why. */
  service: [service: Service, state: ServiceState, error: UsageError | undefined]
  /** A service has failed after the start. Without a listener it is only logged. */
  error: [error: UsageError, service: Service]
}

/** How many ended, and how. */
export interface Ends {
  /** Those that ended by themselves. */
  readonly finished: number
  /** Those that were cut off at the end of the grace. */
  readonly cut: number
}

/** How a server stopped: what became of its work from when it stopped to accept. */
export interface CloseReport {
  /** Requests; a WebSocket or another tunnel is one. */
  readonly requests: Ends
  /** Connections of clients, idle ones among them. */
  readonly connections: Ends
}

/** Numbers of one service. */
export interface ServiceStats {
  /** The service's name. */
  readonly name: string
  /** Client connections now. */
  readonly connections: number
  /** Connections to origins. */
  readonly pool: {
    /** Open now, idle or in use. */
    readonly open: number
    /** Kept for later requests. */
    readonly idle: number
    /** How often one was used again. */
    readonly reused: number
    /** How often one was made. */
    readonly created: number
  }
  /** Bytes passed on by all connections so far; of a TcpProxy and a TcpApp. */
  readonly traffic?: {
    /** Those that clients have sent. */
    readonly received: number
    /** Those that were sent to clients. */
    readonly sent: number
  }
}

const rules = {
  graceMs: ms(30_000, 'at once'),
  shutdownDelayMs: ms(0, 'at once'),
  logger: value<Logger | false | undefined>(
    undefined,
    'false, or an object with the functions debug, info, warn and error',
    (v) => v === false || isLogger(v),
  ),
  batchJsThread: flag<boolean | undefined>(undefined, 'batchThreads'),
}
const closeRules = { graceMs: ms(0, 'at once'), delayMs: ms(0, 'at once') }
const nothing: CloseReport = {
  requests: { finished: 0, cut: 0 },
  connections: { finished: 0, cut: 0 },
}
const isServices = (v: unknown) => Array.isArray(v) && v.every((one) => Service.is(one))
const addRules: { dependsOn: Rule<readonly Service[]> } = {
  dependsOn: value<readonly Service[]>([], 'a list of services', isServices),
}

/** How long log lines and ends of requests may be on their way once a server has stopped. */
const LAST_WORDS_MS = 1000

let servers = 0

/** Servers that run, so that one whose variable is gone is not collected while it serves. */
const running = new Set<Server>()

/**
 * Services that start and stop together. It keeps Node.js alive from `start()` until it has
 * stopped, never exits the process, and handles no signal unless `run()` is called.
 */
export class Server extends EventEmitter<ServerEvents> {
  readonly #graceMs: number
  readonly #shutdownDelayMs: number
  readonly #batchJsThread: boolean
  readonly #log: AnyLog
  readonly #services: Service[] = []
  readonly #dependencies = new Map<Service, readonly Service[]>()
  #state: ServerState = 'new'
  #failure: UsageError | undefined
  readonly #stopped: Promise<CloseReport>
  #resolveStopped!: (report: CloseReport) => void
  #native: NativeServer | undefined
  #isWired = false
  #id = 0
  #starting: Promise<void> | undefined
  #closing = false
  #isStopped = false
  #keepAlive: NodeJS.Timeout | undefined

  /** @throws UsageError INVALID_OPTIONS, UNSUPPORTED_PLATFORM (`batchJsThread`) */
  constructor(options: ServerOptions = {}) {
    super({ captureRejections: true })
    const { graceMs, shutdownDelayMs, logger, batchJsThread } = checkOptions('Server', rules, options)
    this.#graceMs = graceMs
    this.#shutdownDelayMs = shutdownDelayMs
    this.#batchJsThread = batchJsThread ?? has('batchThreads')
    this.#log = makeLog(logger)
    this.#stopped = new Promise((resolve) => {
      this.#resolveStopped = resolve
    })
  }

  /**
   * Adds a service and returns it.
   *
   * @throws UsageError INVALID_OPTIONS (no service), ALREADY_STARTED (this server, or the service is another's), SERVER_CLOSED
   */
  addService<S extends Service>(service: S, options: AddServiceOptions = {}): S {
    const problems: OptionProblem[] = []
    if (!Service.is(service)) {
      const allowed =
        'a service that has been made with new: an HttpProxy, an HttpApp, a TcpProxy, a TcpApp, a BackgroundService or a DemoOrigin'
      problems.push({ path: 'service', found: service, allowed })
    }
    const { dependsOn } = checkInto(addRules, options, problems)
    if (problems.length > 0) throw invalidOptions('addService', problems)
    if (this.#closing) throw closed()
    if (this.#starting !== undefined)
      throw new UsageError('ALREADY_STARTED', 'add services before the server starts')
    Service.take(service)
    this.#services.push(service)
    this.#dependencies.set(service, [...dependsOn])
    return service
  }

  /** Where it is in its life. It emits `state` when that changes. */
  get state(): ServerState {
    return this.#state
  }

  /**
   * Binds every endpoint and starts every service, each when those it depends on are ready; resolves when
   * all are. If one fails nothing stays bound or running, and it may be called again. While it runs or
   * after it, further calls return the same promise.
   *
   * @throws UsageError ADDRESS_IN_USE, BIND_FAILED, SERVICE_FAILED, DEPENDENCY_CYCLE, START_FAILED (rejects),
   * SERVER_CLOSED (after `close()`)
   */
  start(): Promise<void> {
    if (this.#closing) return Promise.reject(closed())
    this.#starting ??= this.#start()
    return this.#starting
  }

  async #start(): Promise<void> {
    // Longer than any wait; its only use is to hold the event loop.
    this.#keepAlive = setInterval(() => {}, 2 ** 31 - 1)
    running.add(this)
    this.#id = ++servers
    this.#move('starting')
    try {
      const environment = theEnvironment()
      const native = new NativeServer(environment.native, {
        serverId: this.#id,
        graceMs: this.#graceMs,
        batchJsThread: this.#batchJsThread,
      })
      this.#native = native
      this.#isWired = true
      environment.crossing.logs.add(this.#id, this.#log)
      environment.crossing.services.add(this.#id, (event) => this.#told(native, event))
      const numbers = this.#services.map((service) => {
        Service.hosted(service, 'starting')
        const number = service.addTo({ native, environment, log: this.#log, numberOf })
        for (const endpoint of service.endpoints) {
          const { asked, options, tls, check } = endpoint
          Endpoint.logsTo(endpoint, this.#log)
          native.addEndpoint(number, asked, options, tls?.native, check?.native)
        }
        return number
      })
      this.#connect(native)
      const { addresses, code, message, service: failed } = await native.start()
      if (code !== undefined) {
        const cause = failed === undefined ? undefined : this.#services[failed]?.cause
        throw new UsageError(code as UsageCode, message ?? code, { cause })
      }
      for (const [at, service] of this.#services.entries()) {
        for (const [index, endpoint] of service.endpoints.entries())
          Endpoint.bound(endpoint, addresses[at]?.[index], index)
        Service.hosted(service, { native, number: numbers[at]!, log: this.#log })
      }
      this.#move('running')
    } catch (error) {
      this.#release(0)
      for (const service of this.#services) Service.hosted(service, 'planned')
      this.#starting = undefined
      this.#native = undefined
      this.#move('new')
      throw error
    }
  }

  /** Tells the addon which services depend on which. */
  #connect(native: NativeServer): void {
    for (const [number, service] of this.#services.entries())
      for (const on of this.#dependencies.get(service) ?? []) {
        const found = this.#services.indexOf(on)
        if (found >= 0) native.addDependency(number, found)
        else {
          const message = `the service ${service.name} depends on ${on.name}, which this server does not have`
          throw new UsageError('START_FAILED', message)
        }
      }
  }

  /** What the addon tells of a service. */
  #told(native: NativeServer, event: NativeServiceEvent): void {
    const service = this.#services[event.service]
    if (service === undefined) return
    if (event.kind === 'start') service.begin(event.run, native, event.service)
    else if (event.kind === 'stop') service.end(event.run)
    else this.#serviceMoved(service, event.state as ServiceState, event.error)
  }

  #serviceMoved(service: Service, state: ServiceState, reason: string | undefined): void {
    Service.moved(service, state)
    const message = `service ${service.name}: ${reason}`
    const { cause } = service
    const error = reason === undefined ? undefined : new UsageError('SERVICE_FAILED', message, { cause })
    this.#tell('service', service, state, error)
    if (error === undefined || this.#starting === undefined) return
    // A start that fails tells of it itself.
    void this.#starting.then(
      () => this.#failed(service, error, state === 'failed' && service.closesServer),
      () => undefined,
    )
  }

  #failed(service: Service, error: UsageError, closes: boolean): void {
    if (closes && !this.#closing) {
      this.#failure = error
      void this.close()
    }
    this.#tell('error', error, service)
  }

  #move(state: ServerState): void {
    if (this.#state === state || (this.#closing && state !== 'closing' && state !== 'closed')) return
    this.#state = state
    this.#tell('state', state)
  }

  /** Emits an event, whose listeners can hurt nobody. */
  #tell<E extends keyof ServerEvents>(event: E, ...given: ServerEvents[E]): void {
    // Emitted without a listener, it would end the process.
    if (event === 'error' && this.listenerCount('error') === 0) return
    try {
      ;(this as EventEmitter).emit(event, ...given)
    } catch (error) {
      this.#log.error(`a listener of '${event}' failed: ${describe(error)}`)
    }
  }

  /** @internal A listener's promise was rejected. */
  override [EventEmitter.captureRejectionSymbol](error: Error, event: unknown, ..._given: unknown[]): void {
    this.#log.error(`a listener of '${String(event)}' failed: ${describe(error)}`)
  }

  /**
   * After `delayMs` (default: 0), in which it serves as ever: stops accepting, lets requests end for
   * `graceMs` (default: the server's), and cuts off the rest. Resolves when all has ended, which is
   * when the last request has. It may be called several times, also at once: the shorter times win,
   * and all get the same report.
   *
   * @throws UsageError INVALID_OPTIONS (rejects)
   */
  async close(options: { graceMs?: number; delayMs?: number } = {}): Promise<CloseReport> {
    const { graceMs, delayMs } = checkOptions('close', closeRules, {
      graceMs: this.#graceMs,
      ...dropAbsent(options),
    })
    this.#closing = true
    this.#move('closing')
    if (!this.#isStopped) this.#native?.giveUpStart()
    await this.#starting?.catch(() => undefined)
    if (this.#native === undefined || this.#isStopped) this.#stop(nothing)
    else this.#stop(await this.#native.close(graceMs, delayMs))
    return this.#stopped
  }

  #stop(report: CloseReport): void {
    if (this.#isStopped) return
    this.#isStopped = true
    for (const service of this.#services) Service.hosted(service, 'over')
    this.#release(LAST_WORDS_MS)
    this.#resolveStopped(report)
    this.#move('closed')
  }

  #release(afterMs: number): void {
    clearInterval(this.#keepAlive)
    running.delete(this)
    if (!this.#isWired) return
    this.#isWired = false
    const { crossing } = theEnvironment()
    crossing.logs.retire(this.#id, afterMs)
    crossing.services.retire(this.#id)
    for (const service of this.#services) service.stopped(crossing, afterMs)
  }

  /**
   * Starts (unless started), and stops at a signal: at SIGTERM and SIGQUIT after `shutdownDelayMs`
   * and with the server's grace; at SIGINT, and at a second signal, at once. Resolves when stopped,
   * also by `close()`.
   *
   * @throws as `start()` does (rejects); UsageError SERVICE_FAILED when it has stopped as a service failed (rejects)
   */
  async run(): Promise<void> {
    const forget = onSignals({
      graceful: () => void this.close({ delayMs: this.#shutdownDelayMs }),
      fast: () => void this.close({ graceMs: 0 }),
    })
    try {
      await this.start()
      await this.#stopped
      if (this.#failure !== undefined) throw this.#failure
    } finally {
      forget()
    }
  }

  /** Numbers of each service, in the order added; empty before `start()`. */
  stats(): ServiceStats[] {
    return this.#native?.stats() ?? []
  }

  /** `close({ graceMs: 0 })`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close({ graceMs: 0 })
  }
}

function dropAbsent(options: object): object {
  if (typeof options !== 'object' || options === null) return options
  return Object.fromEntries(Object.entries(options).filter(([, given]) => given !== undefined))
}

function closed(): UsageError {
  return new UsageError('SERVER_CLOSED', 'the server is closed: make a new one')
}
