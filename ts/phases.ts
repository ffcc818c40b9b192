import type { Answer } from './answer.js'
import type { ProxyError } from './errors.js'
import type { InterimResponse, RequestHeader, ResponseHeader } from './head.js'
import type { HeaderEdit } from './headers.js'
import type { HttpPeer } from './peer.js'
import type { RequestMatch } from './routes/match.js'
import type { Session } from './session.js'

/** A value, or a promise of it. */
export type Awaitable<T> = T | PromiseLike<T>

/** What goes on in the place of a piece of a body. */
export type BodyResult = void | null | string | Uint8Array | BodyEnd

/** The end of a body, in the place of a piece. */
export interface BodyEnd {
  /** What comes before the end. Default: nothing. */
  chunk?: string | Uint8Array
  /** The body ends here. */
  end: true
}

/** Whether to try again, from `upstreamPeer` on, or to give up. Nothing: the default. */
export type Decision = 'retry' | 'fail'

/**
 * The phases of a request, in the order they are called. Each may be sync or async, and has
 * `callbackTimeoutMs` to settle; what it throws ends the request (see `ProxyError`). Only
 * `upstreamPeer` is required: a phase that is not there costs nothing.
 *
 * The session comes first and the context last. `this` is the object given to `HttpProxy`.
 */
export interface Phases<Ctx> {
  /**
   * First of all, before any other work on the request. May not answer, but may throw.
   * Default: goes on.
   */
  earlyRequestFilter?(session: Session, ctx: Ctx): Awaitable<void>

  /**
   * The place to check and to limit. May answer, by `session.respond` or by returning an
   * answer: then no upstream is asked. Default: goes on.
   */
  requestFilter?(session: Session, ctx: Ctx): Awaitable<Answer | void>

  /** Just before an upstream is chosen. May answer. Default: goes on. */
  proxyUpstreamFilter?(session: Session, ctx: Ctx): Awaitable<Answer | void>

  /**
   * Chooses where the request goes; asked again for each try. May not answer, but may throw. An
   * `HttpPeer` in place of a function is used for every request, and nothing is called.
   */
  upstreamPeer: HttpPeer | ((session: Session, ctx: Ctx) => Awaitable<HttpPeer>)

  /**
   * No connection to the peer could be made. Nothing was sent, so `'retry'` is safe; it leads back
   * to `upstreamPeer`, at most `maxRetries` times. Default: gives up.
   */
  failToConnect?(session: Session, peer: HttpPeer, error: ProxyError, ctx: Ctx): Awaitable<Decision | void>

  /** A connection to the peer, new or reused, is there. Default: goes on. */
  connectedToUpstream?(session: Session, peer: HttpPeer, ctx: Ctx): Awaitable<void>

  /** May change the head that is sent upstream; runs for each try. Default: as it is. */
  upstreamRequestFilter?(session: Session, request: RequestHeader, ctx: Ctx): Awaitable<void>

  /**
   * Sees the request's body on its way upstream, a piece at a time, at most 64 KiB; `end` with the
   * last, which may be empty. Nothing = as it is, null = dropped, a string or bytes = in its place,
   * `{ chunk, end: true }` = the body ends here. Each piece passes once, however often the request is
   * tried. Not called for requests without a body. Default: as it is.
   */
  requestBodyFilter?(session: Session, chunk: Buffer, end: boolean, ctx: Ctx): Awaitable<BodyResult>

  /**
   * The origin has sent an interim response, such as 103 Early Hints; not 100, which only asks for the
   * request's body. May change its fields; null drops it. Default: it goes to the client as it is, which
   * gets none in HTTP/1.0.
   */
  interimResponseFilter?(session: Session, response: InterimResponse, ctx: Ctx): Awaitable<void | null>

  /** May change the head the origin sent, before anything else looks at it. Default: as it is. */
  upstreamResponseFilter?(session: Session, response: ResponseHeader, ctx: Ctx): Awaitable<void>

  /**
   * May change the head that is sent to the client, or answer in its place. Runs on answers of
   * one's own only with `filterOwnResponses`. Default: as it is.
   */
  responseFilter?(session: Session, response: ResponseHeader, ctx: Ctx): Awaitable<Answer | void>

  /**
   * Sees the response's body as the origin sent it, in the same way. Not called for responses without
   * one, such as those to HEAD, nor with `response.filterBody = false`. Default: as it is.
   */
  upstreamResponseBodyFilter?(session: Session, chunk: Buffer, end: boolean, ctx: Ctx): Awaitable<BodyResult>

  /** Sees the response's body on its way to the client, in the same way, after that. Default: as it is. */
  responseBodyFilter?(session: Session, chunk: Buffer, end: boolean, ctx: Ctx): Awaitable<BodyResult>

  /** May change the trailers that the origin sent, if it sent any. Default: as they are. */
  upstreamResponseTrailerFilter?(session: Session, trailers: HeaderEdit, ctx: Ctx): Awaitable<void>

  /** May change the trailers that go to the client, after that. Default: as they are. */
  responseTrailerFilter?(session: Session, trailers: HeaderEdit, ctx: Ctx): Awaitable<void>

  /**
   * A try failed after its connection was there. `'retry'` leads back to `upstreamPeer`, and is
   * refused with RETRY_UNSAFE unless `error.canRetry`. Default: gives up; but a reused connection
   * that died before any answer has been replaced once by then, where that is safe.
   */
  errorWhileProxy?(session: Session, peer: HttpPeer, error: ProxyError, ctx: Ctx): Awaitable<Decision | void>

  /**
   * The request failed and nothing has gone out to the client: may answer. Default: a short plain
   * page with `error.status`.
   */
  failToProxy?(session: Session, error: ProxyError, ctx: Ctx): Awaitable<Answer | void>

  /**
   * Exactly once for each request, after its last byte, also if it failed. May not answer; what
   * it throws is logged and does nothing else. The session ends when it has settled. Default: nothing.
   */
  logging?(session: Session, error: ProxyError | undefined, ctx: Ctx): Awaitable<void>

  /**
   * Whether no line in the log tells of this failed request. Called before `logging`, and only where
   * there would be a line; has to be sync. What it throws is logged, and the line too. Default: false.
   */
  suppressErrorLog?(session: Session, error: ProxyError, ctx: Ctx): boolean

  /**
   * The request in a few words, for that line: at most 1,024 characters are shown, without line ends.
   * Called only for it; has to be sync. Default: `GET /path, Host: a.example`.
   */
  requestSummary?(session: Session, ctx: Ctx): string

  /**
   * Gives the request an async context. Called once for each request, before `newCtx`; has to call
   * `run` once, at once: `scope: (run) => storage.run(new Map(), run)`. `newCtx` and every phase of
   * the request run in the context that `run` was called in, whatever else runs beside them. Default:
   * no context is promised.
   */
  scope?(run: () => void, session: Session): void
}

/** A phase that is for some requests: others do not cross for it. `this` is the object with the phases. */
export interface FilteredPhase<Handler> {
  /** Which requests it is for. */
  match: RequestMatch
  /** The phase. */
  handler: Handler
}

/** The same phases, each as a function, or as one for some requests. */
export type Filterable<P> = {
  [Name in keyof P]: Name extends 'upstreamPeer' | 'newCtx' | 'scope' | 'suppressErrorLog' | 'requestSummary'
    ? P[Name]
    : P[Name] | FilteredPhase<NonNullable<P[Name]>>
}

/**
 * The phases of a request with a context: what `newCtx` returns is handed to each phase of the
 * same request. It runs, synchronously, before the first of them; without it the context is `undefined`.
 */
export type ProxyHttp<Ctx = undefined> = Filterable<Phases<Ctx>> &
  ([Ctx] extends [undefined] ? WithoutCtx : WithCtx<Ctx>)

/** What has a context: it is made for each request. */
export interface WithCtx<Ctx> {
  /** Makes the context of a request, before its first phase; has to be sync. */
  newCtx(session: Session): Ctx
}

/** What has no context, or may have none. */
export interface WithoutCtx<Ctx = undefined> {
  /** Makes the context of a request, before its first phase; has to be sync. */
  newCtx?(session: Session): Ctx
}

/**
 * One of several objects that make up the phases of a proxy: `new HttpProxy([auth, cors, gateway])`.
 * Each has a context of its own. Exactly one of them has `upstreamPeer`.
 */
export type ProxyPart<Ctx = undefined> = Filterable<Partial<Phases<Ctx>>> &
  ([Ctx] extends [undefined] ? WithoutCtx : WithCtx<Ctx>)

/** A part with any context. */
// biome-ignore lint/suspicious/noExplicitAny: a phase's context is checked where it is written
export type AnyPart = Filterable<Partial<Phases<any>>> & WithoutCtx<unknown>

/** Phases with any context. */
// biome-ignore lint/suspicious/noExplicitAny: a phase's context is checked where it is written
export type AnyPhases = Filterable<Phases<any>> & WithoutCtx<unknown>

/** Returns its argument. It infers the context of a bag of functions from `newCtx`. */
export function definePhases<Ctx>(phases: Filterable<Phases<Ctx>> & WithCtx<Ctx>): ProxyHttp<Ctx>
export function definePhases(phases: Filterable<Phases<undefined>>): ProxyHttp
export function definePhases(phases: AnyPhases): AnyPhases {
  return phases
}

/** Returns its argument. It infers the context of a part, a bag of functions, from `newCtx`. */
export function definePart<Ctx>(part: Filterable<Partial<Phases<Ctx>>> & WithCtx<Ctx>): ProxyPart<Ctx>
export function definePart(part: Filterable<Partial<Phases<undefined>>>): ProxyPart
export function definePart(part: AnyPart): AnyPart {
  return part
}

/** The phases by number, as the addon counts them. */
export const PHASES = [
  'newCtx',
  'earlyRequestFilter',
  'requestFilter',
  'proxyUpstreamFilter',
  'upstreamPeer',
  'failToConnect',
  'connectedToUpstream',
  'upstreamRequestFilter',
  'requestBodyFilter',
  'upstreamResponseFilter',
  'responseFilter',
  'upstreamResponseBodyFilter',
  'responseBodyFilter',
  'upstreamResponseTrailerFilter',
  'responseTrailerFilter',
  'errorWhileProxy',
  'failToProxy',
  'logging',
  // Called while the origin's response is waited for.
  'interimResponseFilter',
] as const

/** The name of a phase. */
export type PhaseName = (typeof PHASES)[number]

/** @internal The number of each phase. */
export const Phase = {
  newCtx: 0,
  earlyRequestFilter: 1,
  requestFilter: 2,
  proxyUpstreamFilter: 3,
  upstreamPeer: 4,
  failToConnect: 5,
  connectedToUpstream: 6,
  upstreamRequestFilter: 7,
  requestBodyFilter: 8,
  upstreamResponseFilter: 9,
  responseFilter: 10,
  upstreamResponseBodyFilter: 11,
  responseBodyFilter: 12,
  upstreamResponseTrailerFilter: 13,
  responseTrailerFilter: 14,
  errorWhileProxy: 15,
  failToProxy: 16,
  logging: 17,
  interimResponseFilter: 18,
} as const satisfies Record<PhaseName, number>

/** @internal Functions beside the phases, by their numbers. */
export const Hook = { suppressErrorLog: 19, requestSummary: 20 } as const

/** @internal The one function of an app, in the place of all phases; the addon has the same number. */
export const HANDLER = 21

/** @internal `scope` where it fails, beside the phases; the addon has the same number. */
export const SCOPE = 22

/** What an error may come from: a phase, the `scope` that they run in, or the handler of an app. */
export type ErrorPhase = PhaseName | 'scope' | 'handler'

/** @internal The name of one of these. */
export function nameOf(phase: number): ErrorPhase {
  if (phase === HANDLER) return 'handler'
  return phase === SCOPE ? 'scope' : PHASES[phase]!
}

/** @internal Whether it comes before every phase, so that none runs where it fails. */
export const isBeforeAll = (phase: number): boolean => phase === Phase.newCtx || phase === SCOPE

/** @internal The phases that may answer, as a mask. */
export const MAY_ANSWER =
  (1 << HANDLER) |
  (1 << Phase.requestFilter) |
  (1 << Phase.proxyUpstreamFilter) |
  (1 << Phase.responseFilter) |
  (1 << Phase.failToProxy)
