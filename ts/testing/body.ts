import { Readable } from 'node:stream'
import { type BodySource, SourceStage } from '../bodies/source.js'
import { show } from '../errors.js'
import { nextTurn } from './time.js'

/** What the body of an injected request may be. */
export type InjectBody = string | Uint8Array | URLSearchParams | BodySource

/** The same in words. */
export const BODIES =
  'a string, bytes (Uint8Array), URLSearchParams, a stream that can be read, or an iterable of strings and bytes'

/** Whether it can be sent, as far as that shows before it is read. */
export function isBody(given: unknown): boolean {
  if (typeof given === 'string' || given instanceof Uint8Array) return true
  if (typeof given !== 'object' || given === null) return false
  if (given instanceof Readable) return !given.destroyed && !given.readableEnded
  if ('getReader' in given) return (given as ReadableStream).locked === false
  // They can be iterated, and what comes of it is nothing to send.
  if (ArrayBuffer.isView(given) || given instanceof Map || given instanceof FormData) return false
  const { [Symbol.asyncIterator]: later, [Symbol.iterator]: now } = given as AsyncIterable<unknown> &
    Iterable<unknown>
  return typeof later === 'function' || typeof now === 'function'
}

/** A body gave a piece that is none: a mistake of the test. */
export class WrongPiece extends Error {
  /** Which piece: `body[0]`. */
  readonly path: string
  readonly found: unknown
  readonly allowed = 'a string or bytes'

  constructor(found: unknown, at: number) {
    super(`body[${at}]: found ${show(found)}, allowed: a string or bytes`)
    this.path = `body[${at}]`
    this.found = found
  }
}

/** Makes bytes of the pieces of one body, one after the other. @throws WrongPiece */
export function byPiece(): (piece: unknown) => Uint8Array {
  let count = 0
  return (piece) => {
    const at = count++
    if (typeof piece === 'string') return Buffer.from(piece)
    if (piece instanceof Uint8Array) return piece
    if (piece instanceof ArrayBuffer) return new Uint8Array(piece)
    throw new WrongPiece(piece, at)
  }
}

/** A body, ready to be sent: the whole of it, or what makes it. */
export function readyBody(given: InjectBody): Uint8Array | SourceStage {
  if (typeof given === 'string') return Buffer.from(given)
  if (given instanceof Uint8Array) return Buffer.from(given)
  if (given instanceof URLSearchParams) return Buffer.from(given.toString())
  try {
    return SourceStage.of(given, byPiece())
  } catch (error) {
    // It has failed when it is to be read, as if it had done so later.
    return new SourceStage(
      () => Promise.reject(error),
      () => undefined,
    )
  }
}

/** How many pieces that are there at once are taken without a turn for all else. */
const IN_A_ROW = 64

/** The pieces of a body that are not empty, while they are wanted. One without end lets timers fire. */
export async function* piecesOf(body: SourceStage, isWanted: () => boolean): AsyncGenerator<Uint8Array> {
  for (let count = 1; isWanted(); count++) {
    const { chunk, end } = await body.next()
    if (chunk !== null && chunk.byteLength > 0) yield chunk
    if (end) return
    if (count % IN_A_ROW === 0) await nextTurn()
  }
}

/** The type of a form, as browsers and `fetch` say it. */
export const FORM = 'application/x-www-form-urlencoded;charset=UTF-8'
