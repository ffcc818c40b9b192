/** Lines that are let through in each window. */
const LINES = 10
/** How long a window lasts, in milliseconds. */
const WINDOW_MS = 10_000

/** Log lines that clients can cause, and so can cause many of: ten in 10 s pass, the others are counted. */
export class Complaints {
  #passed = 0
  #dropped = 0
  #window: NodeJS.Timeout | undefined
  readonly #what: string

  /** `what` fails: for the line about those that were not logged. */
  constructor(what: string) {
    this.#what = what
  }

  add(log: (line: string) => void, line: string): void {
    this.#window ??= setTimeout(() => this.#next(log), WINDOW_MS).unref()
    if (this.#passed === LINES) {
      this.#dropped++
      return
    }
    this.#passed++
    log(line)
  }

  #next(log: (line: string) => void): void {
    if (this.#dropped > 0) log(`${this.#dropped} more failures of ${this.#what} were not logged`)
    this.#window = undefined
    this.#passed = 0
    this.#dropped = 0
  }
}
