import { numberOf, theEnvironment } from './crossing/environment.js'
import { Endpoint } from './endpoint.js'
import { invalidOptions, type UsageCode, UsageError } from './errors.js'
import { type AnyLog, isLogger, type Logger, makeLog } from './logger.js'
import { NativeServer } from './native.js'
import { checkOptions, flag, ms, value } from './options.js'
import { has } from './platform.js'
import { Service } from './service.js'
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

/** How long log lines and ends of requests may be on their way once a server has stopped. */
const LAST_WORDS_MS = 1000

let servers = 0

/** Servers that run, so that one whose variable is gone is not collected while it serves. */
const running = new Set<Server>()

/**
 * Services that start and stop together. It keeps Node.js alive from `start()` until it has
 * stopped, never exits the process, and handles no signal unless `run()` is called.
 */
export class Server {
  readonly #graceMs: number
  readonly #shutdownDelayMs: number
  readonly #batchJsThread: boolean
  readonly #log: AnyLog
  readonly #services: Service[] = []
  readonly #stopped: Promise<CloseReport>
  #resolveStopped!: (report: CloseReport) => void
  #native: NativeServer | undefined
  #isWired = false
  readonly #id = ++servers
  #starting: Promise<void> | undefined
  #closing = false
  #isStopped = false
  #keepAlive: NodeJS.Timeout | undefined

  /** @throws UsageError INVALID_OPTIONS, UNSUPPORTED_PLATFORM (`batchJsThread`) */
  constructor(options: ServerOptions = {}) {
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
  addService<S extends Service>(service: S): S {
    if (!Service.is(service)) {
      const allowed =
        'a service that has been made with new: an HttpProxy, an HttpApp, a TcpProxy, a TcpApp or a DemoOrigin'
      throw invalidOptions('addService', [{ path: 'service', found: service, allowed }])
    }
    if (this.#closing) throw closed()
    if (this.#starting !== undefined)
      throw new UsageError('ALREADY_STARTED', 'add services before the server starts')
    Service.take(service)
    this.#services.push(service)
    return service
  }

  /**
   * Binds every endpoint and starts every service. If one fails nothing stays bound, and it may
   * be called again. While it runs or after it, further calls return the same promise.
   *
   * @throws UsageError ADDRESS_IN_USE, BIND_FAILED, START_FAILED (rejects), SERVER_CLOSED (after `close()`)
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
      for (const service of this.#services) {
        const number = service.addTo({ native, environment, log: this.#log, numberOf })
        for (const endpoint of service.endpoints) {
          const { asked, options, tls } = endpoint
          Endpoint.logsTo(endpoint, this.#log)
          native.addTcp(number, asked, options, tls?.native)
        }
        Object.freeze(service.endpoints)
      }
      const { addresses, code, message } = await native.start()
      if (code !== undefined) throw new UsageError(code as UsageCode, message ?? code)
      for (const [service, { endpoints }] of this.#services.entries())
        for (const [index, endpoint] of endpoints.entries())
          Endpoint.bound(endpoint, addresses[service]?.[index])
    } catch (error) {
      this.#release(0)
      this.#starting = undefined
      this.#native = undefined
      throw error
    }
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
    await this.#starting?.catch(() => undefined)
    if (this.#native === undefined || this.#isStopped) this.#stop(nothing)
    else this.#stop(await this.#native.close(graceMs, delayMs))
    return this.#stopped
  }

  #stop(report: CloseReport): void {
    if (this.#isStopped) return
    this.#isStopped = true
    this.#release(LAST_WORDS_MS)
    this.#resolveStopped(report)
  }

  #release(afterMs: number): void {
    clearInterval(this.#keepAlive)
    running.delete(this)
    if (!this.#isWired) return
    this.#isWired = false
    const { crossing } = theEnvironment()
    crossing.logs.retire(this.#id, afterMs)
    for (const service of this.#services) service.stopped(crossing, afterMs)
  }

  /**
   * Starts (unless started), and stops at a signal: at SIGTERM and SIGQUIT after `shutdownDelayMs`
   * and with the server's grace; at SIGINT, and at a second signal, at once. Resolves when stopped,
   * also by `close()`.
   *
   * @throws as `start()` does (rejects)
   */
  async run(): Promise<void> {
    const forget = onSignals({
      graceful: () => void this.close({ delayMs: this.#shutdownDelayMs }),
      fast: () => void this.close({ graceMs: 0 }),
    })
    try {
      await this.start()
      await this.#stopped
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
