import type { Awaitable } from '../phases.js'

/** What there is to send, for now. */
export interface Output {
  /** null = nothing. */
  readonly chunk: Uint8Array | null
  /** The body ends with it. */
  readonly end: boolean
  /** There is more to come before the next piece. */
  readonly more: boolean
}

/** Makes a body: of the pieces of another one, or by itself. It is asked for one output at a time. */
export interface BodyStage {
  /** A piece of the other body, `end` with the last; undefined where there is none, but more was announced. */
  next(piece: Buffer | undefined, end: boolean): Awaitable<Output>
  /** Nobody wants the rest. Never throws; may be called at any time, and more than once. */
  cancel(): void
}

/** Nothing for now: the next piece is wanted. */
export const NOTHING_YET: Output = { chunk: null, end: false, more: false }

/** A string or bytes, as bytes. */
export function bytesOf(value: string | Uint8Array): Uint8Array {
  return typeof value === 'string' ? Buffer.from(value) : value
}

/** What a body phase returns to end the body. */
export interface LastPiece {
  chunk?: string | Uint8Array
  end: true
}

/** Whether a phase returned that, and nothing beside. */
export function isLastPiece(value: unknown): value is LastPiece {
  if (typeof value !== 'object' || value === null) return false
  const { chunk, end, ...rest } = value as { chunk?: unknown; end?: unknown }
  const isChunk = chunk === undefined || typeof chunk === 'string' || chunk instanceof Uint8Array
  return end === true && isChunk && Object.keys(rest).length === 0
}
