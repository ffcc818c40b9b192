import type { Http2Session, Http2Stream } from 'node:http2'
import { UsageError } from '../errors.js'
import type { RawHeaders } from './message.js'
import type { Outlet } from './outlet.js'

/** The most of a head, in bytes: more than what is sent, as the limits are to be those of the proxy. */
export const MOST_OF_HEAD = 16 * 1024 * 1024

/** What ends of `node:http2` let pass: by default they give up heads of 64 KiB, and of 128 fields. */
export const H2_LIMITS = {
  maxSendHeaderBlockLength: MOST_OF_HEAD,
  maxHeaderListPairs: 2 ** 24,
  maxSessionMemory: 256,
  settings: { maxHeaderListSize: MOST_OF_HEAD },
}

/** The body of a message of HTTP/2. */
export class H2Message implements Outlet {
  readonly to: Http2Stream
  passed = Promise.resolve(true)

  constructor(to: Http2Stream) {
    this.to = to
  }

  write(piece: Uint8Array): boolean {
    let room = false
    this.passed = new Promise((resolve) => {
      room = this.to.write(piece, (error?: Error | null) => resolve(!error))
    })
    return room
  }

  end(last: Uint8Array = new Uint8Array()): void {
    if (this.to.writableEnded) return
    this.passed = new Promise((resolve) => {
      const passed = (error?: Error | null) => resolve(!error)
      if (last.byteLength > 0) this.to.end(last, passed)
      else this.to.end(passed)
    })
  }
}

/**
 * Calls it when the other side has taken in what was sent so far, or never will. Twice, as a PING goes ahead of heads
 * that wait with it: by the answer to the first they have gone.
 */
export function whenHeard(session: Http2Session | undefined, call: () => void): void {
  const ping = (then: () => void) => {
    if (session === undefined || session.destroyed) then()
    else session.ping(() => then())
  }
  ping(() => ping(call))
}

/** Fields as `node:http2` takes them. */
export function grouped(fields: RawHeaders): Record<string, string | string[]> {
  // Of a name such as `__proto__` too.
  const found: Record<string, string | string[]> = Object.create(null)
  for (const [given, value] of fields) {
    const name = given.toLowerCase()
    const before = found[name]
    found[name] = before === undefined ? value : [before, value].flat()
  }
  return found
}

/** Hands fields to `node:http2`. @throws UsageError with the code, where it refuses them */
export function sending<T>(code: 'INVALID_HEADER' | 'INVALID_ANSWER', who: string, send: () => T): T {
  try {
    return send()
  } catch (error) {
    const { code: refused, message } = error as { code?: unknown; message: string }
    if (typeof refused !== 'string' || !/^ERR_(HTTP2|INVALID)_/.test(refused)) throw error
    throw new UsageError(code, `${who} of HTTP/2 cannot send this, and one of HTTP/1.1 could: ${message}`, {
      cause: error,
    })
  }
}
