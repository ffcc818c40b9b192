import { Duplex, type Writable } from 'node:stream'
import type { NativePipe } from '../native.js'

/** One end of a connection within the process, as `node:http` and `node:http2` take it. */
export class PipeSocket extends Duplex {
  readonly #pipe: NativePipe

  constructor(pipe: NativePipe) {
    super({ allowHalfOpen: true })
    this.#pipe = pipe
    // What becomes of it is told by the requests that it carries.
    this.on('error', () => {})
  }

  override _read(): void {
    this.#pipe.read().then(
      (bytes) => void this.push(bytes),
      (error) => void this.destroy(gone(error)),
    )
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error) => void): void {
    this.#pipe.write(chunk).then(
      () => done(),
      (error) => done(gone(error)),
    )
  }

  override _final(done: () => void): void {
    this.#pipe.end()
    done()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (error !== null || !this.writableFinished) this.#pipe.reset()
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
