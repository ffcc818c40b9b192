/** The native addon. No other file imports it. */
export type { NativeOriginOptions, NativePeer, NativeProxyOptions, NativeSocketOptions } from '../index.js'
export { NativeCrossing, NativeServer, peerEpoch, registerPeer } from '../index.js'
