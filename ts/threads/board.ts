import type { ThreadStats } from '../stats.js'

/** What a thread and its server show each other, in memory that they share. */
export class Board {
  /** The latest question whether it lives, and the latest answer. */
  readonly beats: Int32Array
  readonly memory: SharedArrayBuffer
  readonly #figures: Float64Array

  constructor(memory: SharedArrayBuffer = new SharedArrayBuffer(40)) {
    this.memory = memory
    this.beats = new Int32Array(memory, 0, 2)
    this.#figures = new Float64Array(memory, 8)
  }

  /** What only the thread knows of itself. */
  show({ loopDelayMs: { mean, p99, max }, late }: Pick<ThreadStats, 'loopDelayMs' | 'late'>): void {
    this.#figures.set([mean, p99, max, late])
  }

  read(): Pick<ThreadStats, 'loopDelayMs' | 'late'> {
    const [mean, p99, max, late] = this.#figures as unknown as [number, number, number, number]
    return { loopDelayMs: { mean, p99, max }, late }
  }
}
