import type * as Addon from '../../index.js'

/** What the binary of this version offers, by which it is known: held to index.d.ts, which the build makes. */
const offered: Record<keyof typeof Addon, true> = {
  batchThread: true,
  builtAs: true,
  checkRoutes: true,
  errorCodes: true,
  NativeConnectionCheck: true,
  NativeConnector: true,
  NativeCrossing: true,
  NativeDial: true,
  NativeFeed: true,
  NativeInjection: true,
  NativePeerTls: true,
  NativePipe: true,
  NativeServer: true,
  NativeStream: true,
  NativeSubrequest: true,
  NativeThread: true,
  NativeTls: true,
  networkProblem: true,
  notifyManager: true,
  peerEpoch: true,
  registerPeer: true,
  selfSigned: true,
}

export const EXPORTS: readonly string[] = Object.keys(offered)
