/** The native addon. No other file imports it. */
export type {
  NativeCertificate,
  NativeForwardingOptions,
  NativeOriginOptions,
  NativePeer,
  NativeProxyOptions,
  NativeSocketOptions,
  NativeTlsInfo,
} from '../index.js'
export {
  NativeCrossing,
  NativePeerTls,
  NativeServer,
  NativeTls,
  peerEpoch,
  registerPeer,
  selfSigned,
} from '../index.js'
