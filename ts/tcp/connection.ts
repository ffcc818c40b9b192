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
 * the client, and what it does not take is waited for. Its errors are `ProxyError`s: CLIENT_ABORTED, READ_TIMEOUT
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
      else this.push(data ?? null)
    })
  }

  /** @internal */
  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#settle(this.#native.write(chunk), done)
  }

  /** @internal */
  override _writev(chunks: { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    const one = chunks.length === 1 ? chunks[0]!.chunk : Buffer.concat(chunks.map(({ chunk }) => chunk))
    this.#settle(this.#native.write(one), done)
  }

  /** @internal */
  override _final(done: (error?: Error | null) => void): void {
    this.#settle(this.#native.end(), done)
  }

  #settle(given: Promise<NativePiece>, done: (error?: Error | null) => void): void {
    given.then(({ error }) => done(error === undefined ? null : pieceError(error)))
  }

  /**
   * Ends the connection at once. What has been written goes out; with an error, and where a write is still under
   * way, it is reset.
   */
  override destroy(error?: Error): this {
    return super.destroy(error)
  }

  /** @internal */
  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#native.destroy(error !== null)
    this.#controller?.abort(error ?? ended())
    done(error)
  }
}

function ended(): UsageError {
  return new UsageError('SESSION_ENDED', 'the connection has ended')
}
