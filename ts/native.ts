/** The native addon. No other file imports it. */
export type {
  NativeCertificate,
  NativeForwardingOptions,
  NativeOriginOptions,
  NativePeer,
  NativeProxyOptions,
  NativeSocketOptions,
  NativeSubrequestOptions,
  NativeTlsInfo,
} from '../index.js'
export {
  NativeCrossing,
  NativePeerTls,
  NativeServer,
  NativeSubrequest,
  NativeTls,
  peerEpoch,
  registerPeer,
  selfSigned,
} from '../index.js'
