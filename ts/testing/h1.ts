import type { Writable } from 'node:stream'
import type { RawHeaders } from './message.js'
import type { Outlet } from './outlet.js'

/** What else there is to a message. */
interface Extras {
  /** Default: true, as far as the head says so. */
  readonly hasBody?: boolean
  /** Sent only where the body is in chunks. Default: none. */
  readonly trailers?: RawHeaders
  /** Called when all of it has been written. */
  ended?(): void
}

/**
 * A message of HTTP/1.1 on its way out. Its head is written as it is given: where that is odd, finding it out is for
 * the proxy, and `node:http` would not send it. The body goes in the frame that the head names.
 */
export class H1Message implements Outlet {
  readonly to: Writable
  passed = Promise.resolve(true)
  /** All of it has been written. */
  isEnded = false
  readonly #isChunked: boolean
  readonly #extras: Extras
  /** Held back until something goes with it, so that a short message is one piece. */
  #head: Buffer

  constructor(to: Writable, startLine: string, fields: RawHeaders, extras: Extras = {}) {
    this.to = to
    this.#extras = extras
    this.#isChunked = extras.hasBody !== false && says(fields, 'transfer-encoding', 'chunked')
    this.#head = Buffer.from(`${startLine}\r\n${lines(fields)}\r\n`, 'latin1')
  }

  write(piece: Uint8Array): boolean {
    return this.#send(...this.#framed(piece))
  }

  end(last: Uint8Array = new Uint8Array()): void {
    const { trailers = [], ended } = this.#extras
    const final = this.#isChunked ? [Buffer.from(`0\r\n${lines(trailers)}\r\n`, 'latin1')] : []
    this.#send(...this.#framed(last), ...final)
    this.isEnded = true
    ended?.()
  }

  #framed(piece: Uint8Array): Uint8Array[] {
    if (piece.byteLength === 0) return []
    if (!this.#isChunked) return [piece]
    return [Buffer.from(`${piece.byteLength.toString(16)}\r\n`), piece, Buffer.from('\r\n')]
  }

  /** Sends the head, if it has not gone yet. */
  flush(): void {
    if (this.#head.byteLength > 0) this.#send()
  }

  #send(...pieces: Uint8Array[]): boolean {
    const bytes = Buffer.concat([this.#head, ...pieces])
    if (bytes.byteLength === 0) return true
    this.#head = Buffer.alloc(0)
    let room = false
    this.passed = new Promise((resolve) => {
      room = this.to.write(bytes, (error) => resolve(!error))
    })
    return room
  }
}

function lines(fields: RawHeaders): string {
  return fields.map(([name, value]) => `${name}: ${value}\r\n`).join('')
}

/** Whether a name is the one that is given in lower case. */
export function isNamed(name: string, wanted: string): boolean {
  return name.toLowerCase() === wanted
}

/** Whether there is a field of the name, in lower case, and one of the elements of its values is `element`. */
export function says(fields: RawHeaders, wanted: string, element: string): boolean {
  const elements = fields.flatMap(([name, value]) => (isNamed(name, wanted) ? value.split(',') : []))
  return elements.some((one) => one.trim().toLowerCase() === element)
}

/** Whether a head says how long its body is. */
export function isFramed(fields: RawHeaders): boolean {
  return fields.some(([name]) => isNamed(name, 'content-length') || isNamed(name, 'transfer-encoding'))
}
