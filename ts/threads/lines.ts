import type { Logger } from '../logger.js'
import type { LogLine } from './messages.js'

/** Lines that wait at most; further ones are counted and dropped. */
const MOST = 1_024

/** Sends log lines on in batches, one at a time, so that few wait where nobody takes them. */
export class Lines {
  readonly #send: (lines: LogLine[]) => void
  #waiting: LogLine[] = []
  #dropped = 0
  #isUnderWay = false

  constructor(send: (lines: LogLine[]) => void) {
    this.#send = send
  }

  /** A logger whose lines go this way. */
  logger(): Logger {
    const to = (level: LogLine[0]) => (line: string) => this.#add([level, line])
    return { debug: to('debug'), info: to('info'), warn: to('warn'), error: to('error') }
  }

  #add(line: LogLine): void {
    if (this.#waiting.length >= MOST) {
      this.#dropped++
      return
    }
    this.#waiting.push(line)
    if (!this.#isUnderWay) this.#flush()
  }

  /** The lines that were sent last have been taken. */
  taken(): void {
    this.#isUnderWay = false
    if (this.#waiting.length > 0) this.#flush()
  }

  #flush(): void {
    this.#isUnderWay = true
    const lines = this.#waiting
    this.#waiting = []
    if (this.#dropped > 0) lines.push(['warn', `${this.#dropped} log lines of a thread were dropped`])
    this.#dropped = 0
    this.#send(lines)
  }
}
