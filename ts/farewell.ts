import { MAX_MS } from './options.js'

/** How long log lines and ends of requests may be on their way once a server has stopped. */
export const LAST_WORDS_MS = 1_000

/**
 * How long a server that has served its last request waits for what `logging` has begun: until its grace is
 * over, but for a second at least, as of a request that was cut off it has just begun; with a grace of 0 not
 * at all.
 */
export class Farewell {
  /** Settles when nothing is waited for any more. */
  readonly over: Promise<void>
  #isOver = false
  #end = Number.POSITIVE_INFINITY
  #begun: number | undefined
  #isAtOnce = false
  #timer: NodeJS.Timeout | undefined
  #settle!: () => void

  constructor() {
    this.over = new Promise((resolve) => {
      this.#settle = resolve
    })
  }

  /** Whether nothing is waited for any more. */
  get isOver(): boolean {
    return this.#isOver
  }

  /** The server is told to close: of several times the shortest holds. */
  within(delayMs: number, graceMs: number): void {
    this.#end = Math.min(this.#end, performance.now() + delayMs + graceMs)
    this.#isAtOnce ||= graceMs === 0
    this.#arm()
  }

  /** The last request has ended. */
  begin(): void {
    this.#begun ??= performance.now()
    this.#arm()
  }

  /** Nobody waits any more. */
  end(): void {
    clearTimeout(this.#timer)
    this.#isOver = true
    this.#settle()
  }

  #arm(): void {
    if (this.#begun === undefined || this.#isOver) return
    clearTimeout(this.#timer)
    const end = this.#isAtOnce ? 0 : Math.max(this.#end, this.#begun + LAST_WORDS_MS)
    const wait = end - performance.now()
    if (wait <= 0) this.end()
    else this.#timer = setTimeout(() => this.end(), Math.min(wait, MAX_MS))
  }
}
