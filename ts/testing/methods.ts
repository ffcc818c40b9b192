import { type IncomingMessage, METHODS } from 'node:http'

/** A method that `node:http` reads, of which nothing follows for the frame of a request. */
const STAND_IN = Buffer.from('POST')
const KNOWN = new Set(METHODS)

/**
 * Lets requests of one connection with methods that `node:http` does not read, such as `FOO` and `get`, pass as
 * others. It relies on what the proxy sends: whole request lines, and no request before the one ahead has ended.
 */
export class Methods {
  #current: IncomingMessage | undefined
  #method: string | undefined
  /** What has come of a method, up to the space after it. */
  #begun: Buffer = Buffer.alloc(0)
  #isInHead = false

  /** The bytes to read in the place of these; undefined where more has to come first. */
  passable(piece: Buffer): Buffer | undefined {
    if (this.#isInHead || this.#current?.complete === false) return piece
    this.#begun = Buffer.concat([this.#begun, piece])
    const end = this.#begun.indexOf(' ')
    if (end === -1) return undefined
    const head = this.#begun
    this.#begun = Buffer.alloc(0)
    this.#isInHead = true
    const method = head.toString('latin1', 0, end)
    if (KNOWN.has(method)) return head
    this.#method = method
    return Buffer.concat([STAND_IN, head.subarray(end)])
  }

  /** The method of a request that was read. (Not put into it: `node:http` destroys the socket of a `PRI`.) */
  of(request: IncomingMessage): string {
    const method = this.#method ?? request.method ?? ''
    this.#current = request
    this.#method = undefined
    this.#isInHead = false
    return method
  }
}
