import { Readable } from 'node:stream'
import { type BodySource, SourceStage } from '../bodies/source.js'
import { invalidOptions, type UsageError } from '../errors.js'

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
  return Symbol.asyncIterator in given || Symbol.iterator in given
}

/** A body gave a piece that is none: a mistake of the test. */
export class WrongPiece extends Error {
  /** What `inject` rejects with. */
  readonly usage: UsageError

  constructor(found: unknown, at: number) {
    super('not a piece of a body')
    this.usage = invalidOptions('inject', [{ path: `body[${at}]`, found, allowed: 'a string or bytes' }])
  }
}

/** A body, ready to be sent: the whole of it, or what makes it. */
export function readyBody(given: InjectBody): Uint8Array | SourceStage {
  if (typeof given === 'string') return Buffer.from(given)
  if (given instanceof Uint8Array) return Buffer.from(given)
  if (given instanceof URLSearchParams) return Buffer.from(given.toString())
  let count = 0
  return SourceStage.of(given, (piece) => {
    const at = count++
    if (typeof piece === 'string') return Buffer.from(piece)
    if (piece instanceof Uint8Array) return piece
    if (piece instanceof ArrayBuffer) return new Uint8Array(piece)
    throw new WrongPiece(piece, at)
  })
}

/** The type of a form, as browsers and `fetch` say it. */
export const FORM = 'application/x-www-form-urlencoded;charset=UTF-8'
