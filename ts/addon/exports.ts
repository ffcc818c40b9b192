import type * as Addon from '../../index.js'

/** What the binary of this version offers, by which it is known: held to index.d.ts, which the build makes. */
const offered: Record<keyof typeof Addon, true> = {
  batchThread: true,
  builtAs: true,
  checkRoutes: true,
  NativeConnectionCheck: true,
  NativeCrossing: true,
  NativeDial: true,
  NativeInjection: true,
  NativePeerTls: true,
  NativePipe: true,
  NativeServer: true,
  NativeSubrequest: true,
  NativeThread: true,
  NativeTls: true,
  notifyManager: true,
  peerEpoch: true,
  registerPeer: true,
  selfSigned: true,
}

export const EXPORTS: readonly string[] = Object.keys(offered)
