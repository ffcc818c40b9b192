import { type Answer, type CheckedAnswer, checkAnswer, isAnswer } from '../answer.js'
import { ProxyError, show, UsageError } from '../errors.js'
import { EditableInterim, EditableRequest, EditableResponse, trailersOf } from '../head.js'
import { HttpPeer } from '../peer.js'
import { type AnyPhases, HANDLER, MAY_ANSWER, nameOf, Phase } from '../phases.js'
import { NOTHING, type RequestState } from './state.js'

// biome-ignore lint/suspicious/noExplicitAny: which functions there are was checked at construction
type Functions = Record<keyof AnyPhases, (...args: any[]) => unknown>

const APP_ANSWER = 'a Response, a status, or { status, headers, body }'

/** Calls one phase. The function is looked up now, so that it may be replaced while the proxy runs. */
export function callPhase(state: RequestState, phase: number, given: AnyPhases, ctx: unknown): unknown {
  const phases = given as unknown as Functions
  const { session } = state
  switch (phase) {
    case Phase.earlyRequestFilter:
      return phases.earlyRequestFilter(session, ctx)
    case Phase.requestFilter:
      return phases.requestFilter(session, ctx)
    case Phase.proxyUpstreamFilter:
      return phases.proxyUpstreamFilter(session, ctx)
    case Phase.upstreamPeer:
      return phases.upstreamPeer(session, ctx)
    case Phase.failToConnect:
      return phases.failToConnect(session, state.peer, state.error, ctx)
    case Phase.connectedToUpstream:
      return phases.connectedToUpstream(session, state.peer, ctx)
    case Phase.upstreamRequestFilter:
      return phases.upstreamRequestFilter(session, new EditableRequest(state.head!), ctx)
    case Phase.interimResponseFilter:
      return phases.interimResponseFilter(session, new EditableInterim(state.head!), ctx)
    case Phase.upstreamResponseFilter:
      return phases.upstreamResponseFilter(session, new EditableResponse(state.head!), ctx)
    case Phase.responseFilter:
      return phases.responseFilter(session, new EditableResponse(state.head!), ctx)
    case Phase.upstreamResponseTrailerFilter:
      return phases.upstreamResponseTrailerFilter(session, trailersOf(state.head!), ctx)
    case Phase.responseTrailerFilter:
      return phases.responseTrailerFilter(session, trailersOf(state.head!), ctx)
    case Phase.errorWhileProxy:
      return phases.errorWhileProxy(session, state.peer, state.error, ctx)
    case Phase.failToProxy:
      return phases.failToProxy(session, state.error, ctx)
    case HANDLER:
      return (phases as unknown as { handler(session: unknown): unknown }).handler(session)
    default:
      return phases.logging(session, state.error, ctx)
  }
}

/** Takes in what a phase returned, or its promise gave. @throws ProxyError PHASE_RETURN, RETRY_UNSAFE */
export function acceptResult(state: RequestState, phase: number, value: unknown): void {
  if (phase === Phase.upstreamPeer) {
    if (!(value instanceof HttpPeer)) throw wrongReturn(phase, value, 'an HttpPeer')
    state.peer = value
    // The try before this one is over, with all that was known of it.
    state.upstreamText = ''
    state.response = null
    state.error = undefined
    state.errorText = ''
    state.thrown = NOTHING
    state.parts?.forgetTry()
  } else if (phase === Phase.failToConnect || phase === Phase.errorWhileProxy) {
    if (value === 'retry') retry(state, phase)
    else if (value === 'fail') state.decision = 2
    else if (value !== undefined) throw wrongReturn(phase, value, "'retry', 'fail' or nothing")
  } else if (phase === Phase.interimResponseFilter) {
    if (value === null) state.decision = 2
    else if (value !== undefined) throw wrongReturn(phase, value, 'null or nothing')
  } else if (value !== undefined || phase === HANDLER) {
    if ((MAY_ANSWER & (1 << phase)) === 0) throw wrongReturn(phase, value, 'nothing')
    if (!isAnswer(value))
      throw wrongReturn(phase, value, phase === HANDLER ? APP_ANSWER : 'an answer or nothing')
    if (state.answer === null && !state.responseStarted) state.answer = checked(state, phase, value as Answer)
    else state.session.respond(value as Answer)
  }
}

function checked(state: RequestState, phase: number, value: Answer): CheckedAnswer {
  try {
    return checkAnswer(value, state.method())
  } catch (error) {
    throw wrongAnswer(phase, error)
  }
}

/** The error of a phase whose answer is wrong in its details; any other as it is. */
export function wrongAnswer(phase: number, error: unknown): unknown {
  if (!(error instanceof UsageError)) return error
  const message = `${nameOf(phase)} returned an answer that is wrong: ${error.message}`
  return new ProxyError({ code: 'PHASE_RETURN', message, cause: error })
}

function retry(state: RequestState, phase: number): void {
  state.decision = 1
  if (state.canRetry) return
  const message = `${nameOf(phase)} asked for a retry, but the request may have been processed: error.canRetry is false`
  throw new ProxyError({ code: 'RETRY_UNSAFE', message, cause: state.error })
}

/** The error of a phase that returned what it may not. */
export function wrongReturn(phase: number, value: unknown, allowed: string): ProxyError {
  return new ProxyError({
    code: 'PHASE_RETURN',
    message: `${nameOf(phase)} returned ${show(value)}; it may return ${allowed}`,
  })
}
