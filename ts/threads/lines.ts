import type { AnyLog, LogFields, LogLevel, LogRecord } from '../logger.js'

/** Records that wait at most; further ones are counted and dropped. */
const MOST = 1_024

/** How many lines of threads were dropped, as far as that has been told here. */
let droppedLines = 0

export const droppedByThreads = (): number => droppedLines

/** Takes lines of a thread: what says that some were dropped is counted. */
export function takeLines(records: readonly LogRecord[], log: AnyLog): void {
  for (const { fields } of records) if (typeof fields.dropped === 'number') droppedLines += fields.dropped
  log.take(records)
}

/** Sends what is logged on in batches, one at a time, so that little waits where nobody takes it. */
export class Lines {
  readonly #send: (records: LogRecord[]) => void
  #waiting: LogRecord[] = []
  #dropped = 0
  #isUnderWay = false

  constructor(send: (records: LogRecord[]) => void) {
    this.#send = send
  }

  /** A log whose lines go this way. */
  log(): AnyLog {
    const to =
      (level: LogLevel) =>
      (message: string, fields: LogFields = {}) =>
        this.#add(recordOf(level, message, fields))
    const take = (records: readonly LogRecord[]) => {
      for (const record of records) this.#add(record)
    }
    return { debug: to('debug'), info: to('info'), warn: to('warn'), error: to('error'), take }
  }

  #add(record: LogRecord): void {
    if (this.#waiting.length >= MOST) {
      this.#dropped++
      return
    }
    this.#waiting.push(record)
    if (!this.#isUnderWay) this.#flush()
  }

  /** What was sent last has been taken. */
  taken(): void {
    this.#isUnderWay = false
    if (this.#waiting.length > 0) this.#flush()
  }

  #flush(): void {
    this.#isUnderWay = true
    const records = this.#waiting
    this.#waiting = []
    const dropped = this.#dropped
    if (dropped > 0)
      records.push(recordOf('warn', `${dropped} log lines of a thread were dropped`, { dropped }))
    this.#dropped = 0
    this.#send(records)
  }
}

function recordOf(level: LogLevel, message: string, fields: LogFields): LogRecord {
  return { time: Date.now(), level, message, fields }
}
