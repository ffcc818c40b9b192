/** The native addon. No other file loads it. */
import type * as Addon from '../index.js'
import { loadAddon } from './addon/load.js'

export type {
  NativeAction,
  NativeAdmissionOptions,
  NativeCertificate,
  NativeForwardingOptions,
  NativeHeaderChange,
  NativeInjectTls,
  NativeLogRecord,
  NativeMatch,
  NativeOriginOptions,
  NativePath,
  NativePeer,
  NativePhases,
  NativePiece,
  NativeProblem,
  NativeProxyOptions,
  NativeRoute,
  NativeServiceEvent,
  NativeServiceStats,
  NativeSocketOptions,
  NativeSubrequestOptions,
  NativeTcpOptions,
  NativeTlsInfo,
} from '../index.js'

export const {
  batchThread,
  checkRoutes,
  errorCodes,
  NativeConnectionCheck,
  NativeConnector,
  NativeCrossing,
  NativeDial,
  NativeFeed,
  NativeInjection,
  NativePeerTls,
  NativePipe,
  NativeServer,
  NativeStream,
  NativeSubrequest,
  NativeThread,
  NativeTls,
  networkProblem,
  notifyManager,
  peerEpoch,
  registerPeer,
  selfSigned,
} = loadAddon() as typeof Addon

export type NativeConnectionCheck = Addon.NativeConnectionCheck
export type NativeConnector = Addon.NativeConnector
export type NativeCrossing = Addon.NativeCrossing
export type NativeDial = Addon.NativeDial
export type NativeFeed = Addon.NativeFeed
export type NativeInjection = Addon.NativeInjection
export type NativePeerTls = Addon.NativePeerTls
export type NativePipe = Addon.NativePipe
export type NativeServer = Addon.NativeServer
export type NativeStream = Addon.NativeStream
export type NativeSubrequest = Addon.NativeSubrequest
export type NativeThread = Addon.NativeThread
export type NativeTls = Addon.NativeTls
