import { disown } from './crossing/promise.js'
import { toStderr } from './stderr.js'

/** How much a line of the log matters. */
export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

/** What a line of the log says, by name. `docs/observing.md` has all of them. */
export type LogFields = Readonly<Record<string, string | number>>

/** A line of the log as data. */
export interface LogRecord {
  /** When, in milliseconds since 1970. */
  readonly time: number
  /** How much it matters. */
  readonly level: LogLevel
  /** The line as a `logger` gets it: all of it, for people. */
  readonly message: string
  /** What it says, for programs. */
  readonly fields: LogFields
}

/**
 * Where log lines go: `console`, or one of your own. A pino logger, that is one with `bindings()`, gets
 * `(fields, line)`, as pino takes them.
 */
export interface Logger {
  /** For those who look for a fault. */
  debug(line: string): void
  /** What is nobody's fault, such as a client that left. */
  info(line: string): void
  /** Requests that failed, and what may become a fault. */
  warn(line: string): void
  /** What should not have happened: a phase or a function of one's own that threw where nobody could be told. */
  error(line: string): void
}

/** A logger that never throws, and takes what a line says along. */
export interface AnyLog {
  debug(line: string, fields?: LogFields): void
  info(line: string, fields?: LogFields): void
  warn(line: string, fields?: LogFields): void
  error(line: string, fields?: LogFields): void
  /** The same for several at once. */
  take(records: readonly LogRecord[]): void
}

/** Where a log goes, and how much of it. */
export interface LogOptions {
  logger?: Logger | false | undefined
  onLog?: ((records: readonly LogRecord[]) => void) | undefined
  logLevel?: LogLevel | undefined
}

/** From the least to the most. */
export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const

/** Whether a value can be used as a logger. */
export function isLogger(value: unknown): value is Logger {
  if (typeof value !== 'object' || value === null) return false
  return LOG_LEVELS.every((level) => typeof (value as Record<string, unknown>)[level] === 'function')
}

/** The least level that is logged, by its place among all; 4: nothing is. */
export function leastLevel({ logger, onLog, logLevel }: LogOptions): number {
  if (logger === false && onLog === undefined) return 4
  if (logLevel !== undefined) return LOG_LEVELS.indexOf(logLevel)
  const pino = logger !== false && isPino(logger) ? (logger as { level?: unknown }).level : undefined
  if (pino === 'silent' && onLog === undefined) return 4
  if (pino === 'fatal') return 3
  const of = LOG_LEVELS.indexOf(pino as LogLevel)
  if (of >= 0) return of
  if (logger) return 0
  return onLog === undefined ? 2 : 1
}

/** The log of a server: to its logger, to `onLog`, or one line on stderr for what matters. */
export function makeLog(logger: Logger | false | undefined, more: Omit<LogOptions, 'logger'> = {}): AnyLog {
  const { onLog } = more
  const least = leastLevel({ logger, ...more })
  const write = writerOf(logger, onLog !== undefined)
  const take = (records: readonly LogRecord[]) => {
    const wanted = records.filter(({ level }) => LOG_LEVELS.indexOf(level) >= least)
    if (wanted.length === 0) return
    for (const record of wanted) safely(() => write(record))
    if (onLog !== undefined) safely(() => onLog(wanted))
  }
  const one = (level: LogLevel) => {
    if (LOG_LEVELS.indexOf(level) < least) return nothing
    return (message: string, fields: LogFields = {}) => take([{ time: Date.now(), level, message, fields }])
  }
  return { debug: one('debug'), info: one('info'), warn: one('warn'), error: one('error'), take }
}

/** The log of a server, for lines of one of its services. */
export function serviceLog(log: AnyLog, service: string): AnyLog {
  const one =
    (level: LogLevel) =>
    (line: string, fields: LogFields = {}) =>
      log[level](line, { ...fields, service })
  return { debug: one('debug'), info: one('info'), warn: one('warn'), error: one('error'), take: log.take }
}

/** What writes one record. */
function writerOf(logger: Logger | false | undefined, hasOther: boolean): (record: LogRecord) => unknown {
  if (logger === false || (logger === undefined && hasOther)) return nothing
  if (logger === undefined) return ({ level, message }) => toStderr(level, message)
  if (!isPino(logger)) return ({ level, message }) => logger[level](message)
  return ({ level, message, fields }) => (logger as unknown as Pino)[level](fields, message)
}

type Pino = Record<LogLevel, (fields: LogFields, line: string) => void>

function isPino(logger: unknown): boolean {
  return isLogger(logger) && typeof (logger as { bindings?: unknown }).bindings === 'function'
}

/** A logger that fails must not fail a request. */
function safely(log: () => unknown): void {
  try {
    disown(log())
  } catch {
    // There is nobody to tell.
  }
}

function nothing(): void {}
