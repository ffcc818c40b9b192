import type { NativeStream } from '../native.js'

/** Hands the connections that the addon offers to their apps. */
export class StreamRouter {
  /** Takes a connection by its number. */
  make: ((id: number) => NativeStream) | undefined
  readonly #apps = new Map<number, (stream: NativeStream, text: string) => void>()

  /** The connections of the app of this number go there from now on. */
  add(app: number, accept: (stream: NativeStream, text: string) => void): void {
    this.#apps.set(app, accept)
  }

  remove(app: number): void {
    this.#apps.delete(app)
  }

  /** A connection is there: its number, then its addresses, by lines. */
  take(app: number, text: string): void {
    const stream = this.make!(Number(text.substring(0, text.indexOf('\n'))))
    const accept = this.#apps.get(app)
    if (accept === undefined) stream.destroy(true)
    else accept(stream, text)
  }
}
