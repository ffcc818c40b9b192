import { Duplex, Writable } from 'node:stream'
import type { NativePipe } from '../native.js'

/** One end of a connection within the process, as `node:http` and `node:http2` take it. */
export class PipeSocket extends Duplex {
  readonly #pipe: NativePipe
  /** Settles when what was written first is with the proxy, or never will be. */
  readonly begun: Promise<void>
  #begun!: () => void
  /** What bytes are to be read as, if not as they came; of undefined nothing is told. */
  incoming: ((piece: Buffer) => Buffer | undefined) | undefined = undefined
  /** Set where `node:http` only reads: what it writes is dropped, and this goes out. */
  #out: Writable | undefined = undefined

  constructor(pipe: NativePipe) {
    super({ allowHalfOpen: true })
    this.#pipe = pipe
    this.begun = new Promise((resolve) => {
      this.#begun = resolve
    })
    this.once('close', this.#begun)
    // What becomes of it is told by the requests that it carries.
    this.on('error', () => {})
  }

  // At the moment they are read: before, it is not known what those ahead of them came to.
  override emit(name: string | symbol, ...args: unknown[]): boolean {
    const { incoming } = this
    if (name !== 'data' || incoming === undefined) return super.emit(name, ...args)
    const piece = incoming(args[0] as Buffer)
    return piece !== undefined && super.emit('data', piece)
  }

  override _read(): void {
    this.#pipe.read().then(
      (bytes) => void this.push(bytes),
      (error) => void this.destroy(gone(error)),
    )
  }

  /** From now on what is written to the socket goes nowhere, and what is written to this instead of it. */
  takeOver(): Writable {
    const out = new Writable({
      write: (chunk: Buffer, _encoding, done) => this.#send(chunk, done),
      final: (done) => {
        this.#pipe.end()
        done()
      },
    })
    // A message for each request waits for it.
    out.setMaxListeners(0)
    // What the other side said before it went can still be read, and then its end.
    out.on('error', () => {})
    this.once('close', () => void out.destroy())
    this.#out = out
    return out
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error) => void): void {
    if (this.#out === undefined) this.#send(chunk, done)
    else done()
  }

  #send(chunk: Buffer, done: (error?: Error) => void): void {
    this.#pipe.write(chunk).then(
      () => {
        this.#begun()
        done()
      },
      (error) => done(gone(error)),
    )
  }

  override _final(done: () => void): void {
    if (this.#out === undefined) this.#pipe.end()
    done()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (error !== null || !(this.#out ?? this).writableFinished) this.#pipe.reset()
    done(error)
  }
}

function gone(cause: unknown): Error {
  return Object.assign(new Error('the other side has gone', { cause }), { code: 'ECONNRESET' })
}

/** Settles when there is room again, or nobody to write for. */
export function drained(to: Writable): Promise<void> {
  return new Promise((resolve) => {
    const over = () => {
      to.off('drain', over)
      to.off('close', over)
      resolve()
    }
    to.on('drain', over)
    to.on('close', over)
  })
}
