import type { Writable } from 'node:stream'
import type { SourceStage } from '../bodies/source.js'
import { piecesOf } from './body.js'
import { drained } from './pipe.js'

/** Where the body of one message goes. */
export interface Outlet {
  /** What it ends up in; it closes where nobody wants more of it. */
  readonly to: Writable
  /** Whether what was written last has come to the proxy, when that is known. */
  readonly passed: Promise<boolean>
  /** False where there is no room for more. */
  write(piece: Uint8Array): boolean
  /** @param last goes with the end: a proxy that has all of a body does not wait for the word that it has */
  end(last?: Uint8Array): void
}

/** Sends a body, as far as it is wanted. Rejects with what the body throws. */
export async function pour(
  body: Uint8Array | SourceStage,
  outlet: Outlet,
  waiting?: (isForBody: boolean) => void,
): Promise<void> {
  const { to } = outlet
  const isOpen = () => !to.destroyed && !to.writableEnded
  if (body instanceof Uint8Array) {
    if (isOpen()) outlet.end(body)
    return
  }
  const stop = () => body.cancel()
  to.once('close', stop)
  try {
    waiting?.(true)
    for await (const piece of piecesOf(body, isOpen)) {
      waiting?.(false)
      if (!isOpen()) return
      if (!outlet.write(piece) && isOpen()) await drained(to)
      waiting?.(true)
    }
    if (isOpen()) outlet.end()
  } finally {
    waiting?.(false)
    to.off('close', stop)
    body.cancel()
  }
}
