import type { AnyLog, LogRecord } from '../logger.js'
import type { NativeLogRecord } from '../native.js'

/** Hands the addon's log records to the loggers of their servers. */
export class Logs {
  readonly #logs = new Map<number, AnyLog>()
  /** Servers that have stopped, and whose last records may still be on their way. */
  readonly #leaving = new Set<number>()

  /** The records of a server go to its logger from now on. */
  add(server: number, log: AnyLog): void {
    this.#logs.set(server, log)
  }

  /** The server has stopped: its last records may still be on their way for so long. */
  retire(server: number, afterMs: number): void {
    const forget = () => {
      this.#logs.delete(server)
      this.#leaving.delete(server)
    }
    this.#leaving.add(server)
    if (afterMs === 0) forget()
    else setTimeout(forget, afterMs).unref()
  }

  /** What has been logged since the last call; records of no server in particular go to all. */
  take(told: readonly NativeLogRecord[]): void {
    const batches = new Map<AnyLog, LogRecord[]>()
    for (const { server, level, time, message, names, values } of told) {
      const fields: Record<string, string | number> = {}
      for (const [at, name] of names.entries()) fields[name] = values[at]!
      const record: LogRecord = { time, level: level as LogRecord['level'], message, fields }
      for (const log of this.#of(server)) {
        const batch = batches.get(log)
        if (batch === undefined) batches.set(log, [record])
        else batch.push(record)
      }
    }
    for (const [log, batch] of batches) log.take(batch)
  }

  #of(server: number): AnyLog[] {
    if (server === 0) return [...this.#logs].filter(([one]) => !this.#leaving.has(one)).map(([, log]) => log)
    const log = this.#logs.get(server)
    return log === undefined ? [] : [log]
  }
}
