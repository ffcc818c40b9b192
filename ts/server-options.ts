import type { UsageError } from './errors.js'
import { isLogger, LOG_LEVELS, type Logger, type LogLevel, type LogRecord } from './logger.js'
import { flag, ms, oneOf, value } from './options.js'
import type { Service, ServiceState } from './service.js'
import { type UpgradeOptions, upgradeRules } from './upgrade.js'

/** How a server stops, is replaced, and where it logs. */
export interface ServerOptions extends UpgradeOptions {
  /**
   * How long requests and background services may take to end after `close()`, or when a start has failed
   * after some services were up, in milliseconds. Default: 30,000.
   */
  graceMs?: number
  /**
   * How long `run()` goes on as ever after SIGTERM before it closes, in milliseconds: time for load
   * balancers to hear of it, which else send clients to a port that is closed. Default: 0.
   */
  shutdownDelayMs?: number
  /** Where log lines go; `false`: nowhere. Default: warnings and errors, one line each, on stderr. */
  logger?: Logger | false
  /**
   * Is given what is logged as data, all that has come since the last call at once; without a `logger`
   * nothing goes to stderr then. Default: nobody is.
   */
  onLog?: (records: readonly LogRecord[]) => void
  /**
   * The least level that is logged. `debug` given here also asks the libraries beneath to say more than
   * warnings. Default: `warn` on stderr, that of a pino logger, `info` to `onLog` alone, else `debug`.
   */
  logLevel?: LogLevel
  /**
   * Linux: makes the thread of JavaScript one that the system does not hurry to switch to
   * (SCHED_BATCH), from the first start on. Requests share wake-ups better so, which saves several
   * microseconds of processor time for each; a program that does much else beside may not want it.
   * Processes that the program starts inherit it. Default: true on Linux, false elsewhere.
   */
  batchJsThread?: boolean
}

/** How a service stands to others. */
export interface AddServiceOptions {
  /**
   * Services of the same server that have to be ready before this one starts, and that stop after it. If
   * one of them fails before it is ready, `start()` rejects. They may be added later. Default: none.
   */
  dependsOn?: readonly Service[]
}

/** Where a server is in its life. After a start that failed it is `new` again. */
export type ServerState = 'new' | 'starting' | 'running' | 'closing' | 'closed'

/** What a server emits, and what listeners are given. */
export interface ServerEvents {
  /** The server has come to another state. */
  state: [state: ServerState]
  /** A service has come to another state; with `failed` and `restarting`, why. */
  service: [service: Service, state: ServiceState, error: UsageError | undefined]
  /** A service has failed after the start. Without a listener it is only logged. */
  error: [error: UsageError, service: Service]
}

/** How many ended, and how. */
export interface Ends {
  /** Those that ended by themselves. */
  readonly finished: number
  /** Those that were cut off at the end of the grace. */
  readonly cut: number
}

/** How a server stopped: what became of its work from when it stopped to accept. */
export interface CloseReport {
  /** Requests; a WebSocket or another tunnel is one. */
  readonly requests: Ends
  /** Connections of clients, idle ones among them. */
  readonly connections: Ends
}

/** @internal The rules of {@link ServerOptions}. */
export const serverRules = {
  graceMs: ms(30_000, 'at once'),
  shutdownDelayMs: ms(0, 'at once'),
  ...upgradeRules,
  logger: value<Logger | false | undefined>(
    undefined,
    'false, or an object with the functions debug, info, warn and error',
    (v) => v === false || isLogger(v),
  ),
  onLog: value<ServerOptions['onLog']>(undefined, 'a function', (v) => typeof v === 'function'),
  logLevel: oneOf<LogLevel, undefined>(undefined, LOG_LEVELS),
  batchJsThread: flag<boolean | undefined>(undefined, 'batchThreads'),
}
