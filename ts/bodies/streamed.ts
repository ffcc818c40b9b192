import {
  ReadableStream,
  type ReadableStreamDefaultController,
  type ReadableStreamDefaultReader,
} from 'node:stream/web'
import { disown } from '../crossing/promise.js'
import { ProxyError, show } from '../errors.js'
import { type BodyStage, bytesOf, NOTHING_YET, type Output } from './stage.js'

/** Makes a body's stream into another. */
export type StreamTransform = (stream: ReadableStream<Uint8Array>) => ReadableStream<Uint8Array>

type Read = Awaited<ReturnType<ReadableStreamDefaultReader<unknown>['read']>>

/** Passes a body through web streams, one piece of it at a time. */
export class StreamStage implements BodyStage {
  readonly #transform: StreamTransform
  #input: ReadableStreamDefaultController<Uint8Array> | undefined
  #reader: ReadableStreamDefaultReader<unknown> | undefined
  #reading: Promise<Read> | undefined
  /** The stream wants its next piece. */
  #wants = false
  #wake: (() => void) | undefined
  #closed = false

  constructor(transform: StreamTransform) {
    this.#transform = transform
  }

  async next(piece: Buffer | undefined, end: boolean): Promise<Output> {
    const reader = this.#begin()
    if (piece !== undefined && piece.length > 0 && !this.#closed) {
      this.#wants = false
      this.#input!.enqueue(piece)
    }
    if (end && !this.#closed) {
      this.#closed = true
      this.#input!.close()
    }
    this.#reading ??= reader.read()
    this.#reading.catch(() => undefined)
    const read = await Promise.race([this.#reading, this.#wanted()])
    if (read === undefined) return NOTHING_YET
    this.#reading = undefined
    if (read.done) return { chunk: null, end: true, more: false }
    return { chunk: chunkOf(read.value), end: false, more: true }
  }

  #begin(): ReadableStreamDefaultReader<unknown> {
    if (this.#reader !== undefined) return this.#reader
    const input = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.#input = controller
      },
      pull: () => {
        this.#wants = true
        this.#wake?.()
      },
      // Who reads it wants no more of it; what comes of what was read is still sent.
      cancel: () => {
        this.#closed = true
      },
    })
    const output: unknown = this.#transform(input)
    if (typeof (output as ReadableStream | undefined)?.getReader !== 'function')
      throw new ProxyError({
        code: 'PHASE_RETURN',
        message: `the function of body returned ${show(output)}; it has to return a ReadableStream`,
      })
    this.#reader = (output as ReadableStream<unknown>).getReader()
    return this.#reader
  }

  /** Settles when the stream wants another piece; never once there is no more for it. */
  #wanted(): Promise<undefined> {
    return new Promise((resolve) => {
      this.#wake = () => {
        if (this.#wants && !this.#closed) resolve(undefined)
      }
      this.#wake()
    })
  }

  cancel(): void {
    this.#wake = undefined
    this.#reader?.cancel().catch(() => undefined)
    if (!this.#closed) {
      this.#closed = true
      try {
        this.#input?.error(
          new ProxyError({
            code: 'CLIENT_ABORTED',
            source: 'downstream',
            message: 'the body is not wanted any more',
          }),
        )
      } catch {
        // It was closed by its reader.
      }
    }
  }
}

/** A chunk of a stream, as bytes. @throws ProxyError PHASE_RETURN */
export function chunkOf(value: unknown): Uint8Array {
  if (typeof value === 'string' || value instanceof Uint8Array) return bytesOf(value)
  if (value instanceof ArrayBuffer) return new Uint8Array(value)
  disown(value)
  throw new ProxyError({
    code: 'PHASE_RETURN',
    message: `a stream of a body gave ${show(value)}; it may give bytes and strings`,
  })
}
