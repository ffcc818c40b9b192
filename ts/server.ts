import { EventEmitter } from 'node:events'
import { numberOf, theEnvironment } from './crossing/environment.js'
import { describe } from './crossing/failure.js'
import { isThenable, whenSettled } from './crossing/promise.js'
import { Endpoint } from './endpoint.js'
import { invalidOptions, type OptionProblem, type UsageCode, UsageError } from './errors.js'
import { Farewell, LAST_WORDS_MS } from './farewell.js'
import { type AnyLog, leastLevel, makeLog } from './logger.js'
import { tellManager } from './manager.js'
import { NativeServer, type NativeServiceEvent } from './native.js'
import { checkInto, checkOptions, listOf, ms, type Rule } from './options.js'
import { overridden } from './overrides.js'
import { has } from './platform.js'
import {
  type AddServiceOptions,
  type CloseReport,
  type ServerEvents,
  type ServerOptions,
  type ServerState,
  serverRules,
} from './server-options.js'
import { Service, type ServiceState } from './service.js'
import { onSignals } from './signals.js'
import { loopDelay, type ServerStats, serverStats } from './stats.js'
import { droppedByThreads } from './threads/lines.js'
import { type Upgrade, upgradeProblems } from './upgrade.js'

const closeRules = { graceMs: ms(0, 'at once'), delayMs: ms(0, 'at once') }
const nothing: CloseReport = {
  requests: { finished: 0, cut: 0 },
  connections: { finished: 0, cut: 0 },
}
const addRules: { dependsOn: Rule<readonly Service[]> } = {
  dependsOn: listOf<readonly Service[]>([], 'a service', (one) => Service.is(one)),
}

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
  readonly #upgrade: Upgrade
  readonly #batchJsThread: boolean
  readonly #log: AnyLog
  readonly #logLevel: number
  readonly #logsDependencies: boolean
  #unwatch = () => {}
  readonly #farewell = new Farewell()
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
  #isComingUp = false
  #closing = false
  #isStopped = false
  #keepAlive: NodeJS.Timeout | undefined
  #quitting: NodeJS.Timeout | undefined

  /** @throws UsageError INVALID_OPTIONS, UNSUPPORTED_PLATFORM (`batchJsThread`, `upgradeSocket`) */
  constructor(options: ServerOptions = {}) {
    super()
    const given = overridden.server(options)
    const problems: OptionProblem[] = []
    const checked = checkInto(serverRules, given, problems)
    const { graceMs, shutdownDelayMs, logger, onLog, logLevel, batchJsThread } = checked
    const { upgradeSocket, upgrade, upgradeTimeoutMs } = checked
    if (problems.length === 0) problems.push(...upgradeProblems(upgrade, upgradeSocket))
    if (problems.length > 0) throw overridden.refusal('Server', problems, given)
    this.#graceMs = graceMs
    this.#shutdownDelayMs = shutdownDelayMs
    this.#upgrade = { upgradeSocket: upgradeSocket ?? '', upgrade, upgradeTimeoutMs }
    this.#batchJsThread = batchJsThread ?? has('batchThreads')
    this.#log = makeLog(logger, { onLog, logLevel })
    this.#logLevel = leastLevel({ logger, onLog, logLevel })
    this.#logsDependencies = logLevel === 'debug'
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
    Service.take(service, this.#services)
    this.#services.push(service)
    this.#dependencies.set(service, [...dependsOn])
    return service
  }

  /** @internal The services of a server; undefined for what is none. */
  static servicesOf(server: unknown): readonly Service[] | undefined {
    return typeof server === 'object' && server !== null && #services in server ? server.#services : undefined
  }

  /** Where it is in its life. It emits `state` when that changes. */
  get state(): ServerState {
    return this.#state
  }

  /**
   * Binds every endpoint and starts every service, each when those it depends on are ready; resolves when
   * all are. If one fails nothing stays bound or running, and it may be called again: it rejects when what
   * was up has ended, for which that has the server's `graceMs`. While it runs or after it, further calls
   * return the same promise.
   *
   * @throws UsageError ADDRESS_IN_USE, BIND_FAILED, UPGRADE_FAILED, SERVICE_FAILED, DEPENDENCY_CYCLE, START_FAILED (rejects),
   * SERVER_CLOSED (after `close()`)
   */
  start(): Promise<void> {
    if (this.#closing) return Promise.reject(closed())
    const refused = overridden.startRefused()
    if (refused !== undefined) return Promise.reject(refused)
    this.#starting ??= this.#start()
    return this.#starting
  }

  async #start(): Promise<void> {
    // Longer than any wait; its only use is to hold the event loop.
    this.#keepAlive = setInterval(() => {}, 2 ** 31 - 1)
    running.add(this)
    this.#isComingUp = true
    this.#move('starting')
    for (const service of this.#services) Service.hosted(service, 'starting')
    try {
      const { native, numbers } = await this.#wire()
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
      if (this.#upgrade.upgradeSocket !== '')
        void native.handedOver().then((isOver) => {
          if (isOver) void this.close()
        })
      this.#unwatch = loopDelay.watch()
      this.#isComingUp = false
      this.#move('running')
    } catch (error) {
      this.#isComingUp = false
      await this.#release(0)
      for (const service of this.#services) Service.hosted(service, 'planned')
      this.#starting = undefined
      this.#native = undefined
      this.#move('new')
      throw error
    }
  }

  /** All up to where it could start: what it takes of modules, and the addon's side of it. */
  async #wire(): Promise<{ native: NativeServer; numbers: readonly number[] }> {
    this.#id = ++servers
    const environment = theEnvironment()
    this.#isWired = true
    const preparing = this.#prepare()
    try {
      if (preparing.length > 0) await allOf(preparing)
    } catch (error) {
      // What was given up has failed because of that.
      throw this.#closing ? closed() : error
    }
    if (this.#closing) throw closed()
    const native = new NativeServer(environment.native, {
      serverId: this.#id,
      graceMs: this.#graceMs,
      logLevel: this.#logLevel,
      logsDependencies: this.#logsDependencies,
      ...this.#upgrade,
      batchJsThread: this.#batchJsThread,
    })
    this.#native = native
    environment.crossing.logs.add(this.#id, this.#log)
    environment.crossing.services.add(this.#id, (event) => this.#told(native, event))
    const numbers = this.#services.map((service) => {
      const number = service.addTo({ native, environment, log: this.#log, numberOf })
      for (const endpoint of service.endpoints) {
        const { asked, options, tls, check } = endpoint
        Endpoint.logsTo(endpoint, this.#log)
        native.addEndpoint(number, asked, options, tls?.native, check?.native)
      }
      return number
    })
    this.#connect(native)
    return { native, numbers }
  }

  /**
   * @internal Whether it could start: its modules are loaded, its services and what they depend on are looked
   * at; nothing is bound, and no service begins. It is not to be started afterwards.
   *
   * @throws UsageError as `start()` does, but for what only the start can tell (rejects)
   */
  static async check(server: Server): Promise<void> {
    // Threads that load a module hold nothing.
    server.#keepAlive = setInterval(() => {}, 2 ** 31 - 1)
    try {
      const { native } = await server.#wire()
      const { code, message } = native.check()
      if (code !== undefined) throw new UsageError(code as UsageCode, message ?? code)
    } finally {
      await server.#release(0)
    }
  }

  /** What some services have to do first. */
  #prepare(): Promise<void>[] {
    return this.#services.flatMap((one) => one.prepare(this.#log, this.#batchJsThread) ?? [])
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
    const failed = (error: unknown) => this.#log.error(`a listener of '${event}' failed: ${describe(error)}`)
    // One by one, so that the others hear of it where one of them throws.
    for (const listener of (this as EventEmitter).rawListeners(event)) {
      try {
        const promise: unknown = Reflect.apply(listener, this, given)
        if (isThenable(promise))
          whenSettled(promise as object, (isFailure, error) => isFailure && failed(error), failed)
      } catch (error) {
        failed(error)
      }
    }
  }

  /**
   * After `delayMs` (default: 0), in which it serves as ever: stops accepting, lets requests end for
   * `graceMs` (default: the server's), and cuts off the rest. Resolves when all has ended, which is
   * when the last request has, and its `logging` has settled within the grace. It may be called several times, also at once: the shorter times win,
   * and all get the same report. A start that goes on is given up, without a delay; what is up by then has
   * the same grace.
   *
   * @throws UsageError INVALID_OPTIONS (rejects)
   */
  async close(options: { graceMs?: number; delayMs?: number } = {}): Promise<CloseReport> {
    const given = isObject(options) ? { graceMs: this.#graceMs, ...dropAbsent(options) } : options
    const { graceMs, delayMs } = checkOptions('close', closeRules, given)
    this.#closing = true
    // Also where it is called again: this grace may be shorter.
    if (this.#isComingUp) {
      for (const service of this.#services) service.giveUp()
      this.#native?.giveUpStart(graceMs)
    }
    this.#farewell.within(delayMs, graceMs)
    this.#move('closing')
    // With a delay it serves as ever until the addon says no.
    if (delayMs === 0) for (const service of this.#services) Service.hosted(service, 'over')
    await this.#starting?.catch(() => undefined)
    if (this.#native === undefined || this.#isStopped) this.#stop(nothing)
    else this.#stop(await this.#native.close(graceMs, delayMs))
    return this.#stopped
  }

  #stop(report: CloseReport): void {
    if (this.#isStopped) return
    this.#isStopped = true
    for (const service of this.#services) Service.hosted(service, 'over')
    this.#farewell.begin()
    void this.#release(LAST_WORDS_MS).then(() => {
      this.#farewell.end()
      this.#resolveStopped(report)
      this.#move('closed')
    })
  }

  async #release(afterMs: number): Promise<void> {
    this.#unwatch()
    this.#unwatch = () => {}
    clearTimeout(this.#quitting)
    running.delete(this)
    if (this.#isWired) {
      this.#isWired = false
      const environment = theEnvironment()
      const { logs, services } = environment.crossing
      services.retire(this.#id)
      const leave = { afterMs, farewell: this.#farewell }
      await Promise.all(this.#services.map((service) => service.stopped(environment, leave)))
      logs.retire(this.#id, afterMs)
    }
    clearInterval(this.#keepAlive)
  }

  /**
   * Starts (unless started), and stops at a signal: at SIGTERM and SIGQUIT after `shutdownDelayMs`
   * and with the server's grace; at SIGINT, and at a second signal, at once. With `upgradeSocket`,
   * SIGQUIT waits for another process to take over. Where systemd has set `NOTIFY_SOCKET` it is told
   * when the server is ready and when it stops. Resolves when stopped, also by `close()` or
   * because another process has taken over; also where a signal has ended the start.
   *
   * @throws as `start()` does (rejects); UsageError SERVICE_FAILED when it has stopped as a service failed (rejects)
   */
  async run(): Promise<void> {
    const refused = overridden.runRefused()
    if (refused !== undefined) throw refused
    let isAsked = false
    const stop = (how: { graceMs?: number; delayMs?: number }) => {
      isAsked = true
      tellManager('STOPPING=1', this.#log)
      void this.close(how)
    }
    const forget = onSignals({
      graceful: () => stop({ delayMs: this.#shutdownDelayMs }),
      fast: () => stop({ graceMs: 0 }),
      ...(this.#upgrade.upgradeSocket !== '' && { quit: () => this.#awaitSuccessor() }),
    })
    try {
      await this.start().catch((error) => {
        // A signal has ended the start.
        if (!isAsked || error.code !== 'SERVER_CLOSED') throw error
      })
      if (!this.#closing) {
        // Known as the main process from now on, whichever one the service manager has started.
        const isNew = this.#native?.hasSucceeded() ?? false
        tellManager(isNew ? `MAINPID=${process.pid}\nREADY=1` : 'READY=1', this.#log)
      }
      await this.#stopped
      if (this.#failure !== undefined) throw this.#failure
    } finally {
      forget()
    }
  }

  /** It can be taken over from all the time: this only tells what becomes of it. */
  #awaitSuccessor(): void {
    const { upgradeSocket, upgradeTimeoutMs } = this.#upgrade
    if (this.#closing || this.#quitting !== undefined) return
    this.#log.warn(`SIGQUIT: for ${upgradeTimeoutMs} ms a new process is awaited at ${upgradeSocket}`)
    this.#quitting = setTimeout(() => {
      this.#quitting = undefined
      if (!this.#closing) this.#log.warn(`no new process came to ${upgradeSocket}: going on as ever`)
    }, upgradeTimeoutMs)
    this.#quitting.unref()
  }

  /** What it has done so far and does now: a snapshot, cheap enough to be taken every second. */
  stats(): ServerStats {
    const { crossing, native } = theEnvironment()
    const { queued, slots, batches, items, late, droppedRecords, unlogged } = native.stats()
    const javascript = {
      queued,
      sessions: slots,
      crossings: batches,
      items,
      late: late + crossing.late,
      droppedLogs: droppedRecords + droppedByThreads(),
      unlogged,
      loopDelayMs: loopDelay.read(),
    }
    const told = this.#native?.stats() ?? this.#services.map((service) => Service.noStats(service))
    const of = (at: number) => {
      const service = this.#services[at]
      const threads = service?.threadStats()
      return { state: service?.state ?? 'new', ...(threads && { threads }) }
    }
    return serverStats(told, of, javascript)
  }

  /** `close({ graceMs: 0 })`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close({ graceMs: 0 })
  }
}

function isObject(options: unknown): options is object {
  return typeof options === 'object' && options !== null
}

function dropAbsent(options: object): object {
  return Object.fromEntries(Object.entries(options).filter(([, given]) => given !== undefined))
}

/** All come to an end, so that each can be stopped, before the first failure is told. */
async function allOf(promises: readonly Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(promises)).find(({ status }) => status === 'rejected')
  if (failed !== undefined) throw (failed as PromiseRejectedResult).reason
}

function closed(): UsageError {
  return new UsageError('SERVER_CLOSED', 'the server is closed: make a new one')
}
