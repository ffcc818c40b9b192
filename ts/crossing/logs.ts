import type { AnyLog } from '../logger.js'

/** Hands the addon's log lines to the loggers of their servers. */
export class Logs {
  readonly #logs = new Map<number, AnyLog>()

  /** The lines of a server go to its logger from now on. */
  add(server: number, log: AnyLog): void {
    this.#logs.set(server, log)
  }

  /** The server has stopped: its last lines may still be on their way for so long. */
  retire(server: number, afterMs: number): void {
    if (afterMs === 0) this.#logs.delete(server)
    else setTimeout(() => this.#logs.delete(server), afterMs).unref()
  }

  /** Lines as `level\0server\0text`; those of no server in particular go to all. */
  take(lines: readonly string[]): void {
    for (const line of lines) {
      const [level, server = ''] = line.split('\0', 2)
      if (level !== 'error' && level !== 'warn' && level !== 'info' && level !== 'debug') continue
      const text = line.slice(level.length + server.length + 2)
      if (server === '') for (const log of this.#logs.values()) log[level](text)
      else this.#logs.get(Number(server))?.[level](text)
    }
  }
}
