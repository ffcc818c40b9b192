/** Where log lines go: pino, `console`, or one of your own. */
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

/** A logger that never throws. */
export type AnyLog = Logger

const LEVELS = ['debug', 'info', 'warn', 'error'] as const

/** Whether a value can be used as a logger. */
export function isLogger(value: unknown): value is Logger {
  if (typeof value !== 'object' || value === null) return false
  return LEVELS.every((level) => typeof (value as Record<string, unknown>)[level] === 'function')
}

/** The logger of a server: the one given, none, or one line on stderr for warnings and errors. */
export function makeLog(logger: Logger | false | undefined): AnyLog {
  if (logger === false) return { debug: nothing, info: nothing, warn: nothing, error: nothing }
  const log = logger ?? { debug: nothing, info: nothing, warn: toStderr('warn'), error: toStderr('error') }
  return {
    debug: safely(log, 'debug'),
    info: safely(log, 'info'),
    warn: safely(log, 'warn'),
    error: safely(log, 'error'),
  }
}

function safely(log: Logger, level: keyof Logger): (line: string) => void {
  return (line) => {
    try {
      log[level](line)
    } catch {
      // A logger that fails must not fail a request.
    }
  }
}

function toStderr(level: string): (line: string) => void {
  return (line) => {
    const { stderr } = process
    // As console does: a closed stderr is not to end the process.
    stderr.once('error', nothing)
    try {
      stderr.write(`${new Date().toISOString()} ${level} millrace: ${line.replace(/[\r\n]+/g, ' ')}\n`)
    } finally {
      stderr.removeListener('error', nothing)
    }
  }
}

function nothing(): void {}
