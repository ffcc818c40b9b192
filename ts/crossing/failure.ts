import {
  type ErrorCode,
  type ErrorSource,
  isErrorStatus,
  ProxyError,
  raisedIn,
  retryable,
  show,
  withoutStack,
} from '../errors.js'
import { type ErrorPhase, HANDLER, nameOf } from '../phases.js'
import { CUT, EXPIRED, TRY_EXPIRED } from './items.js'
import { type Records, Result } from './records.js'
import { NOTHING, type RequestState } from './state.js'

/** What a throw of a phase means for its request. */
export interface Failure {
  readonly code: ErrorCode
  /** The status to answer with, with SHOWN if the message is the answer's text; 0 = the code's own. */
  readonly status: number
  /** Fields of the answer. */
  readonly fields: string
  /** For the log, in latin-1. */
  readonly message: string
}

const MOST = 4096

/** Beside a status: the client may read the message. The addon knows it too. */
const SHOWN = 1 << 16

/** Reads what a phase threw, which can be anything; never throws itself. */
export function failureOf(thrown: unknown, phase: number): Failure {
  const name = nameOf(phase)
  try {
    if (ProxyError.is(thrown)) {
      raisedIn(thrown, name)
      return {
        code: thrown.code,
        status: thrown.isShown ? thrown.status | SHOWN : thrown.status,
        fields: thrown.fields,
        message: thrown.isShown ? oneLine(thrown.message) : logText(thrown.message),
      }
    }
    const status = (thrown as { statusCode?: unknown } | null | undefined)?.statusCode
    const message = logText(`${name}: ${describe(thrown)}`)
    return { code: 'PHASE_FAILED', status: isErrorStatus(status) ? status : 0, fields: '', message }
  } catch {
    return { code: 'PHASE_FAILED', status: 0, fields: '', message: `${name}: a value that cannot be read` }
  }
}

/** Tells the addon what a phase of a request threw, which is kept for the error that comes of it. */
export function reportFailure(
  records: Records,
  slot: number,
  seq: number,
  phase: number,
  state: RequestState,
  thrown: unknown,
): void {
  const { code, status, fields, message } = failureOf(thrown, phase)
  // Of no other phase it counts: that has failed, whoever made it fail.
  const source = phase === HANDLER && ProxyError.is(thrown) && isRefusal(thrown) ? ' downstream' : ''
  state.thrown = thrown
  state.thrownIn = phase
  records.full(slot, seq, Result.thrown, phase, status, fields, `${code}${source}\n${message}`)
}

/** Of a request that no function of an app can be called with. */
function isRefusal({ code, source }: ProxyError): boolean {
  return source === 'downstream' && (code === 'METHOD_NOT_ALLOWED' || code === 'BAD_REQUEST')
}

/** Why the signal of a request fires when a phase has taken too long. */
export function phaseTimeout(name: string): ProxyError {
  return withoutStack({ code: 'PHASE_TIMEOUT', message: `${name} did not settle in time` })
}

/** Why it fires when nobody waits for the request any more, as the addon says it. */
export function givenUp(reason: number): ProxyError {
  if (reason === EXPIRED)
    return withoutStack({ code: 'REQUEST_EXPIRED', message: 'the request took too long' })
  if (reason === TRY_EXPIRED)
    return withoutStack({ code: 'REQUEST_EXPIRED', message: 'the try took too long' })
  if (reason === CUT) return withoutStack({ code: 'SERVER_CLOSED', message: 'the server stopped' })
  return withoutStack({ code: 'CLIENT_ABORTED', source: 'downstream', message: 'the client left' })
}

/** Whether an error means that nobody waits for its request. */
export function isGivenUp({ code }: ProxyError): boolean {
  return code === 'CLIENT_ABORTED' || code === 'REQUEST_EXPIRED' || code === 'SERVER_CLOSED'
}

/** An error with the place it came from, in one line; anything else as it is. */
export function describe(thrown: unknown): string {
  try {
    if (!(thrown instanceof Error)) return `threw ${show(thrown)}, which is not an Error`
    const place = /^ +at (.+)$/m.exec(String(thrown.stack))
    return place === null ? String(thrown) : `${thrown} (at ${place[1]})`
  } catch {
    return 'an error that cannot be read'
  }
}

/** Latin-1 without control characters, and not too long. */
function logText(message: string): string {
  return oneLine(message).replace(/[^\x20-\xff]/g, '?')
}

/** Without control characters, and not too long. */
function oneLine(message: string): string {
  return String(message)
    .slice(0, MOST)
    .replace(/[\0-\x1f\x7f]+/g, ' ')
}

/** An error that the addon tells of while a phase runs. */
export function toldError(text: string): ProxyError {
  const [code, source, retry, status, phase, message] = splitError(text)
  return nativeError(code, source, retry, status, phase, message, NOTHING)
}

/** The error an item speaks of: the very one a phase threw, or a new one. Cached by its text. */
export function readError(text: string, state: RequestState): ProxyError {
  if (state.error !== undefined && state.errorText === text) return state.error
  const [code, source, retry, status, phase, message] = splitError(text)
  const thrown = phase !== '' && phase === nameOf(state.thrownIn) ? state.thrown : NOTHING
  state.canRetry = retry === '1'
  const error = ProxyError.is(thrown)
    ? retryable(thrown, state.canRetry)
    : nativeError(code, source, retry, status, phase, message, thrown)
  state.error = error
  state.errorText = text
  return error
}

function splitError(text: string): [ErrorCode, ErrorSource, string, string, ErrorPhase | '', string] {
  const [code, source, retry, status, phase, ...message] = text.split('\n') as [
    ErrorCode,
    ErrorSource,
    string,
    string,
    ErrorPhase | '',
    ...string[],
  ]
  return [code, source, retry, status, phase, message.join('\n')]
}

function nativeError(
  code: ErrorCode,
  source: ErrorSource,
  retry: string,
  status: string,
  phase: ErrorPhase | '',
  message: string,
  thrown: unknown,
): ProxyError {
  const cause = thrown === NOTHING ? {} : { cause: thrown }
  const known = { code, source, canRetry: retry === '1', status: Number(status), message, ...cause }
  let error: ProxyError
  try {
    error = withoutStack(known)
  } catch {
    // A code that only a newer addon knows.
    error = withoutStack({ ...known, code: 'INTERNAL', status: 500 })
  }
  return phase === '' ? error : raisedIn(error, phase)
}
