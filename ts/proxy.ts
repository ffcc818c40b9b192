import { type Composition, composed } from './composition.js'
import type { Environment } from './crossing/environment.js'
import { lastWords, unsettled } from './crossing/last-words.js'
import type { ProxyEntry } from './crossing/state.js'
import { type DownstreamOptions, downstreamRules, nativeDownstream } from './downstream.js'
import { entryOf, nextEntry } from './entry.js'
import { invalidOptions, type OptionProblem, UsageError } from './errors.js'
import { type ForwardingOptions, forwardingRules, nativeForwarding } from './forwarding.js'
import { type AnyLog, serviceLog } from './logger.js'
import type { NativePhases, NativeProxyOptions, NativeRoute } from './native.js'
import {
  type Checked,
  checkInto,
  checkOptions,
  each,
  flag,
  integer,
  ms,
  oneOf,
  type Rule,
  serviceName,
  settings,
} from './options.js'
import { overridden } from './overrides.js'
import { HttpPeer } from './peer.js'
import type { AnyPart, AnyPhases } from './phases.js'
import { hasPeer, isOpen, phasesOfRoutes, type Route, routesRule, type Way, waysOf } from './routes/routes.js'
import { type RouteValues, valueRules } from './routes/values.js'
import { type Host, type Leave, Service } from './service.js'
import type { ThreadStats } from './stats.js'
import { Crew, onTopOf, type ThreadCounts } from './threads/crew.js'
import type { WayRecipe } from './threads/messages.js'
import { UNKNOWN } from './threads/phases.js'

/** How a proxy runs and what it allows. Times are in milliseconds; 0 is off. */
export interface HttpProxyOptions extends DownstreamOptions, RouteValues {
  /** For the names of its threads and for the log. Default: `proxy`. */
  name?: string
  /** For one try. Default: 0, off. */
  tryTimeoutMs?: number
  /**
   * In how many threads a module runs whose phases these are, 1–256: `new HttpProxy(new URL('./gateway.js',
   * import.meta.url), { jsThreads: 4 })`. Not with phases that are given as an object. Default: 1.
   */
  jsThreads?: number
  /**
   * How long the event loop of such a thread may be blocked until the thread is replaced. 0 = for ever, for
   * debuggers. Default: 10,000.
   */
  jsBlockedTimeoutMs?: number
  /** How many extra tries a request may take. Default: 3. */
  maxRetries?: number
  /** Idle connections kept to all origins. Default: 1,024. */
  upstreamKeepalivePoolSize?: number
  /**
   * Protocols that a client may change its connection to, in lower case; a request for another is
   * served as if it had not asked. `[]` = none. Default: `['websocket']`.
   */
  upgrades?: string[]
  /**
   * Whether clients may ask for a tunnel (CONNECT). It leads to the peer that `upstreamPeer` chooses,
   * never by itself to where the client wants to go. Off, CONNECT is a 405. Default: false.
   */
  connect?: boolean
  /** How long neither side of a tunnel may send anything; 0 = off. Default: 600,000. */
  tunnelIdleTimeoutMs?: number
  /**
   * What becomes of some requests: the first route that is for a request holds. The values on the proxy
   * itself hold for requests that are on none, but headers are changed for all. Default: none.
   */
  routes?: readonly Route[]
  /**
   * Whether a path in which a slash or a backslash is percent-encoded is refused with 400, or kept as
   * it is, as a part of its segment. Counts where something compares or changes paths. Default: `refuse`.
   */
  encodedSlashes?: 'refuse' | 'keep'
  /** What origins are told of who a request comes from, and which proxies are believed. Default: as each says. */
  forwarding?: ForwardingOptions
  /** How deep subrequests through the phases may go, one made for the other; 0 = there are none. Default: 4. */
  maxSubrequestDepth?: number
  /** Whether `responseFilter` also runs on answers of one's own. Default: false. */
  filterOwnResponses?: boolean
}

/** How long the event loop of a thread may be blocked. */
const BLOCKED_MS = 10_000

/** @internal The rules of {@link HttpProxyOptions}. */
export const proxyRules = {
  ...downstreamRules,
  name: serviceName('proxy'),
  tryTimeoutMs: ms(0),
  jsThreads: integer<number | undefined>(undefined, 1, 256),
  jsBlockedTimeoutMs: blockedTimeout(undefined),
  maxRetries: integer(3, 0, 1_000),
  upstreamKeepalivePoolSize: integer(1_024, 0, 1_048_576),
  upgrades: each<string[]>(['websocket'], 'a protocol in lower case, not h2c', isUpgrade),
  connect: flag(false),
  tunnelIdleTimeoutMs: ms(600_000),
  routes: routesRule(undefined),
  encodedSlashes: oneOf<'refuse' | 'keep', 'refuse'>('refuse', ['refuse', 'keep']),
  forwarding: settings(forwardingRules),
  filterOwnResponses: flag(false),
  maxSubrequestDepth: integer(4, 0, 64),
  ...valueRules,
}

/** Its default is filled in later, as it may not be given without a module. */
function blockedTimeout(fallback: undefined): Rule<number | undefined> {
  const plain = ms<number | undefined>(fallback, 'for ever')
  return { ...plain, schema: { ...plain.schema, default: BLOCKED_MS } }
}

/** A protocol by its name; HTTP/2 is none that this proxy could pass on blindly. */
function isUpgrade(name: string): boolean {
  const isProtocol = /^[!#$%&'*+\-.^_`|~0-9a-z]+(?:\/[!#$%&'*+\-.^_`|~0-9a-z]+)?$/.test(name)
  return isProtocol && !/^(?:h2c|http\/.*|tls\/.*)$/.test(name)
}

/** Values that say what becomes of requests, with no phase that does. */
export type ActingOptions =
  | Required<Pick<HttpProxyOptions, 'routes'>>
  | Required<Pick<RouteValues, 'respond'>>
  | Required<Pick<RouteValues, 'redirect'>>

const reloadRules = { graceMs: ms(30_000, 'at once') }

/** A set of phases for some requests; those of several ways may be the same. */
interface Wired extends Way {
  readonly entry: ProxyEntry
}

/** A service that proxies HTTP, to clients and origins of HTTP/1.1 and HTTP/2, with the phases it is given. */
export class HttpProxy extends Service {
  readonly #module: URL | undefined
  readonly #checked: Checked<typeof proxyRules>
  readonly #waysWith: (own: Composition, problems: OptionProblem[]) => Way[]
  /** The phases of each route, and at the end those of all other requests. */
  #ways: readonly Wired[]
  #crew: Crew | undefined
  /** Threads before those, which still have requests. */
  readonly #leaving = new Set<Crew>()
  /** What threads that have left have counted, in each place. */
  #counted: readonly ThreadCounts[] = []
  /** Phases in this thread that may still have requests, those before them too. */
  readonly #entries = new Set<ProxyEntry>()
  #givenUp = new AbortController()
  #batch = false
  #running: { host: Host; number: number } | undefined
  #isStopped = false
  #reloading: Promise<unknown> = Promise.resolve()
  /** @internal For the server; the routes are filled in there. */
  readonly native: NativeProxyOptions

  /**
   * @param phases an object of a class or a bag of functions, or several of them; which phases they
   * have is read now. Of several, the phases on the way in (`earlyRequestFilter` to `upstreamPeer`,
   * `connectedToUpstream`, `upstreamRequestFilter`, `requestBodyFilter`) run in order, all others in
   * reverse; see `docs/composition.md`.
   * @throws UsageError INVALID_OPTIONS, also for a misspelt phase
   */
  constructor(phases: AnyPhases | readonly AnyPart[], options?: HttpProxyOptions)
  /**
   * With the phases of a module, which run in threads of its own.
   *
   * @param module a module whose default export is the phases, or a function or a class that makes them. It is
   * loaded when the server starts, in `jsThreads` threads of its own; see `docs/threads.md`.
   */
  constructor(module: URL, options?: HttpProxyOptions)
  /** Without `upstreamPeer` where values say what becomes of requests; any other gets a 404. */
  constructor(phases: AnyPart, options: HttpProxyOptions & ActingOptions)
  constructor(phases: AnyPhases | AnyPart | readonly AnyPart[] | URL, given: HttpProxyOptions = {}) {
    super()
    const options = overridden.proxy(given)
    const problems: OptionProblem[] = []
    const checked = checkInto(proxyRules, options, problems)
    const { requestHeaders, responseHeaders, redirect, rewrite, respond, routes } = checked
    const values = { requestHeaders, responseHeaders, redirect, rewrite, respond, routes }
    const keepsEncodedSlashes = checked.encodedSlashes === 'keep'
    this.#module = phases instanceof URL ? phases : undefined
    this.#checked = checked
    const own = this.#module === undefined ? composed(phases as AnyPart, problems, !isOpen(values)) : UNKNOWN
    checkThreads(phases, options, problems)
    const ofRoutes = this.#module === undefined ? phasesOfRoutes(values, problems) : []
    this.#waysWith = (composition, problems) =>
      waysOf(values, composition, ofRoutes, keepsEncodedSlashes, options, problems)
    const ways = this.#waysWith(own, problems)
    if (problems.length > 0) throw overridden.refusal('HttpProxy', problems, options)
    this.#ways = this.#wire(ways)
    this.native = {
      ...nativeOptions(checked),
      keepsEncodedSlashes,
      routes: [],
      fallback: ways.at(-1)!.native,
      jsThreads: [],
    }
  }

  #wire(ways: readonly Way[]): Wired[] {
    const entry = (way: Way) => entryOf(nextEntry(), way.composition, way.peer, this.#checked)
    const last = ways.at(-1)!
    const own = entry(last)
    return ways.map((way) => ({ ...way, entry: way === last || way.same ? own : entry(way) }))
  }

  /** @internal The phases of requests that are on no route. */
  get entry(): ProxyEntry {
    return this.#ways.at(-1)!.entry
  }

  /** @internal The module that a service has its phases from; undefined for any other. */
  static moduleOf(service: Service): URL | undefined {
    return #module in service ? service.#module : undefined
  }

  /** The service's name. */
  override get name(): string {
    return this.native.name
  }

  /**
   * Gives requests that begin from now on other phases, which are checked as in the constructor; those under way
   * finish with the phases they began with. Which phases there are may change. The proxy's options and routes
   * stay as they are, with the phases that routes have of their own. See `docs/threads.md`.
   *
   * @throws UsageError INVALID_OPTIONS (nothing has changed), SERVER_CLOSED
   */
  replace(phases: AnyPhases | AnyPart | readonly AnyPart[]): void {
    const problems: OptionProblem[] = []
    if (this.#module !== undefined) {
      const allowed = 'nothing, as the phases are those of a module: reload() loads it anew'
      throw invalidOptions('replace', [{ path: 'phases', found: phases, allowed }])
    }
    if (phases instanceof URL) {
      const allowed = `phases: those of a module are for a proxy that is made with it, new HttpProxy(${EXAMPLE})`
      throw invalidOptions('replace', [{ path: 'phases', found: phases.href, allowed }])
    }
    if (this.#isStopped) throw stopped()
    const own = composed(phases, problems, !isOpen(this.#checked))
    const ways = problems.length > 0 ? [] : this.#waysWith(own, problems)
    if (problems.length > 0) throw invalidOptions('replace', problems)
    this.#ways = this.#wire(ways)
    this.#install()
  }

  /**
   * Loads the module anew in fresh threads, checks it, and gives them the requests that begin from then on. The
   * threads before end when their last request or WebSocket has, after `graceMs` (default: 30,000) at the
   * latest. What fails changes nothing. Calls at the same time follow one another. See `docs/threads.md`.
   *
   * @throws UsageError MODULE_FAILED, INVALID_OPTIONS, NOT_STARTED, SERVER_CLOSED (rejects)
   */
  reload(options: { graceMs?: number } = {}): Promise<void> {
    const reloaded = this.#reloading.then(() => this.#reload(options))
    this.#reloading = reloaded.catch(() => undefined)
    return reloaded
  }

  async #reload(options: { graceMs?: number }): Promise<void> {
    const { graceMs } = checkOptions('reload', reloadRules, options)
    if (this.#module === undefined) {
      const allowed = `a module: new HttpProxy(${EXAMPLE}); phases that are given as an object are replaced by replace()`
      throw invalidOptions('reload', [{ path: 'phases', found: this.entry.phases, allowed }])
    }
    if (this.#isStopped) throw stopped()
    const { host } = this.#running ?? {}
    if (host === undefined) throw new UsageError('NOT_STARTED', 'the server of the proxy has not started')
    const crew = await this.#load(host.log).catch((error) => {
      throw this.#isStopped ? stopped() : error
    })
    const before = this.#crew
    // It may have stopped meanwhile.
    if (this.#isStopped) {
      await crew.end(0)
      throw stopped()
    }
    this.#crew = crew
    this.#install()
    this.#keep()
    if (before === undefined) return
    this.#leaving.add(before)
    void before.end(graceMs).then(() => {
      this.#leaving.delete(before)
      this.#counted = onTop([this.#counted, before.stats()])
    })
  }

  /** Loads the module in fresh threads, up to where they could take requests. */
  async #load(log: AnyLog): Promise<Crew> {
    const crew = await Crew.load({
      module: this.#module!,
      count: this.#checked.jsThreads ?? 1,
      blockedMs: this.#checked.jsBlockedTimeoutMs ?? BLOCKED_MS,
      batch: this.#batch,
      log,
      givenUp: this.#givenUp.signal,
    })
    try {
      const problems: OptionProblem[] = []
      const { composition } = crew
      const ways = this.#waysWith(composition, problems)
      if (!isOpen(this.#checked) && !hasPeer(composition))
        problems.push({ path: 'upstreamPeer', found: undefined, allowed: 'an HttpPeer or a function' })
      if (problems.length > 0) throw invalidOptions(`the module ${this.#module!.pathname}`, problems)
      const wired = this.#wire(ways)
      await crew.serve(wired.map((way) => wayRecipe(way, composition, this.#checked)))
      this.#ways = wired
      return crew
    } catch (error) {
      await crew.end(0)
      throw error
    }
  }

  /** Has threads that end replaced. */
  #keep(): void {
    const crew = this.#crew
    crew?.keep((at, thread) => {
      if (this.#running === undefined || this.#crew !== crew) return
      const { host, number } = this.#running
      host.native.replaceThread(number, at, { ...this.#plan(host), jsThreads: [thread] })
    })
  }

  /** Gives new requests the phases of now, if the server runs. */
  #install(): void {
    if (this.#running === undefined) return
    const { host, number } = this.#running
    host.native.replacePhases(host.environment.native, number, this.#plan(host))
  }

  /** @internal */
  protected override readonly speaks = 'h2'

  /** @internal */
  override prepare(log: AnyLog, batch: boolean): Promise<void> | void {
    this.#batch = batch
    this.#isStopped = false
    this.#givenUp = new AbortController()
    if (this.#module === undefined) return undefined
    return this.#load(log).then((crew) => {
      this.#crew = crew
    })
  }

  /** @internal */
  override giveUp(): void {
    this.#givenUp.abort()
  }

  /** @internal */
  override addTo(host: Host): number {
    const number = host.native.addProxy(host.environment.native, this.wired(host))
    this.#running = { host, number }
    this.#keep()
    return number
  }

  /**
   * @internal What the addon makes it of; its phases are known to the crossing from then on. `changed` gives
   * others in their place, for tests.
   */
  wired(
    host: Pick<Host, 'environment' | 'log' | 'numberOf'>,
    changed?: (entry: ProxyEntry, composition: Composition) => ProxyEntry,
  ): NativeProxyOptions {
    if (changed !== undefined && this.#module !== undefined) {
      const allowed = 'phases: import the module, and give what it exports'
      throw invalidOptions('inject', [{ path: 'gateway', found: this.#module, allowed }])
    }
    return { ...this.native, ...this.#plan(host, changed) }
  }

  #plan(
    { environment, log, numberOf }: Pick<Host, 'environment' | 'log' | 'numberOf'>,
    changed: (entry: ProxyEntry, composition: Composition) => ProxyEntry = (entry) => entry,
  ): NativePhases {
    const ownLog = serviceLog(log, this.name)
    const { proxies } = environment.crossing
    for (const entry of this.#entries)
      if (entry.sessions === 0 && !proxies.has(entry.id)) this.#entries.delete(entry)
    const { entry: last, composition: own } = this.#ways.at(-1)!
    const lastWired = changed(last, own)
    const routes = this.#ways.map(({ entry, composition, native }): NativeRoute => {
      const wired = entry === last ? lastWired : changed(entry, composition)
      wired.log = ownLog
      if (this.#module === undefined) {
        proxies.add(wired)
        this.#entries.add(wired)
      }
      const { fixedPeer } = wired
      const peer = fixedPeer === undefined ? 0 : numberOf(fixedPeer)
      return { ...native, proxyId: wired.id, peer }
    })
    const fallback = routes.pop()!
    const { keepsEncodedSlashes } = this.native
    return { routes, fallback, keepsEncodedSlashes, jsThreads: this.#crew?.numbers ?? [] }
  }

  /** @internal */
  override threadStats(): ThreadStats[] | undefined {
    const crew = this.#crew
    return crew && onTop([this.#counted, ...[...this.#leaving].map((one) => one.stats()), crew.stats()])
  }

  /** @internal */
  override async stopped(environment: Environment, { afterMs, farewell }: Leave): Promise<void> {
    this.#isStopped = true
    const log = this.#running?.host.log
    this.#running = undefined
    // What a reload is loading is for nobody any more.
    this.#givenUp.abort()
    const { proxies } = environment.crossing
    for (const { entry } of this.#ways) proxies.retire(entry, afterMs)
    const crew = this.#crew
    this.#crew = undefined
    if (afterMs === 0) {
      // A server that has not come up has had no requests.
      await crew?.end(0)
      return
    }
    const crews = [...this.#leaving, ...(crew === undefined ? [] : [crew])]
    const own = this.#module === undefined ? lastWords(environment, this.#entries, farewell) : 0
    const left = await Promise.all([own, ...crews.map((one) => one.leave(farewell))])
    this.#entries.clear()
    const count = left.reduce((sum, one) => sum + one, 0)
    if (count > 0) log?.warn(unsettled(count), { service: this.name })
  }
}

/** The figures of the last ones, their counts on top of those before them, place by place. */
function onTop<T extends ThreadCounts>(all: [...(readonly ThreadCounts[])[], readonly T[]]): T[] {
  const [last, ...before] = all.toReversed() as [readonly T[], ...(readonly ThreadCounts[])[]]
  return last.map((now, at) => before.reduce<T>((sum, counts) => onTopOf(counts[at], sum), now))
}

const EXAMPLE = "new URL('./gateway.js', import.meta.url), { jsThreads: 4 }"

/** Adds to `problems` what does not go with a module, or without one. */
function checkThreads(phases: unknown, options: HttpProxyOptions, problems: OptionProblem[]): void {
  if (!(phases instanceof URL)) {
    for (const path of ['jsThreads', 'jsBlockedTimeoutMs'] as const) {
      const found = options?.[path]
      const allowed = `nothing with phases that are given as an object, only with a module: new HttpProxy(${EXAMPLE})`
      if (found !== undefined && !problems.some((known) => known.path === path))
        problems.push({ path, found, allowed })
    }
    return
  }
  if (phases.protocol !== 'file:' && phases.protocol !== 'data:')
    problems.push({ path: 'module', found: phases.href, allowed: 'a URL of a file: or of data:' })
  const routes = Array.isArray(options?.routes) ? options.routes : []
  for (const [at, route] of routes.entries()) {
    const path = `routes[${at}]`
    const inThread = 'nothing with a module, as the phases of routes cannot go to its threads'
    if (route?.phases !== undefined)
      problems.push({ path: `${path}.phases`, found: route.phases, allowed: inThread })
    const peer = route?.upstreamPeer
    if (!(peer instanceof HttpPeer)) continue
    try {
      structuredClone(HttpPeer.recipe(peer))
    } catch {
      const allowed = 'a peer whose options can be cloned, to go to other threads'
      problems.push({ path: `${path}.upstreamPeer`, found: peer, allowed })
    }
  }
}

function wayRecipe(
  { entry, peer }: Wired,
  { fixedPeer }: Composition,
  { callbackTimeoutMs, maxSubrequestDepth }: Checked<typeof proxyRules>,
): WayRecipe {
  const recipe = peer === undefined ? undefined : peer === fixedPeer ? 'own' : HttpPeer.recipe(peer)
  return { id: entry.id, peer: recipe, callbackTimeoutMs, maxSubrequestDepth }
}

/** The options as the addon takes them, but for what belongs to phases. */
function nativeOptions(checked: Checked<typeof proxyRules>) {
  const { requestHeaders, responseHeaders, redirect, rewrite, respond, routes, ...rest } = checked
  const { jsThreads, jsBlockedTimeoutMs, ...plain } = rest
  return {
    ...nativeDownstream(plain),
    upgrades: [...checked.upgrades],
    forwarding: nativeForwarding(checked.forwarding),
    sourceTimeoutMs: checked.callbackTimeoutMs,
  }
}

function stopped(): UsageError {
  return new UsageError('SERVER_CLOSED', 'the server of the proxy has stopped')
}
