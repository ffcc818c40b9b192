/// <reference types="node" preserve="true" />
/// <reference lib="esnext.disposable" preserve="true" />
/** A programmable HTTP proxy: phases in TypeScript, everything else in Rust. */
export type { AdmissionOptions, ConnectionFilterOptions, ProxyProtocolOptions } from './admission.js'
export type { Answer } from './answer.js'
export { type Handler, HttpApp, type HttpAppOptions } from './app/http-app.js'
export type { HandlerInfo } from './app/info.js'
export {
  type BackgroundContext,
  type BackgroundFunction,
  BackgroundService,
  type BackgroundServiceOptions,
  type BackgroundWork,
} from './background.js'
export type { BodySource } from './bodies/source.js'
export type { StreamTransform } from './bodies/streamed.js'
export type { Transform } from './bodies/whole.js'
export type { ConnectProxy } from './connect-proxy.js'
export type { ConnectionCheck, IncomingConnection } from './connection-check.js'
export { Connector, type ConnectorOptions, type ConnectorRequest } from './connector.js'
export type { ConnectorBody } from './connector-body.js'
export { DemoOrigin, type DemoOriginOptions } from './demo-origin.js'
export type { DownstreamOptions } from './downstream.js'
export { Endpoint, TlsEndpoint } from './endpoint.js'
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
export type { ForwardingOptions } from './forwarding.js'
export type { InterimResponse, RequestHeader, ResponseHeader, TransformOptions } from './head.js'
export type { HeaderEdit, HeaderInput, HeaderView } from './headers.js'
export type { Http2Options } from './http2.js'
export type { ListeningOptions } from './listening.js'
export type { LogFields, Logger, LogLevel, LogRecord } from './logger.js'
export { HttpPeer, type HttpPeerOptions, type TcpKeepalive } from './peer.js'
export {
  type AnyPart,
  type AnyPhases,
  type Awaitable,
  type BodyEnd,
  type BodyResult,
  type Decision,
  definePart,
  definePhases,
  type ErrorPhase,
  type Filterable,
  type FilteredPhase,
  PHASES,
  type PhaseName,
  type Phases,
  type ProxyHttp,
  type ProxyPart,
  type WithCtx,
  type WithoutCtx,
} from './phases.js'
export { type ActingOptions, HttpProxy, type HttpProxyOptions } from './proxy.js'
export type { RequestMatch } from './routes/match.js'
export type { Route } from './routes/routes.js'
export type { HeaderChanges, Redirect, Rewrite, RouteValues } from './routes/values.js'
export { Server } from './server.js'
export type {
  AddServiceOptions,
  CloseReport,
  Ends,
  ServerEvents,
  ServerOptions,
  ServerState,
} from './server-options.js'
export { Service, type ServiceState } from './service.js'
export type {
  Address,
  ConnectionView,
  ReadBodyOptions,
  RequestView,
  ResponseView,
  Session,
  Timings,
  TlsView,
  UpstreamView,
} from './session.js'
export type { SocketOptions, SocketOwner, UnixSocketOptions } from './socket-options.js'
export type {
  ConnectionStats,
  JavaScriptStats,
  PoolStats,
  RequestStats,
  ServerStats,
  ServiceStats,
  ThreadStats,
  TrafficStats,
} from './stats.js'
export type { SubrequestOptions } from './subrequest.js'
export { TcpConnection } from './tcp/connection.js'
export type { TcpServiceOptions } from './tcp/options.js'
export { TcpPeer, type TcpPeerOptions } from './tcp/peer.js'
export { type ConnectionHandler, TcpApp, type TcpAppOptions } from './tcp/tcp-app.js'
export { TcpProxy, type TcpProxyOptions } from './tcp/tcp-proxy.js'
export type { ThreadPlace } from './threads/messages.js'
export type { Certificate, ClientAuth, TlsOptions } from './tls/options.js'
export type { PeerTlsOptions } from './tls/peer-tls.js'
export type { Pem } from './tls/pem.js'
export { type SelfSigned, selfSigned } from './tls/self-signed.js'
export type { UpgradeOptions } from './upgrade.js'
