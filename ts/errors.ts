import { type HeaderInput, headerFields } from './headers.js'
import type { ErrorPhase } from './phases.js'

/** Who caused an error: the origin or the way to it, the client, or this process. */
export type ErrorSource = 'upstream' | 'downstream' | 'internal'

/** The status of each code, as the addon has it; 499 is only logged, as the client has left. */
const STATUS = {
  DNS_FAILED: 502,
  CONNECT_REFUSED: 502,
  CONNECT_FAILED: 502,
  TLS_FAILED: 502,
  UPSTREAM_CLOSED: 502,
  UPSTREAM_INVALID: 502,
  CONNECT_TIMEOUT: 504,
  READ_TIMEOUT: 504,
  WRITE_TIMEOUT: 504,
  REQUEST_EXPIRED: 504,
  PHASE_TIMEOUT: 504,
  BAD_REQUEST: 400,
  METHOD_NOT_ALLOWED: 405,
  REQUEST_TIMEOUT: 408,
  BODY_TOO_LARGE: 413,
  HEADER_TOO_LARGE: 431,
  NOT_IMPLEMENTED: 501,
  VERSION_NOT_SUPPORTED: 505,
  CLIENT_ABORTED: 499,
  PHASE_FAILED: 500,
  PHASE_RETURN: 500,
  RETRY_UNSAFE: 500,
  OVERLOADED: 503,
  PHASES_LOST: 503,
  SERVER_CLOSED: 503,
  INTERNAL: 500,
} as const

/** The stable name of what went wrong with a request. `docs/errors.md` explains each. */
export type ErrorCode = keyof typeof STATUS

/** Every {@link ErrorCode}. */
export const ERROR_CODES: readonly ErrorCode[] = Object.freeze(Object.keys(STATUS) as ErrorCode[])

/** What a {@link ProxyError} is made of. */
export interface ProxyErrorOptions {
  /** What happened. For the log, and the answer's text where `status` is given too. Default: the code. */
  message?: string
  /** Default: `PHASE_FAILED`. */
  code?: ErrorCode
  /** The status to answer with, 400–599. Default: the code's own. */
  status?: number
  /** Fields of the answer. Default: none. */
  headers?: HeaderInput
  /** Default: `internal`. */
  source?: ErrorSource
  /** Whether sending the request again is safe. Default: false. */
  canRetry?: boolean
  /** What caused it. */
  cause?: unknown
}

/**
 * What went wrong with a request. Phases get it from the proxy, and may throw one of their own:
 * `throw new ProxyError({ status: 429, headers: { 'retry-after': '1' } })` answers so.
 */
export class ProxyError extends Error {
  static {
    Object.defineProperty(ProxyError.prototype, 'name', {
      value: 'ProxyError',
      configurable: true,
      writable: true,
    })
  }

  /** The stable name of what went wrong. */
  readonly code: ErrorCode
  /** Who caused it. */
  readonly source: ErrorSource
  /** The phase that raised it, if one did; also `scope`, and the `handler` of an app. */
  readonly phase: ErrorPhase | undefined
  /** Whether sending the request again is safe: a fact that the proxy sets, not advice. */
  readonly canRetry: boolean
  /** The status of the answer. */
  readonly status: number
  /** What tells an error that the constructor has made from any other object. */
  readonly #made = true

  /** @internal Whether it is one. Never throws, whatever the value is. */
  static is(value: unknown): value is ProxyError {
    return typeof value === 'object' && value !== null && #made in value
  }

  /** @internal Fields of the answer, as they cross. */
  readonly fields: string
  /** @internal Whether the client may read the message. */
  readonly isShown: boolean

  /** @throws UsageError INVALID_OPTIONS, INVALID_HEADER */
  constructor(options: ProxyErrorOptions = {}) {
    const { code = 'PHASE_FAILED', cause, headers } = options
    super(options.message ?? code, cause === undefined ? undefined : { cause })
    const known = STATUS[code]
    const status = options.status ?? known
    const ours = status === known
    if (known === undefined || !(ours || isErrorStatus(status))) {
      const [path, found] = known === undefined ? ['code', code] : ['status', status]
      const allowed = known === undefined ? 'a code of ERROR_CODES' : 'an integer from 400 to 599'
      throw invalidOptions('ProxyError', [{ path: path as string, found, allowed }])
    }
    this.code = code
    this.source = options.source ?? 'internal'
    this.phase = undefined
    this.canRetry = options.canRetry ?? false
    this.status = status
    this.fields = headers === undefined ? '' : headerFields(headers)
    this.isShown = options.status !== undefined && options.message !== undefined
    Object.defineProperty(this, 'fields', { enumerable: false })
    Object.defineProperty(this, 'isShown', { enumerable: false, writable: true })
  }
}

/** Whether a status may stand for an error. */
export function isErrorStatus(status: unknown): status is number {
  return Number.isInteger(status) && (status as number) >= 400 && (status as number) <= 599
}

/** @internal Names the phase that raised an error; the first one stays. */
export function raisedIn(error: ProxyError, phase: ErrorPhase): ProxyError {
  if (error.phase === undefined && !Object.isFrozen(error)) (error as { phase: ErrorPhase }).phase = phase
  return error
}

/** @internal Says whether another try is safe, which a phase that throws cannot know. */
export function retryable(error: ProxyError, canRetry: boolean): ProxyError {
  if (error.canRetry !== canRetry && !Object.isFrozen(error))
    (error as { canRetry: boolean }).canRetry = canRetry
  return error
}

/** @internal An error of the proxy's own making, without a stack: it would show nothing. */
export function withoutStack(options: ProxyErrorOptions): ProxyError {
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  try {
    const error = new ProxyError(options)
    // What the proxy knows of its origins is not for clients, even where a phase throws it on.
    ;(error as { isShown: boolean }).isShown = false
    return error
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}

/** The stable name of a mistake in using millrace, or of a server that could not start. */
export type UsageCode =
  /** Options are wrong; `problems` lists each. */
  | 'INVALID_OPTIONS'
  /** Options need what this system does not have; `problems` lists each. */
  | 'UNSUPPORTED_PLATFORM'
  /** The name or the value of a header, a method, target, host or status is not valid. */
  | 'INVALID_HEADER'
  /** What was given to answer with is not an answer. */
  | 'INVALID_ANSWER'
  /** A part of a body was to be changed as a whole. */
  | 'PARTIAL_CONTENT'
  | 'CANNOT_DECODE'
  /** This request has its answer already. */
  | 'ALREADY_ANSWERED'
  /** The head of the response has gone out. */
  | 'RESPONSE_STARTED'
  /** No phase of this request is running that may answer. */
  | 'CANNOT_ANSWER'
  /** No phase of this request is running that may read its body; in tests: it has not come whole yet. */
  | 'CANNOT_READ_BODY'
  /** The request is over; its session must not be used any more. */
  | 'SESSION_ENDED'
  /** A header object was used after its phase. */
  | 'PHASE_ENDED'
  /** Subrequests of subrequests go deeper than `maxSubrequestDepth`. */
  | 'SUBREQUEST_DEPTH'
  /** Too many subrequests are under way. */
  | 'SUBREQUEST_LIMIT'
  /** The server has not started: an endpoint has no address yet, or nothing is there to reload. */
  | 'NOT_STARTED'
  /** The server has started, or is starting, or the service belongs to a server already. */
  | 'ALREADY_STARTED'
  /** The server is closed. */
  | 'SERVER_CLOSED'
  /** An address is taken by another socket. */
  | 'ADDRESS_IN_USE'
  /** An address cannot be listened on. */
  | 'BIND_FAILED'
  /** Taking over from the process at `upgradeSocket` failed; that one goes on. */
  | 'UPGRADE_FAILED'
  /** A service failed: before it was ready, which fails the start, or after. `cause` is what it threw. */
  | 'SERVICE_FAILED'
  /** Services depend on each other; the message has the way round. */
  | 'DEPENDENCY_CYCLE'
  /** A server could not start for another reason; the message says which. */
  | 'START_FAILED'
  /** A module with phases could not be loaded; the message says why, and where. */
  | 'MODULE_FAILED'
  /** `import 'millrace'`: there is no binary for this platform here. */
  | 'BINARY_NOT_FOUND'
  /** `import 'millrace'`: a binary is there, and the system did not load it. */
  | 'BINARY_NOT_LOADED'
  /** `import 'millrace'`: the binary is of another version. */
  | 'BINARY_VERSION'
  /** An injected request did not end in time; the message says what it waited for. */
  | 'INJECT_TIMEOUT'
  /** A body of an injected request, or of its response, is longer than what is kept. */
  | 'INJECT_LIMIT'

/** One wrong option. */
export interface OptionProblem {
  /** Where: `threads`, `tcpKeepalive.count`. */
  readonly path: string
  /** What was there. */
  readonly found: unknown
  /** What may be there. */
  readonly allowed: string
  /** Another option beside which it is wrong, where it is not by itself. Else absent. */
  readonly other?: string
  /** The system, as `process.platform` names it, where it is what does not have this. Else absent. */
  readonly platform?: string
}

/** A mistake in using millrace. Compare `code`, which stays the same between versions. */
export class UsageError extends Error {
  static {
    Object.defineProperty(UsageError.prototype, 'name', {
      value: 'UsageError',
      configurable: true,
      writable: true,
    })
  }

  /** The stable name of the mistake. */
  readonly code: UsageCode
  /** With INVALID_OPTIONS and UNSUPPORTED_PLATFORM: every wrong option. Else empty. */
  readonly problems: readonly OptionProblem[]

  /** One of a mistake of one's own: `message` is for people, `code` for programs. */
  constructor(
    code: UsageCode,
    message: string,
    options?: { cause?: unknown; problems?: readonly OptionProblem[] },
  ) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.problems = options?.problems ?? []
  }
}

/** @internal One error for all that is wrong with the options of `what`. */
export function invalidOptions(what: string, problems: readonly OptionProblem[]): UsageError {
  const lines = firstOf(problems, ({ path, found, allowed }) =>
    [shortened(path), `found ${show(found)}, allowed: ${allowed}`].join(': '),
  )
  // What is wrong everywhere comes first: only options that would do elsewhere are the system's.
  const { platform } = problems.find((one) => one.platform === undefined) ?? problems[0] ?? {}
  const [code, summary]: [UsageCode, string] =
    platform === undefined
      ? ['INVALID_OPTIONS', `invalid options of ${what}`]
      : ['UNSUPPORTED_PLATFORM', `${platform} does not have what these options of ${what} need`]
  return new UsageError(code, `${summary}:${lines.map((line) => `\n  ${line}`).join('')}`, { problems })
}

/** @internal Of how many things that are wrong at once it is told what. */
export const MOST_TOLD = 20

/** @internal A line of each of the first {@link MOST_TOLD}, and how many there are beyond. */
export function firstOf<T>(wrong: readonly T[], line: (one: T) => string): string[] {
  const lines = wrong.slice(0, MOST_TOLD).map(line)
  return wrong.length > MOST_TOLD ? [...lines, `and ${wrong.length - MOST_TOLD} more`] : lines
}

/** @internal The path of an option, which may have a name of any length in it. */
export function shortened(path: string): string {
  return path.length > 200 ? `${path.slice(0, 200)}…` : path
}

/** @internal A value in a message: short, and never a throw. */
export function show(value: unknown): string {
  try {
    if (typeof value === 'string') return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value)
    if (typeof value === 'function') return `function ${value.name || '(anonymous)'}`
    if (typeof value === 'bigint') return `${value}n`
    if (typeof value !== 'object' || value === null) return String(value)
    if (Array.isArray(value)) return `an array of ${value.length}`
    return `an object (${value.constructor?.name ?? 'no class'})`
  } catch {
    return `a value of type ${typeof value}`
  }
}
