import { promisify } from 'node:util'
import { brotliDecompress, gunzip, inflate, inflateRaw, type ZlibOptions } from 'node:zlib'
import { ProxyError, show } from '../errors.js'
import type { Awaitable } from '../phases.js'
import { type BodyStage, bytesOf, NOTHING_YET, type Output } from './stage.js'

/** What a whole body becomes; nothing = it stays as it is. */
export type Transform = (whole: Buffer) => Awaitable<string | Uint8Array | void>

type Decoder = (coded: Buffer, options: ZlibOptions) => Promise<Buffer>

const [zlib, raw] = [
  promisify<Buffer, ZlibOptions, Buffer>(inflate),
  promisify<Buffer, ZlibOptions, Buffer>(inflateRaw),
]
const DECODERS: Record<string, Decoder> = {
  gzip: promisify<Buffer, ZlibOptions, Buffer>(gunzip),
  'x-gzip': promisify<Buffer, ZlibOptions, Buffer>(gunzip),
  // Some leave out the wrapper that it has by RFC 9110 §8.4.1.2, as every client knows.
  deflate: (coded, options) => ((coded[0]! & 0x0f) === 8 ? zlib : raw)(coded, options),
  br: promisify(brotliDecompress),
}

/** The codings that a body was given, the last first; undefined if one of them cannot be undone. */
export function codingsOf(field: string | undefined): readonly string[] | undefined {
  const all = (field ?? '')
    .toLowerCase()
    .split(',')
    .map((coding) => coding.trim())
  const codings = all.filter((coding) => coding !== '' && coding !== 'identity')
  return codings.every((coding) => Object.hasOwn(DECODERS, coding)) ? codings.reverse() : undefined
}

/** Puts a body together, up to a bound, and changes it as a whole. */
export class WholeStage implements BodyStage {
  readonly #transform: Transform
  readonly #codings: readonly string[]
  readonly #maxBytes: number
  #pieces: Buffer[] = []
  #length = 0

  /** @param codings what the body is decoded from first, one after the other */
  constructor(transform: Transform, codings: readonly string[], maxBytes: number) {
    this.#transform = transform
    this.#codings = codings
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
    let body = whole
    for (const coding of this.#codings) {
      if (body.length === 0) break
      try {
        body = await DECODERS[coding]!(body, { maxOutputLength: this.#maxBytes })
      } catch (cause) {
        if ((cause as { code?: string }).code === 'ERR_BUFFER_TOO_LARGE') throw this.#tooLarge()
        const message = `the body is not ${coding}, as its head says`
        throw new ProxyError({ code: 'UPSTREAM_INVALID', message, cause })
      }
    }
    return body
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
