/// <reference types="node" preserve="true" />
/// <reference lib="esnext.disposable" preserve="true" />
/** A programmable HTTP proxy: phases in TypeScript, everything else in Rust. */
export type { Answer } from './answer.js'
export { DemoOrigin, type DemoOriginOptions } from './demo-origin.js'
export {
  ERROR_CODES,
  type ErrorCode,
  type ErrorSource,
  type OptionProblem,
  ProxyError,
  type ProxyErrorOptions,
  type UsageCode,
  UsageError,
} from './errors.js'
export type { RequestHeader, ResponseHeader } from './head.js'
export type { HeaderEdit, HeaderInput, HeaderView } from './headers.js'
export type { Logger } from './logger.js'
export { HttpPeer, type HttpPeerOptions, type TcpKeepalive } from './peer.js'
export {
  type AnyPhases,
  type Awaitable,
  type Decision,
  definePhases,
  PHASES,
  type PhaseName,
  type Phases,
  type ProxyHttp,
} from './phases.js'
export { HttpProxy, type HttpProxyOptions } from './proxy.js'
export { type CloseReport, Server, type ServerOptions, type ServiceStats } from './server.js'
export { Endpoint, Service, type SocketOptions } from './service.js'
export type {
  Address,
  ConnectionView,
  RequestView,
  ResponseView,
  Session,
  Timings,
  UpstreamView,
} from './session.js'
