/** The native addon. No other file imports it. */
export type {
  NativeAction,
  NativeCertificate,
  NativeForwardingOptions,
  NativeHeaderChange,
  NativeMatch,
  NativeOriginOptions,
  NativePath,
  NativePeer,
  NativeProblem,
  NativeProxyOptions,
  NativeRoute,
  NativeSocketOptions,
  NativeSubrequestOptions,
  NativeTlsInfo,
} from '../index.js'
export {
  checkRoutes,
  NativeCrossing,
  NativePeerTls,
  NativeServer,
  NativeSubrequest,
  NativeTls,
  peerEpoch,
  registerPeer,
  selfSigned,
} from '../index.js'
