import { Readable } from 'node:stream'
import { show, UsageError } from '../errors.js'
import type { BodyStage, Output } from './stage.js'
import { chunkOf } from './streamed.js'

/** A body made piece by piece, as fast as the client takes it. */
export type BodySource =
  | Readable
  | ReadableStream<Uint8Array | string>
  | AsyncIterable<Uint8Array | string>
  | Iterable<Uint8Array | string>

/** What somebody reads already, or has read. */
const taken = new WeakSet<object>()

/** Reads a body that is made piece by piece. */
export class SourceStage implements BodyStage {
  readonly #next: () => Promise<IteratorResult<unknown>>
  readonly #stop: () => unknown
  readonly #chunk: (piece: unknown) => Uint8Array
  #over = false

  /** @param chunk what a piece is as bytes; throws for one that is none */
  constructor(
    next: () => Promise<IteratorResult<unknown>>,
    stop: () => unknown,
    chunk: (piece: unknown) => Uint8Array = chunkOf,
  ) {
    this.#next = next
    this.#stop = stop
    this.#chunk = chunk
  }

  /** @throws UsageError INVALID_ANSWER */
  static of(source: unknown, chunk = chunkOf): SourceStage {
    if (source instanceof Readable) {
      // Without a listener an error ends the process, whoever else looks at the stream.
      source.on('error', () => undefined)
      if (source.destroyed || source.readableEnded) throw invalid('the stream of the body has ended already')
      taken.add(source)
      const iterator = source.iterator({ destroyOnReturn: true })
      return new SourceStage(
        () => iterator.next(),
        () => source.destroy(),
        chunk,
      )
    }
    if (isWebStream(source)) {
      if (source.locked) throw invalid('the stream of the body is locked')
      const reader = source.getReader()
      return new SourceStage(
        () => reader.read() as Promise<IteratorResult<unknown>>,
        () => reader.cancel(),
        chunk,
      )
    }
    const iterator = iteratorOf(source)
    if (iterator === undefined)
      throw invalid(`the body is ${show(source)}, not a string, bytes, a stream or an iterable of them`)
    taken.add(source as object)
    return new SourceStage(
      async () => iterator.next(),
      async () => iterator.return?.(),
      chunk,
    )
  }

  /** Nobody reads this after all: what makes it hears so, unless somebody has taken it before. Never throws. */
  static discard(source: unknown): void {
    if (typeof source !== 'object' || source === null || taken.has(source)) return
    try {
      if (source instanceof Readable) {
        source.on('error', () => undefined)
        source.destroy()
      } else SourceStage.of(source).cancel()
    } catch {
      // It is locked, or makes nothing.
    }
  }

  async next(): Promise<Output> {
    const { done, value } = await this.#next()
    if (done) {
      this.#over = true
      return { chunk: null, end: true, more: false }
    }
    return { chunk: this.#chunk(value), end: false, more: true }
  }

  cancel(): void {
    if (this.#over) return
    this.#over = true
    // What it says to that is nobody's concern any more.
    Promise.resolve()
      .then(this.#stop)
      .catch(() => undefined)
  }
}

function isWebStream(value: unknown): value is ReadableStream<unknown> {
  return typeof (value as ReadableStream | null | undefined)?.getReader === 'function'
}

function iteratorOf(value: unknown): AsyncIterator<unknown> | Iterator<unknown> | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const { [Symbol.asyncIterator]: asynchronous, [Symbol.iterator]: synchronous } =
    value as AsyncIterable<unknown> & Iterable<unknown>
  if (typeof asynchronous === 'function') return asynchronous.call(value)
  return typeof synchronous === 'function' ? synchronous.call(value) : undefined
}

function invalid(message: string): UsageError {
  return new UsageError('INVALID_ANSWER', message)
}
