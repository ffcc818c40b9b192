import { Duplex } from 'node:stream'
import { UsageError } from '../errors.js'
import type { NativePiece, NativeStream } from '../native.js'
import { pieceError } from '../piece.js'
import type { Address, TlsView } from '../session.js'
import { ClientTls } from '../tls/client-tls.js'

/** How much either direction holds, in bytes, before it waits. */
const HELD = 64 * 1024

/**
 * A connection of a `TcpApp`: a stream of Node.js like any other, for `pipe`, `pipeline`, `for await` and all that
 * takes one. `Duplex.toWeb(connection)` gives it as `{ readable, writable }`. What is not read is not taken from
 * the client, but for the first 64 KiB, and what it does not take is waited for. Its errors are `ProxyError`s: CLIENT_ABORTED, READ_TIMEOUT
 * (idle for too long), SERVER_CLOSED; nobody has to listen for them.
 */
export class TcpConnection extends Duplex {
  /** Unique in this process. */
  readonly id: string
  /** The client. */
  readonly client: Address
  /** Where the client connected to. */
  readonly server: Address
  readonly #native: NativeStream
  /** What has been handed down and is still counted as not written. */
  #held = 0
  #resets = false
  #controller: AbortController | undefined
  #tls: TlsView | null | undefined

  /** @internal */
  constructor(native: NativeStream, text: string, halfClose: boolean) {
    super({
      allowHalfOpen: halfClose,
      readableHighWaterMark: HELD,
      writableHighWaterMark: HELD,
    })
    const [id, clientHost, clientPort, serverHost, serverPort] = text.split('\n') as [
      string,
      string,
      string,
      string,
      string,
    ]
    this.id = id
    this.client = { host: clientHost, port: Number(clientPort) }
    this.server = { host: serverHost, port: Number(serverPort) }
    this.#native = native
    // Without a listener an error would end the process.
    this.on('error', () => undefined)
    native.ended().then(({ error }) => {
      if (error !== undefined) this.destroy(pieceError(error))
    })
    // As sockets of Node.js do it: so the end of the client's side is noticed where nobody reads.
    this.read(0)
  }

  /** The client's TLS; undefined in the clear. */
  get tls(): TlsView | undefined {
    if (this.#tls === undefined) {
      const info = this.#native.tls()
      this.#tls = info ? new ClientTls(info) : null
    }
    return this.#tls ?? undefined
  }

  /**
   * Aborted when the connection is to end: when the server begins to close, which leaves it the server's grace, or
   * when it has ended.
   */
  get signal(): AbortSignal {
    if (this.#controller !== undefined) return this.#controller.signal
    const controller = new AbortController()
    this.#controller = controller
    if (this.destroyed) controller.abort(ended())
    else
      this.#native.draining().then((draining) => {
        controller.abort(draining ? new UsageError('SERVER_CLOSED', 'the server is closing') : ended())
      })
    return controller.signal
  }

  /** @internal */
  override _read(): void {
    this.#native.read().then(({ data, error }) => {
      if (error !== undefined) this.destroy(pieceError(error))
      else if (data !== undefined) this.push(data)
      else {
        this.push(null)
        // Where nobody reads, and nothing is left to be read, that is the end.
        this.read(0)
      }
    })
  }

  // What is written is copied and held beneath, up to 64 KiB, so that it goes out whatever becomes of the stream.
  /** @internal */
  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    if (this.#native.write(chunk)) {
      done()
      return
    }
    this.#held = chunk.length
    this.#settle(this.#native.room(), (error) => {
      this.#held = 0
      done(error)
    })
  }

  /** @internal */
  override _final(done: (error?: Error | null) => void): void {
    this.#settle(this.#native.end(), done)
  }

  #settle(given: Promise<NativePiece>, done: (error?: Error | null) => void): void {
    given.then(({ error }) => done(error === undefined ? null : pieceError(error)))
  }

  /**
   * Ends the connection: what has been written goes out, and nothing else happens any more. A client that takes
   * nothing of it for 30 s is reset. With an error it is reset at once.
   */
  override destroy(error?: Error): this {
    // Also of one that is destroyed already: what a handler throws in a `for await` comes behind its end.
    this.#resets ||= error !== undefined && error !== null && !isLeaving(error)
    return super.destroy(error)
  }

  /** @internal */
  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (this.writableLength > this.#held) this.#writeRest()
    const end = () => this.#native.destroy(this.#resets)
    if (error !== null && isLeaving(error)) setImmediate(end)
    else end()
    this.#controller?.abort(error ?? ended())
    done(error)
  }

  /** What the stream itself still holds. Where it cannot be had, what went out must not look like the whole. */
  #writeRest(): void {
    const rest = (this as { writableBuffer?: Buffered[] }).writableBuffer
    if (Array.isArray(rest)) for (const { chunk } of rest) this.#native.write(chunk)
    else this.#resets = true
  }
}

interface Buffered {
  readonly chunk: Buffer
}

/**
 * Whether it is how Node.js ends a stream that was read with `for await`, as `pipeline` does, before it has ended
 * its own side. A signal that aborts has a cause.
 */
function isLeaving(error: Error & { code?: unknown }): boolean {
  return error.code === 'ABORT_ERR' && error.cause === undefined
}

function ended(): UsageError {
  return new UsageError('SESSION_ENDED', 'the connection has ended')
}
