import { availableParallelism } from 'node:os'
import type { Composition } from './composition.js'
import type { Crossing } from './crossing/crossing.js'
import type { ProxyEntry } from './crossing/state.js'
import { type DownstreamOptions, downstreamRules, nativeCpus } from './downstream.js'
import { invalidOptions, type OptionProblem } from './errors.js'
import { type ForwardingOptions, forwardingRules, nativeForwarding } from './forwarding.js'
import { makeLog } from './logger.js'
import type { NativeProxyOptions, NativeRoute } from './native.js'
import { checkInto, each, flag, integer, ms, oneOf, serviceName, settings } from './options.js'
import { type AnyPart, type AnyPhases, Phase } from './phases.js'
import { type Route, routesRule, type Way, waysOf } from './routes/routes.js'
import { type RouteValues, valueRules } from './routes/values.js'
import { type Host, Service } from './service.js'

/** How a proxy runs and what it allows. Times are in milliseconds; 0 is off. */
export interface HttpProxyOptions extends DownstreamOptions, RouteValues {
  /** For the names of its threads and for the log. Default: `proxy`. */
  name?: string
  /** For one try. Default: 0, off. */
  tryTimeoutMs?: number
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

const proxyRules = {
  ...downstreamRules,
  name: serviceName('proxy'),
  tryTimeoutMs: ms(0),
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

let proxies = 0

/** Of a proxy of several parts, which each have their own. */
const NONE: unknown = Object.freeze({})

function entryOf(
  { composition, peer }: Way,
  {
    callbackTimeoutMs,
    maxSubrequestDepth,
  }: Pick<Required<HttpProxyOptions>, 'callbackTimeoutMs' | 'maxSubrequestDepth'>,
): ProxyEntry {
  const { mask, single, scopes } = composition
  const isPlain = single !== undefined && scopes.length === 0
  return {
    id: ++proxies,
    phases: single ?? (NONE as AnyPhases),
    hasNewCtx: !isPlain || (mask & (1 << Phase.newCtx)) !== 0,
    composition: isPlain ? undefined : composition,
    fixedPeer: peer,
    callbackTimeoutMs,
    maxSubrequestDepth,
    detached: 0,
    log: makeLog(false),
    sessions: 0,
  }
}

/** A service that proxies HTTP, to clients and origins of HTTP/1.1 and HTTP/2, with the phases it is given. */
export class HttpProxy extends Service {
  /** @internal For the server. */
  readonly entry: ProxyEntry
  /** The phases of each route, and at the end those of all other requests. */
  readonly #ways: readonly (Way & { entry: ProxyEntry | undefined })[]
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
  /** Without `upstreamPeer` where values say what becomes of requests; any other gets a 404. */
  constructor(phases: AnyPart, options: HttpProxyOptions & ActingOptions)
  constructor(phases: AnyPhases | AnyPart | readonly AnyPart[], options: HttpProxyOptions = {}) {
    super()
    const problems: OptionProblem[] = []
    const checked = checkInto(proxyRules, options, problems)
    const { requestHeaders, responseHeaders, redirect, rewrite, respond, routes, cpus, ...rest } = checked
    const values = { requestHeaders, responseHeaders, redirect, rewrite, respond, routes }
    const keepsEncodedSlashes = checked.encodedSlashes === 'keep'
    const ways = waysOf(values, phases, keepsEncodedSlashes, options, problems)
    if (problems.length > 0) throw invalidOptions('HttpProxy', problems)
    this.#ways = ways.map((way) => ({
      ...way,
      entry: way.same ? undefined : entryOf(way, checked),
    }))
    this.entry = this.#ways.at(-1)!.entry!
    this.native = {
      ...rest,
      upgrades: [...checked.upgrades],
      ...nativeCpus(cpus),
      forwarding: nativeForwarding(checked.forwarding),
      threads: checked.threads ?? availableParallelism(),
      maxRequestBodyBytes: checked.maxRequestBodyBytes ?? -1,
      sourceTimeoutMs: checked.callbackTimeoutMs,
      keepsEncodedSlashes,
      routes: [],
      fallback: ways.at(-1)!.native,
    }
  }

  /** The service's name. */
  override get name(): string {
    return this.native.name
  }

  /** @internal */
  protected override readonly speaksH2 = true

  /** @internal */
  override addTo(host: Host): number {
    return host.native.addProxy(host.environment.native, this.wired(host))
  }

  /**
   * @internal What the addon makes it of; its phases are known to the crossing from then on. `changed` gives
   * others in their place, for tests.
   */
  wired(
    { environment, log, numberOf }: Pick<Host, 'environment' | 'log' | 'numberOf'>,
    changed: (entry: ProxyEntry, composition: Composition) => ProxyEntry = (entry) => entry,
  ): NativeProxyOptions {
    const own = changed(this.entry, this.#ways.at(-1)!.composition)
    const routes = this.#ways.map(({ entry, composition, native }): NativeRoute => {
      const wired = entry === undefined || entry === this.entry ? own : changed(entry, composition)
      wired.log = log
      environment.crossing.addProxy(wired)
      const { fixedPeer } = wired
      const peer = fixedPeer === undefined ? 0 : numberOf(fixedPeer)
      return { ...native, proxyId: wired.id, peer }
    })
    const fallback = routes.pop()!
    return { ...this.native, routes, fallback }
  }

  /** @internal The number of another set of phases. */
  static nextId(): number {
    return ++proxies
  }

  /** @internal */
  override stopped(crossing: Crossing, afterMs: number): void {
    for (const { entry } of this.#ways) if (entry !== undefined) crossing.retireProxy(entry, afterMs)
  }
}
