import type { NativeCrossing } from '../native.js'
import type { FastBuffer } from './buffer.js'

/** What a record says. */
export const Result = {
  done: 0,
  answered: 1,
  thrown: 2,
  progress: 3,
  free: 4,
  interim: 5,
  read: 6,
  ended: 7,
} as const

/** Integers of one record. */
const SIZE = 8
const START_BYTES = 64 * 1024
const KEEP_BYTES = 1024 * 1024

/** The addon's side of a crossing, or a stand-in for tests. */
export type CrossingLike = Pick<NativeCrossing, 'buffers' | 'finish' | 'tls' | 'body' | 'bodyPiece'>

/** What goes back to the addon: records, and the bytes they speak of. */
export class Records {
  readonly #native: CrossingLike
  readonly #ints: Int32Array
  readonly #room: number
  #count = 0
  #output = allocate(START_BYTES)
  #used = 0

  constructor(native: CrossingLike, ints: Int32Array) {
    this.#native = native
    this.#ints = ints
    this.#room = Math.floor(ints.length / SIZE)
  }

  /** Adds a record without bytes. */
  plain(slot: number, seq: number, result: number, phase: number, value: number): void {
    if (this.#count === this.#room) this.finish()
    this.#put(slot, seq, result, phase, value, 0, 0)
  }

  /** Adds a record with text in latin-1, and with bytes or text in UTF-8. */
  full(
    slot: number,
    seq: number,
    result: number,
    phase: number,
    value: number,
    a: string,
    b: string | Uint8Array,
  ): void {
    if (this.#count === this.#room) this.finish()
    // A character of a JavaScript string is at most three bytes in UTF-8.
    const most = a.length + (typeof b === 'string' ? b.length * 3 : b.byteLength)
    if (this.#used + most > this.#output.length) this.#grow(most)
    const at = this.#used
    const lengthA = a === '' ? 0 : this.#output.latin1Write(a, at)
    let lengthB = 0
    if (typeof b !== 'string') {
      this.#output.set(b, at + lengthA)
      lengthB = b.byteLength
    } else if (b !== '') lengthB = this.#output.utf8Write(b, at + lengthA)
    this.#used = at + lengthA + lengthB
    this.#put(slot, seq, result, phase, value, lengthA, lengthB)
  }

  #put(slot: number, seq: number, result: number, phase: number, value: number, a: number, b: number): void {
    const ints = this.#ints
    const at = this.#count++ * SIZE
    ints[at] = slot
    ints[at + 1] = seq
    ints[at + 2] = result
    ints[at + 3] = phase
    ints[at + 4] = value
    ints[at + 5] = this.#used - a - b
    ints[at + 6] = a
    ints[at + 7] = b
  }

  #grow(most: number): void {
    let size = this.#output.length * 2
    while (size < this.#used + most) size *= 2
    const bigger = allocate(size)
    this.#output.copy(bigger, 0, 0, this.#used)
    this.#output = bigger
  }

  /** Hands over what has gathered. */
  finish(): void {
    if (this.#count === 0) return
    const count = this.#count
    const used = this.#used
    this.#count = 0
    this.#used = 0
    this.#native.finish(count, this.#output, used)
    if (this.#output.length > KEEP_BYTES) this.#output = allocate(START_BYTES)
  }
}

function allocate(size: number): FastBuffer {
  return Buffer.allocUnsafeSlow(size) as unknown as FastBuffer
}
