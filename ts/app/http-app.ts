import type { Answer } from '../answer.js'
import type { Environment } from '../crossing/environment.js'
import type { ProxyEntry } from '../crossing/state.js'
import { type DownstreamOptions, downstreamRules, nativeDownstream } from '../downstream.js'
import { nextEntry, plainEntry } from '../entry.js'
import type { OptionProblem } from '../errors.js'
import { forwardingRules, nativeForwarding } from '../forwarding.js'
import { serviceLog } from '../logger.js'
import type { NativeProxyOptions } from '../native.js'
import { type Checked, checkInto, ms, serviceName } from '../options.js'
import { overridden } from '../overrides.js'
import { type AnyPhases, type Awaitable, HANDLER } from '../phases.js'
import { nativeMatch } from '../routes/match.js'
import { type Host, type Leave, Service } from '../service.js'
import { LiveSession } from '../session.js'
import { type HandlerInfo, LiveInfo } from './info.js'
import { prepareRequests, requestOf } from './request.js'

/**
 * What serves the requests of an app: it gets each as a web-standard `Request`, whose body streams, and
 * gives a `Response`, whose body may stream, or another answer. It has `callbackTimeoutMs` to settle. What it
 * throws, or gives that is no answer, ends its request with a 500 and a line in the log, and no other.
 */
export type Handler = (request: Request, info: HandlerInfo) => Awaitable<Answer>

/** How an app runs and what it allows. Times are in milliseconds; 0 is off. */
export interface HttpAppOptions extends DownstreamOptions {
  /** For the names of its threads and for the log. Default: `app`. */
  name?: string
  /**
   * Proxies in front of this app, whose word on their own clients is taken: addresses, networks
   * (`10.0.0.0/8`, `fd00::/8`), and the names `loopback`, `private`,
   * `linklocal` and `unix`. Default: `[]`.
   */
  trustedProxies?: readonly string[]
  /** The field in which they name their clients. Default: `x-forwarded-for`. */
  trustedField?: 'x-forwarded-for' | 'forwarded'
  /** Between two pieces of a response's body that the handler makes. Default: 0, off. */
  sourceTimeoutMs?: number
}

/** @internal The rules of {@link HttpAppOptions}. */
export const httpAppRules = {
  ...downstreamRules,
  name: serviceName('app'),
  trustedProxies: forwardingRules.trustedProxies,
  trustedField: forwardingRules.trustedField,
  sourceTimeoutMs: ms(0),
}

/**
 * A service that answers requests of HTTP by a function, over HTTP/1.1 and HTTP/2: `new HttpApp(handler)`, or an
 * object with a function `fetch`, as web frameworks have it: `new HttpApp(app)`, `new HttpApp(app.fetch)`.
 */
export class HttpApp extends Service {
  readonly #entry: ProxyEntry
  readonly #native: NativeProxyOptions

  /** @throws UsageError INVALID_OPTIONS */
  constructor(handler: Handler | { fetch: Handler }, options: HttpAppOptions = {}) {
    super()
    const problems: OptionProblem[] = []
    const given = overridden.service(options, 'app')
    const checked = checkInto(httpAppRules, given, problems)
    const call = callOf(handler, problems)
    if (problems.length > 0) throw overridden.refusal('HttpApp', problems, given)
    prepareRequests()
    this.#entry = handlerEntry(call, checked.callbackTimeoutMs)
    this.#native = nativeOf(checked, this.#entry.id)
  }

  /** The service's name. */
  override get name(): string {
    return this.#native.name
  }

  /** @internal */
  protected override readonly speaks = 'h2'

  /** @internal */
  override addTo({ native, environment, log }: Host): number {
    this.#entry.log = serviceLog(log, this.name)
    environment.crossing.proxies.add(this.#entry)
    return native.addProxy(environment.native, this.#native)
  }

  /** @internal */
  override stopped({ crossing }: Environment, { afterMs }: Leave): void {
    crossing.proxies.retire(this.#entry, afterMs)
  }
}

/** How the handler is called: that of an object is looked up each time, and has it as `this`. */
function callOf(given: unknown, problems: OptionProblem[]): Handler {
  if (typeof given === 'function') return given as Handler
  const object = given as { fetch: Handler } | null | undefined
  if (typeof object === 'object' && object !== null && typeof object.fetch === 'function')
    return (request, info) => object.fetch(request, info)
  const allowed = 'a function of a Request, or an object with such a function as fetch'
  problems.push({ path: 'handler', found: given, allowed })
  return () => 500
}

function handlerEntry(handler: Handler, callbackTimeoutMs: number): ProxyEntry {
  const phases = {
    handler(session: LiveSession) {
      return handler(requestOf(LiveSession.stateOf(session)), new LiveInfo(session))
    },
  }
  return plainEntry(nextEntry(), phases as unknown as AnyPhases, { callbackTimeoutMs, maxSubrequestDepth: 0 })
}

/** What an app is for the addon: a proxy that answers all requests itself, and so has no upstream side. */
function nativeOf(checked: Checked<typeof httpAppRules>, proxyId: number): NativeProxyOptions {
  const { trustedProxies, trustedField, ...rest } = nativeDownstream(checked)
  const told = { xForwarded: false, forwarded: false, via: false }
  return {
    ...rest,
    forwarding: nativeForwarding({ trustedProxies, trustedField, ...told }),
    keepsEncodedSlashes: true,
    tryTimeoutMs: 0,
    maxRetries: 0,
    upstreamKeepalivePoolSize: 0,
    upgrades: [],
    connect: false,
    tunnelIdleTimeoutMs: 0,
    filterOwnResponses: false,
    routes: [],
    jsThreads: [],
    fallback: {
      matcher: nativeMatch(),
      requestHeaders: [],
      responseHeaders: [],
      action: { kind: 'pass', status: 0, to: '', fields: '' },
      proxyId,
      phases: 1 << HANDLER,
      peer: 0,
    },
  }
}
