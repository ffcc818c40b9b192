import { UsageError } from '../errors.js'

/** Fields as they were on the wire: names and values, in order, each character a byte. */
export type RawHeaders = readonly (readonly [string, string])[]

/** The most of one body that is kept, in bytes. */
const MOST_KEPT = 64 * 1024 * 1024

/** What is said of a body of which that is not the whole. */
export function tooLong(what: string): UsageError {
  return new UsageError(
    'INJECT_LIMIT',
    `${what} is longer than ${MOST_KEPT / 1024 / 1024} MiB, and inject keeps no more of one`,
  )
}

/** What a response and a request upstream have in common. */
export abstract class Message {
  /** The fields, by name. */
  readonly headers: Headers
  /** The same as they were on the wire. */
  readonly rawHeaders: RawHeaders
  /** The fields after the body. */
  readonly trailers = new Headers()
  /** Whether all of it came. */
  complete = false
  readonly #pieces: Uint8Array[] = []
  #length = 0

  /** @internal */
  constructor(rawHeaders: RawHeaders) {
    this.rawHeaders = rawHeaders
    this.headers = new Headers()
    fill(this.headers, rawHeaders)
  }

  /** @internal Keeps a piece of the body; false where that is too much. */
  keep(piece: Uint8Array): boolean {
    this.#length += piece.byteLength
    if (this.#length > MOST_KEPT) return false
    this.#pieces.push(piece)
    return true
  }

  /** @internal */
  trailed(rawTrailers: RawHeaders): void {
    fill(this.trailers, rawTrailers)
  }

  /** The body, as far as it came. */
  bytes(): Buffer {
    return Buffer.concat(this.#pieces)
  }

  /** The body as UTF-8. */
  text(): string {
    return this.bytes().toString('utf8')
  }

  /** The body as JSON. @throws SyntaxError */
  json(): unknown {
    return JSON.parse(this.text())
  }
}

function fill(headers: Headers, raw: RawHeaders): void {
  for (const [name, value] of raw) if (!name.startsWith(':')) headers.append(name, value)
}

/** Names and values in turn, as Node.js has them, in pairs. */
export function pairs(flat: readonly string[]): [string, string][] {
  const found: [string, string][] = []
  for (let at = 0; at + 1 < flat.length; at += 2) found.push([flat[at]!, flat[at + 1]!])
  return found
}

/** The fields of an object of `node:http2`, but for those of the protocol. */
export function pairsOf(headers: NodeJS.Dict<string | string[] | number>): [string, string][] {
  return Object.entries(headers).flatMap(([name, value]) => {
    if (name.startsWith(':') || value === undefined) return []
    return [value].flat().map((one): [string, string] => [name, String(one)])
  })
}

/** An interim response, such as 103. */
export interface InjectedInterim {
  /** 100 to 199. */
  readonly status: number
  /** Its fields. */
  readonly headers: Headers
}

/** What the client got. Its body is whole: the methods that give it are not async. */
export class InjectedResponse extends Message {
  /** 0 where no head came: the client had left, or the connection was cut. */
  readonly status: number
  /** The interim responses that came before it. */
  readonly interims: readonly InjectedInterim[]

  /** @internal */
  constructor(status: number, rawHeaders: RawHeaders, interims: readonly InjectedInterim[]) {
    super(rawHeaders)
    this.status = status
    this.interims = interims
  }
}
