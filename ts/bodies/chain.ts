import { type BodyStage, NOTHING_YET, type Output } from './stage.js'

const EMPTY = Buffer.alloc(0)

/** Two stages, one behind the other. */
export class ChainStage implements BodyStage {
  readonly #first: BodyStage
  readonly #second: BodyStage
  /** The body ends with the last piece that was given. */
  #isLast = false
  /** The first has more to give before it wants another piece; the second likewise. */
  #more = false
  #secondMore = false
  #firstEnded = false

  constructor(first: BodyStage, second: BodyStage) {
    this.#first = first
    this.#second = second
  }

  async next(piece: Buffer | undefined, end: boolean): Promise<Output> {
    this.#isLast ||= end
    let given = piece
    for (;;) {
      if (!this.#secondMore) {
        const made = await this.#fromFirst(given)
        given = undefined
        if (made === undefined) return NOTHING_YET
        if (made.chunk === null && !made.end) continue
        const output = await this.#second.next(buffer(made.chunk), made.end)
        if (this.#take(output)) return this.#output(output)
        continue
      }
      const output = await this.#second.next(undefined, this.#firstEnded)
      if (this.#take(output)) return this.#output(output)
    }
  }

  /** Undefined where the first wants its next piece. */
  async #fromFirst(piece: Buffer | undefined): Promise<Output | undefined> {
    if (piece === undefined && !this.#more) return undefined
    const output = await this.#first.next(piece, this.#isLast)
    this.#more = output.more
    this.#firstEnded = output.end
    return output.chunk === null && !output.end && !output.more ? undefined : output
  }

  /** Whether the output is worth giving on. */
  #take(output: Output): boolean {
    this.#secondMore = output.more
    return output.chunk !== null || output.end
  }

  #output({ chunk, end }: Output): Output {
    // Whoever ends the body does not want the rest of it.
    if (end && !this.#firstEnded) this.#first.cancel()
    return { chunk, end, more: !end && (this.#secondMore || this.#more) }
  }

  cancel(): void {
    this.#first.cancel()
    this.#second.cancel()
  }
}

function buffer(chunk: Uint8Array | null): Buffer {
  if (chunk === null) return EMPTY
  return Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
}
