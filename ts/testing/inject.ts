import { type Environment, numberOf, theEnvironment } from '../crossing/environment.js'
import { invalidOptions, type ProxyError, UsageError } from '../errors.js'
import { makeLog } from '../logger.js'
import { type NativeDial, NativeInjection } from '../native.js'
import { HttpPeer } from '../peer.js'
import {
  type AnyPart,
  type AnyPhases,
  Phase,
  type PhaseName,
  type WithCtx,
  type WithoutCtx,
} from '../phases.js'
import { HttpProxy, type HttpProxyOptions } from '../proxy.js'
import { WrongPiece } from './body.js'
import type { PhaseCall } from './calls.js'
import { ask, Begun } from './client.js'
import { type InjectedResponse, tooLong } from './message.js'
import { checkInject, type Injectable, type InjectRequest } from './options.js'
import { PipeSocket } from './pipe.js'
import { type Recorded, Recorder } from './recorder.js'
import { nextTurn, sleep } from './time.js'
import { Upstream, type UpstreamRequest } from './upstream.js'

/** A line that the proxy logged. */
export interface LogLine {
  /** How much it matters. */
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  /** What it says. */
  readonly line: string
}

/** A subrequest that went through the phases. */
export interface InjectedSubrequest {
  /** As it was asked for: `/path?query`. */
  readonly target: string
  /** Every call of a phase, in order. */
  readonly phases: readonly PhaseCall[]
  /** As that of the request. */
  readonly ctx: unknown
  /** Why it failed, if it did. */
  readonly error: ProxyError | undefined
}

/** What became of an injected request. */
export interface Injected<Ctx = unknown> {
  /** What the client got. */
  readonly response: InjectedResponse
  /** Every call of a phase, in order; those of subrequests are in `subrequests`. */
  readonly phases: readonly PhaseCall[]
  /** The phases that there are and that were not called, in their order. */
  readonly skipped: readonly PhaseName[]
  /** What `newCtx` returned; of several parts, a list of what each returned. */
  readonly ctx: Ctx
  /** What `logging` is told of: why the request failed, if it did. */
  readonly error: ProxyError | undefined
  /** What the body of the request threw, if it did: the client left then. */
  readonly threw: unknown
  /** The peer of the last try, if there was one. */
  readonly peer: HttpPeer | undefined
  /** The last request that left for an origin, if one did. */
  readonly upstreamRequest: UpstreamRequest | undefined
  /** All that left, in order: those of every try and of subrequests. */
  readonly upstreamRequests: readonly UpstreamRequest[]
  /** The subrequests that went through the phases, in order. */
  readonly subrequests: readonly InjectedSubrequest[]
  /** What was logged. Nothing of it goes to stderr. */
  readonly log: readonly LogLine[]
}

/** The context of phases, as `newCtx` says. */
export type CtxOf<Phases> =
  Phases extends WithCtx<infer Ctx>
    ? Ctx
    : 'newCtx' extends keyof Phases
      ? Phases extends WithoutCtx<infer Ctx>
        ? Ctx
        : never
      : undefined

/** The contexts of parts, each in its place. */
export type CtxsOf<Parts extends readonly unknown[]> = { -readonly [At in keyof Parts]: CtxOf<Parts[At]> }

/** Sends a request through a proxy, without a listener. */
export interface Inject {
  /**
   * @param gateway a proxy, with its options and routes; it may belong to a server, and is not changed
   * @throws UsageError INVALID_OPTIONS, INVALID_HEADER, INVALID_ANSWER, INJECT_LIMIT, INJECT_TIMEOUT (all rejections)
   */
  <Ctx = unknown>(gateway: HttpProxy, request?: InjectRequest): Promise<Injected<Ctx>>
  /**
   * @param gateway the parts of a proxy
   * @param options of the proxy that is made of them
   */
  <const Parts extends readonly AnyPart[]>(
    gateway: Parts,
    request?: InjectRequest,
    options?: HttpProxyOptions,
  ): Promise<Injected<CtxsOf<Parts>>>
  /**
   * @param gateway the phases of a proxy
   * @param options of the proxy that is made of them
   */
  <Phases extends AnyPhases>(
    gateway: Phases,
    request?: InjectRequest,
    options?: HttpProxyOptions,
  ): Promise<Injected<CtxOf<Phases>>>
}

/** Log lines of injected requests carry numbers that no server has. */
const FIRST = 2 ** 31
let injections = 0

/**
 * Sends one request through a proxy: the same phases, pipeline and framing as in production, over a
 * connection within the process. No port is opened; `upstream` answers in the place of the origins.
 */
export const inject: Inject = async (
  gateway: HttpProxy | AnyPhases | readonly AnyPart[],
  request: InjectRequest = {},
  options?: HttpProxyOptions,
) => {
  const proxy = proxyOf(gateway, options)
  const run = new Run(proxy, checkInject(request))
  return (await run.result()) as Injected<never>
}

function proxyOf(
  gateway: HttpProxy | AnyPhases | readonly AnyPart[],
  options: HttpProxyOptions | undefined,
): HttpProxy {
  if (!(gateway instanceof HttpProxy)) return new HttpProxy(gateway as AnyPhases, options)
  if (options === undefined) return gateway
  const allowed = 'nothing beside an HttpProxy, which has its own'
  throw invalidOptions('inject', [{ path: 'options', found: options, allowed }])
}

/** One injected request. */
class Run {
  readonly #environment: Environment = theEnvironment()
  readonly #id = FIRST + (injections++ % FIRST)
  readonly #log: LogLine[] = []
  readonly #recorder: Recorder
  readonly #upstream: Upstream
  readonly #injection: NativeInjection
  readonly #options: Injectable
  readonly #misuse: Promise<never>
  #misused!: (error: unknown) => void
  #waitsFor = 'the response'
  #threw: unknown = undefined
  #dialled = new Set<number>()
  readonly #begun = new Begun()

  constructor(proxy: HttpProxy, options: Injectable) {
    this.#options = options
    this.#misuse = new Promise((_, reject) => {
      this.#misused = reject
    })
    this.#misuse.catch(() => undefined)
    const to = (level: LogLine['level']) => (line: string) => void this.#log.push({ level, line })
    const log = makeLog({ debug: to('debug'), info: to('info'), warn: to('warn'), error: to('error') })
    this.#recorder = new Recorder(log, () => this.#begun.now())
    this.#upstream = new Upstream(options.handlers, (error) => this.#misused(error))
    const environment = this.#environment
    environment.crossing.logs.add(this.#id, log)
    const native = proxy.wired({ environment, log, numberOf }, (entry, composition) =>
      this.#recorder.watch(entry, composition),
    )
    const watched = (route: typeof native.fallback) => ({ ...route, phases: route.phases | LOGGING })
    this.#injection = new NativeInjection(
      environment.native,
      {
        ...native,
        threads: 1,
        workStealing: true,
        routes: native.routes.map(watched),
        fallback: watched(native.fallback),
      },
      {
        serverId: this.#id,
        remote: options.remote,
        local: options.tls === undefined ? '127.0.0.1:80' : '127.0.0.1:443',
        ...(options.tls === undefined ? {} : { tls: options.tls }),
      },
    )
  }

  async result(): Promise<Injected> {
    // The addon's promises hold the process while it runs, and nothing does afterwards.
    const timer = new AbortController()
    try {
      return await Promise.race([this.#run(), this.#misuse, this.#late(timer.signal)])
    } finally {
      timer.abort()
      await this.#close()
    }
  }

  async #late(signal: AbortSignal): Promise<never> {
    const { timeoutMs } = this.#options
    if (timeoutMs === 0) return new Promise(() => {})
    await sleep(timeoutMs, signal)
    const calls = this.#recorder.requests.flatMap(({ calls }) => calls)
    const open = calls.find(({ outcome }) => outcome === 'unsettled')
    const what = open === undefined ? this.#waitsFor : `${open.phase}, whose promise has not settled`
    throw new UsageError(
      'INJECT_TIMEOUT',
      `the request did not end in ${timeoutMs} ms: it waited for ${what}`,
    )
  }

  async #run(): Promise<Injected> {
    const { version, sent, signal } = this.#options
    void this.#dial()
    const socket = new PipeSocket(this.#injection.client()!)
    const response = await ask(version, socket, sent, signal ?? new AbortController().signal, this.#begun, {
      threw: (error) => {
        if (error instanceof WrongPiece) this.#misused(invalidPiece(error))
        this.#threw = error
      },
      waiting: (isForBody) => {
        this.#waitsFor = isForBody ? 'the next piece of the body of the request' : 'the response'
      },
      exceeded: () => this.#misused(tooLong('the body of the response')),
      served: this.#recorder.over,
    })
    this.#waitsFor = 'the end of the connection'
    await this.#injection.served()
    this.#waitsFor = 'the last phases, or subrequests'
    // Nothing of a request that only `logging` is to be told of may have come over yet.
    while (this.#recorder.requests.length === 0 && this.#environment.native.stats().queued > 0) await sleep(1)
    await this.#recorder.idle()
    // What was logged on the way is on its way too.
    for (let turn = 0; turn < 2; turn++) await nextTurn()
    return this.#told(response)
  }

  async #dial(): Promise<void> {
    let number = 0
    for (;;) {
      const dial = await this.#injection.dialled()
      if (dial === null) return
      this.#begun.now()
      void this.#connect(dial, ++number)
    }
  }

  async #connect(dial: NativeDial, number: number): Promise<void> {
    const peer = [...this.#recorder.peers].find((one) => HttpPeer.id(one) === dial.peer)
    this.#dialled.add(dial.peer)
    try {
      await this.#options.connect?.(peer, number)
    } catch (error) {
      dial.refuse(codeOf(error), error instanceof Error ? error.message : String(error))
      return
    }
    const pipe = dial.accept()
    if (pipe !== null)
      this.#upstream.accept(new PipeSocket(pipe), { address: dial.address, peer, isTls: dial.isTls })
  }

  #told(response: InjectedResponse): Injected {
    const { requests } = this.#recorder
    const main = requests.find(({ isSubrequest }) => !isSubrequest)
    const sent = this.#upstream.requests
    return {
      response,
      phases: main?.calls ?? [],
      skipped: main?.skipped ?? [],
      ctx: main?.ctx,
      error: main?.error,
      threw: this.#threw,
      peer: main && this.#peerOf(main),
      upstreamRequest: sent.at(-1),
      upstreamRequests: sent,
      subrequests: requests
        .filter(({ isSubrequest }) => isSubrequest)
        .map(({ target, calls, ctx, error }) => ({ target, phases: calls, ctx, error })),
      log: this.#log,
    }
  }

  #peerOf({ calls, entry: { fixedPeer } }: Recorded): HttpPeer | undefined {
    const chosen = calls.findLast(({ outcome }) => outcome === 'peer')
    if (chosen !== undefined) return chosen.returned as HttpPeer
    return fixedPeer !== undefined && this.#dialled.has(HttpPeer.id(fixedPeer)) ? fixedPeer : undefined
  }

  async #close(): Promise<void> {
    this.#upstream.close()
    await this.#injection.close()
    const { crossing } = this.#environment
    for (const entry of this.#recorder.entries) crossing.proxies.retire(entry, LAST_WORDS_MS)
    crossing.logs.retire(this.#id, LAST_WORDS_MS)
  }
}

function invalidPiece({ path, found, allowed }: WrongPiece): UsageError {
  return invalidOptions('inject', [{ path, found, allowed }])
}

const LOGGING = 1 << Phase.logging

/** How long what is left of a request that was given up may take to end. */
const LAST_WORDS_MS = 100

/** The code of a connection that is not made. */
function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code
  if (typeof code !== 'string') return 'CONNECT_FAILED'
  if (/^(?:DNS_FAILED|TLS_FAILED|CONNECT_(?:REFUSED|TIMEOUT))$/.test(code)) return code
  if (code === 'ECONNREFUSED') return 'CONNECT_REFUSED'
  if (code === 'ETIMEDOUT') return 'CONNECT_TIMEOUT'
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return 'DNS_FAILED'
  return /^(?:ERR_TLS_|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_)/.test(code)
    ? 'TLS_FAILED'
    : 'CONNECT_FAILED'
}
