import { promisify } from 'node:util'
import { brotliDecompress, gunzip, inflate } from 'node:zlib'
import { ProxyError, show } from '../errors.js'
import type { Awaitable } from '../phases.js'
import { type BodyStage, bytesOf, NOTHING_YET, type Output } from './stage.js'

/** What a whole body becomes; nothing = it stays as it is. */
export type Transform = (whole: Buffer) => Awaitable<string | Uint8Array | void>

const DECODERS = {
  gzip: promisify(gunzip),
  'x-gzip': promisify(gunzip),
  deflate: promisify(inflate),
  br: promisify(brotliDecompress),
} as const

/** The codings that can be undone. */
export const canDecode = (coding: string): coding is keyof typeof DECODERS => Object.hasOwn(DECODERS, coding)

/** Puts a body together, up to a bound, and changes it as a whole. */
export class WholeStage implements BodyStage {
  readonly #transform: Transform
  readonly #coding: string | undefined
  readonly #maxBytes: number
  #pieces: Buffer[] = []
  #length = 0

  /** @param coding what the body is decoded from first */
  constructor(transform: Transform, coding: string | undefined, maxBytes: number) {
    this.#transform = transform
    this.#coding = coding
    this.#maxBytes = maxBytes
  }

  next(piece: Buffer | undefined, end: boolean): Awaitable<Output> {
    if (piece !== undefined && piece.length > 0) {
      this.#length += piece.length
      if (this.#length > this.#maxBytes) throw this.#tooLarge()
      this.#pieces.push(piece)
    }
    return end ? this.#finish() : NOTHING_YET
  }

  async #finish(): Promise<Output> {
    const pieces = this.#pieces
    this.#pieces = []
    const whole = await this.#decode(pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces))
    const result: unknown = await this.#transform(whole)
    if (result !== undefined && typeof result !== 'string' && !(result instanceof Uint8Array))
      throw new ProxyError({
        code: 'PHASE_RETURN',
        message: `transformBody's function returned ${show(result)}; it may return a string, bytes or nothing`,
      })
    return { chunk: result === undefined ? whole : bytesOf(result), end: true, more: false }
  }

  async #decode(whole: Buffer): Promise<Buffer> {
    if (this.#coding === undefined || whole.length === 0) return whole
    try {
      return await DECODERS[this.#coding as keyof typeof DECODERS](whole, { maxOutputLength: this.#maxBytes })
    } catch (cause) {
      if ((cause as { code?: string }).code === 'ERR_BUFFER_TOO_LARGE') throw this.#tooLarge()
      throw new ProxyError({
        code: 'UPSTREAM_INVALID',
        message: `the body is not ${this.#coding}, as its head says`,
        cause,
      })
    }
  }

  #tooLarge(): ProxyError {
    const message = `the body is larger than maxBytes of transformBody, ${this.#maxBytes}`
    const error = new ProxyError({ code: 'BODY_TOO_LARGE', status: 502, message })
    // What an origin sends is no business of the client's.
    ;(error as { isShown: boolean }).isShown = false
    return error
  }

  cancel(): void {
    this.#pieces = []
  }
}
