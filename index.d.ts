/// <reference types="node" />
/* What the native addon offers to ts/. Made by `npm run build:native`; the public types are those of dist/index.d.ts. */

/** A function of JavaScript that says of connections whether they are taken. */
export declare class NativeConnectionCheck {
  /**
   * `ask` gets each question; `answer` has to bring an answer to each. They are counted with what else
   * `crossing` brings to the same thread.
   */
  constructor(crossing: NativeCrossing, limitMs: number, ask: (question: number, clientHost: string, clientPort: number, serverHost: string, serverPort: number) => void)
  /** There is no answer to a question in time. */
  late(question: number): void
  /** The answer to a question; none if nothing can be said. */
  answer(question: number, isTaken?: boolean | undefined | null): void
}

/** Sends requests on a runtime of its own. */
export declare class NativeConnector {
  constructor(options: NativeConnectorOptions)
  /** Sends a request, with a body that is whole, is fed, or is none. @throws when it is closed */
  request(options: NativeConnectorRequest, feed?: NativeFeed | undefined | null): NativeSubrequest
  /** The connections to peers. */
  stats(): NativePoolStats
  /** Ends all requests and connections. */
  close(): void
}

/** The crossing of one JS environment. */
export declare class NativeCrossing {
  /** `thread`: the number of the `NativeThread` whose items it takes, where it is none of its own. */
  constructor(dispatch: (items: number) => void, logged: (records: NativeLogRecord[]) => void, told: (events: NativeServiceEvent[]) => void, thread?: number | undefined | null)
  /** Views over memory of the addon that only the JS thread touches. */
  buffers(): NativeBuffers
  /** Takes back `records` records, whose bytes are the first `used` of `output`. */
  finish(records: number, output: Buffer, used: number): void
  /** What the handshake came to of the client whose request has this slot. */
  tls(slot: number): NativeTlsInfo | null
  /**
   * The body of the request that has this slot, if a phase waited for it: a copy, which is the
   * phase's to keep.
   */
  body(slot: number): Buffer | null
  /** The next piece of the body of the request that has this slot, for an app. Never rejects. */
  bodyPiece(slot: number): Promise<NativePiece>
  /** Counters. */
  stats(): CrossingStats
}

/** A connection that the proxy wants to an origin. */
export declare class NativeDial {
  /** The peer's number. */
  get peer(): number
  /** `host:port` or `unix:/path`. */
  get address(): string
  /** Whether the peer would be spoken to over TLS. */
  get isTls(): boolean
  /** The origin's end of it; none where the proxy waits no longer. */
  accept(): NativePipe | null
  /**
   * It comes to nothing. `code`: `DNS_FAILED`, `TLS_FAILED`, `CONNECT_REFUSED`, `CONNECT_TIMEOUT`
   * or `CONNECT_FAILED`.
   */
  refuse(code: string, message: string): void
}

/** The body of a request that comes piece by piece. */
export declare class NativeFeed {
  constructor()
  /** Gives a piece; settles with true when there is room for another, with false if nobody wants one. */
  write(data: Buffer): Promise<boolean>
  /** All has been given. */
  finish(): void
  /** The rest will not come. */
  abort(): void
}

/** A proxy for one request. */
export declare class NativeInjection {
  /** Opens the client's connection. The proxy's options have one thread. */
  constructor(crossing: NativeCrossing, proxy: NativeProxyOptions, options: NativeInjectOptions)
  /** The client's end of its connection; once. */
  client(): NativePipe | null
  /** The next connection that the proxy wants to an origin; none when it is closed. Never rejects. */
  dialled(): Promise<NativeDial | null>
  /** Settles when the proxy is done with the client's connection. Never rejects. */
  served(): Promise<void>
  /** Ends whatever is left of it; settles when its tasks have been told. Never rejects. */
  close(): Promise<void>
}

/** The TLS of a peer. What is wrong with it is thrown as `field
what is wrong`. */
export declare class NativePeerTls {
  constructor(options: NativePeerTlsOptions)
}

/** One end of a connection within the process. */
export declare class NativePipe {
  /** The next bytes; none at the end. Rejects where the other side has gone. */
  read(): Promise<Buffer | null>
  /** Writes it all. Rejects where the other side has gone. */
  write(bytes: Uint8Array): Promise<void>
  /** Nothing more is written; it can still be read. */
  end(): void
  /** Gives it up: the other side cannot take it for an end. */
  reset(): void
}

/** A server and its services. */
export declare class NativeServer {
  constructor(crossing: NativeCrossing, options: NativeServerOptions)
  /** Adds a proxy service; its number. */
  addProxy(crossing: NativeCrossing, options: NativeProxyOptions): number
  /** New requests of a proxy service have these phases. */
  replacePhases(crossing: NativeCrossing, service: number, phases: NativePhases): void
  /**
   * The same phases of a proxy service are in the first of `jsThreads`, in the place of its thread `at`,
   * which has ended.
   */
  replaceThread(service: number, at: number, phases: NativePhases): void
  /** Adds a service with the demo's origin; its number. */
  addDemoOrigin(options: NativeOriginOptions): number
  /**
   * Adds a service whose work is done in JavaScript, which is told when to start and when to stop;
   * its number.
   */
  addBackground(options: NativeBackgroundOptions): number
  /** Has a service start when another is ready, and stop before it. */
  addDependency(service: number, on: number): void
  /** A background service is ready, in the start of this number. */
  backgroundReady(service: number, run: number): void
  /** A background service has ended, or failed, in the start of this number. */
  backgroundEnded(service: number, run: number, error?: string | undefined | null): void
  /** Has a start that waits for services end, with a grace for what is up. */
  giveUpStart(graceMs: number): void
  /** Adds a service that passes connections on to a peer; its number. */
  addTcpProxy(peer: number, options: NativeTcpOptions): number
  /** Adds a service whose connections go to the app of this number; its number. */
  addTcpApp(crossing: NativeCrossing, app: number, maxQueued: number, options: NativeTcpOptions): number
  /** Adds an endpoint to a service, with TLS if there are certificates; its number within it. */
  addEndpoint(service: number, address: string, options: NativeSocketOptions, tls?: NativeTls | undefined | null, check?: NativeConnectionCheck | undefined | null): number
  /** The same for a service that runs: it listens from now on. A failure is in the result. */
  listen(service: number, address: string, options: NativeSocketOptions, tls?: NativeTls | undefined | null, check?: NativeConnectionCheck | undefined | null): NativeListening
  /** Lets go of an endpoint of a service that runs; whether its address is free now. */
  closeEndpoint(service: number, number: number): Promise<boolean>
  /** Binds every endpoint and starts every service. Never rejects: a failure is in the result. */
  start(): Promise<NativeStarted>
  /**
   * Whether it could start, as far as can be told without binding or starting anything: a failure is in
   * the result. It is not to be started afterwards.
   */
  check(): NativeStarted
  /** Ends every service after a delay; settles when all has ended. */
  close(graceMs: number, delayMs: number): Promise<NativeClosed>
  /** Whether it has taken over from another process. */
  hasSucceeded(): boolean
  /** Whether another process has taken over, once it has or the server has ended. */
  handedOver(): Promise<boolean>
  /** Numbers of each service. */
  stats(): Array<NativeServiceStats>
}

/** A connection of an app. */
export declare class NativeStream {
  /** Takes a connection that was offered. @throws where somebody has */
  constructor(crossing: NativeCrossing, id: number)
  /** The next bytes. Never rejects. */
  read(): Promise<NativePiece>
  /** Writes bytes. False asks to wait for `room` before more is written. */
  write(data: Buffer): boolean
  /** Settles when more may be written. Never rejects. */
  room(): Promise<NativePiece>
  /** Ends this side. Never rejects. */
  end(): Promise<NativePiece>
  /** Settles when the connection is over, with an error where that was not our doing. Never rejects. */
  ended(): Promise<NativePiece>
  /**
   * Settles when the server begins to close, with true; with false where the connection has
   * ended before.
   */
  draining(): Promise<boolean>
  /** Ends it: by a reset at once, or when what was written has gone out. */
  destroy(reset: boolean): void
  /** What its handshake came to; none in the clear. */
  tls(): NativeTlsInfo | null
}

/** A subrequest under way. */
export declare class NativeSubrequest {
  /** Starts it. @throws where its request or its server is over */
  constructor(crossing: NativeCrossing, options: NativeSubrequestOptions)
  /** Its number as a request. */
  get id(): string
  /** The head of the response. Never rejects. */
  head(): Promise<NativeSubhead>
  /** The next piece of the response's body. Never rejects. */
  piece(): Promise<NativePiece>
  /** The rest is not wanted. */
  cancel(): void
}

/** A thread of JavaScript, before, while and after it runs. */
export declare class NativeThread {
  constructor()
  /** Its number, by which the thread finds it. */
  get number(): number
  /** Counters of the way to it. */
  stats(): CrossingStats
  /** The thread has ended, or is given up: whoever waits for it is told, and no request comes to it. */
  close(): void
}

/** The certificates of an endpoint. What is wrong with one is thrown as `field
what is wrong`. */
export declare class NativeTls {
  /** `ask` gets the number of a question and a name; `answer` brings the answer. */
  constructor(options: NativeTlsOptions, ask?: ((question: number, name: string) => void) | undefined)
  /** Replaces all listed certificates, or none if one of them cannot be used. */
  updateCertificates(certificates: Array<NativeCertificate>): void
  /**
   * The answer to a question: a certificate, which is checked whoever still waits for it, or
   * none.
   */
  answer(question: number, certificate?: NativeCertificate | undefined | null): void
}

/**
 * Makes the calling thread one that the system does not hurry to switch to, as the server's option
 * `batchJsThread` has it.
 */
export declare function batchThread(): void

/** What it is, and its version: `millrace 1.2.3`. One string, so that it can be found in the file. */
export declare function builtAs(): string

/** Looks for what is wrong with routes. */
export declare function checkRoutes(routes: Array<NativeRoute>, fallback: NativeRoute, keepsSlashes: boolean): Array<NativeProblem>

/** Counters of a crossing. */
export interface CrossingStats {
  /** Items that wait for the JS thread. */
  queued: number
  /** Requests the JS thread knows of. */
  slots: number
  /** Calls of the dispatcher. */
  batches: number
  /** Items handed to it. */
  items: number
  /** Answers that nobody waited for any more. */
  late: number
  /** Log records that were dropped, as the JS thread did not take them. */
  droppedRecords: number
  /** Requests of the process whose `logging` was left out, as too many waited for theirs. */
  unlogged: number
}

/** The codes of errors, in the order in which they are counted. */
export declare function errorCodes(): Array<string>

/** What becomes of a request. */
export interface NativeAction {
  /**
   * `pass`, `none` (there is nowhere to go), `respond`, `redirect`, or `to`, `prefix` and `pattern` of
   * a rewrite.
   */
  kind: string
  status: number
  from?: NativePath
  to: string
  /** `name\0value\n` for each field of an answer. */
  fields: string
  body?: Uint8Array
}

/** Whose connections an endpoint takes. Checked and completed in ts/. */
export interface NativeAdmissionOptions {
  /** Proxies that name their clients; absent: there are none. */
  proxies?: Array<string>
  othersDirect: boolean
  proxyTimeoutMs: number
  /** Absent: everybody. */
  allow?: Array<string>
  deny: Array<string>
  checkTimeoutMs: number
  acceptsUnchecked: boolean
}

/** How a background service runs. */
export interface NativeBackgroundOptions {
  name: string
  /** 0 is forever. */
  readyTimeoutMs: number
  /** Whether it is started again when it fails. */
  restarts: boolean
  restartDelayMs: number
  maxRestartDelayMs: number
}

/** Views over memory of the addon that only the JS thread touches. */
export interface NativeBuffers {
  input: Buffer
  items: Int32Array
  numbers: Float64Array
  records: Int32Array
}

/** A certificate with its key, in PEM, and the names it is shown for; empty for its own. */
export interface NativeCertificate {
  names: Array<string>
  cert: Buffer
  key: Buffer
}

/** What became of the work of a server since it began to drain. */
export interface NativeClosed {
  requests: NativeEnds
  connections: NativeEnds
}

/** The options of a connector, checked and completed in ts/. */
export interface NativeConnectorOptions {
  name: string
  threads: number
  poolSize: number
  maxHeaderBytes: number
  maxHeaders: number
  /** 0 = off. */
  requestTimeoutMs: number
}

/** A request of a connector, checked in ts/. */
export interface NativeConnectorRequest {
  peer: number
  method: string
  target: string
  /** Empty: the peer's own. */
  host: string
  /** Names and values in turn, in latin-1. */
  fields: Array<string>
  /** The whole body. */
  body?: Buffer
  /** How many bytes are fed, where that is known. */
  length?: number
}

/** A proxy on the way to a peer, checked in ts/. */
export interface NativeConnectProxy {
  address: string
  /** The names of its headers, and as many values, each character a byte. */
  names: Array<string>
  values: Array<string>
}

/** How many ended by themselves, and how many were cut. */
export interface NativeEnds {
  finished: number
  cut: number
}

/** A phase that runs for some requests. */
export interface NativeFilter {
  phase: number
  matcher: NativeMatch
}

/** What origins are told of who a request comes from. */
export interface NativeForwardingOptions {
  trustedProxies: Array<string>
  trustsForwarded: boolean
  xForwarded: boolean
  forwarded: boolean
  /** Empty: no Via. */
  via: string
}

/** A change of fields, whose characters are bytes. */
export interface NativeHeaderChange {
  /** `set`, `append` or `remove`. */
  kind: string
  name: string
  values: Array<string>
}

/** A condition on the fields with one name. */
export interface NativeHeaderCondition {
  name: string
  /** Whether there is to be one; absent: one of the values. */
  present?: boolean
  values: Array<string>
}

/** What concerns HTTP/2 towards clients. */
export interface NativeHttp2Options {
  maxConcurrentStreams: number
  streamWindowBytes: number
  maxFrameBytes: number
  sendBufferBytes: number
  pingIntervalMs: number
  pingTimeoutMs: number
  maxResets: number
  resetsPerSecond: number
  maxFaultResets: number
  maxControlFrames: number
  maxUnreadBytes: number
}

/** Who the client of an injected request is said to be. */
export interface NativeInjectOptions {
  /** For its log lines, as the number of a server. */
  serverId: number
  /** `ip:port`. */
  remote: string
  local: string
  /** What its handshake is said to have come to; absent: in the clear. */
  tls?: NativeInjectTls
}

/** A handshake that is said to have been. */
export interface NativeInjectTls {
  /** Whether it is TLS 1.2; otherwise 1.3. */
  isOld: boolean
  alpn?: string
  serverName?: string
  /** The client's certificates in DER, its own first. */
  certificates: Array<Uint8Array>
}

/** What became of an endpoint that was added while its service runs. */
export interface NativeListening {
  /** Its number within the service. */
  number: number
  address?: string
  /** `ADDRESS_IN_USE`, `BIND_FAILED`, `NOT_STARTED`, `SERVER_CLOSED` or `START_FAILED`. */
  code?: string
  message?: string
}

/** A line of the log with what it says. */
export interface NativeLogRecord {
  /** The number of its server; 0: it is of none in particular. */
  server: number
  /** `debug`, `info`, `warn` or `error`. */
  level: string
  /** When, in ms since 1970. */
  time: number
  message: string
  /** The names of the fields. */
  names: Array<string>
  /** Their values, in the same order. */
  values: Array<string | number>
}

/** Which requests something is for. Empty lists ask for nothing. */
export interface NativeMatch {
  hosts: Array<string>
  paths: Array<NativePath>
  methods: Array<string>
  headers: Array<NativeHeaderCondition>
  /** `http`, `https` or empty. */
  scheme: string
}

/** The options of a service with the demo's origin. */
export interface NativeOriginOptions {
  name: string
  threads: number
  maxConnections: number
  pauseMs: number
}

/** A pattern of segments, or an expression. */
export interface NativePath {
  source: string
  isExpression: boolean
  ignoresCase: boolean
}

/** A peer, checked and completed in ts/. */
export interface NativePeer {
  /** `ip:port`, `host:port` or `unix:/path`. */
  address: string
  connectTimeoutMs: number
  totalConnectTimeoutMs: number
  readTimeoutMs: number
  writeTimeoutMs: number
  /** 0 = no pooling. */
  idleTimeoutMs: number
  bindTo?: string
  keepaliveIdleMs?: number
  keepaliveIntervalMs?: number
  keepaliveCount?: number
  /** "" = the client's, "=" = the peer's own, anything else as it is. */
  host: string
  /** `h1`, `h2` or `auto`. */
  protocol: string
  h2MaxStreams: number
  h2PingIntervalMs: number
  connectProxy?: NativeConnectProxy
  /** `v1` or `v2`. */
  proxyProtocol?: string
}

/** How handshakes with an origin are done, in PEM. */
export interface NativePeerTlsOptions {
  sni?: string
  ca?: Buffer
  cert?: Buffer
  key?: Buffer
  verifyCert: boolean
  verifyHostname: boolean
  alternativeName?: string
  /** What is offered in the place of HTTP. */
  alpn?: Array<string>
}

/** What a proxy does with requests: the phases of each route and those of all others, in threads. */
export interface NativePhases {
  routes: Array<NativeRoute>
  fallback: NativeRoute
  keepsEncodedSlashes: boolean
  /** As in `NativeProxyOptions`. */
  jsThreads: Array<number>
}

/** A piece, or why there is none; without both: the end. */
export interface NativePiece {
  data?: Buffer
  /** True where it is known that nothing comes behind it. */
  isLast?: boolean
  /** Code, source, whether a retry is safe, status and message of an error, by lines. */
  error?: string
}

/** The connections of a service to its upstreams. */
export interface NativePoolStats {
  open: number
  idle: number
  reused: number
  created: number
}

/** What is wrong with a route. */
export interface NativeProblem {
  /** The route's number; -1 = it is none of them. */
  route: number
  /** The filter's number; -1 = it is in none of them. */
  filter: number
  /** The option, such as `match.path`. */
  path: string
  /** Its place in a list; -1 = it is in none. */
  index: number
  allowed: string
  /** The option of the proxy beside which this is wrong; empty: it is by itself. */
  other: string
}

/** The options of a proxy service. */
export interface NativeProxyOptions {
  name: string
  threads: number
  workStealing: boolean
  routes: Array<NativeRoute>
  /** What holds for requests that are on no route. */
  fallback: NativeRoute
  keepsEncodedSlashes: boolean
  maxConnections: number
  maxConnectionsPerClient: number
  ipv6ClientPrefix: number
  cpus?: Array<number>
  requestHeaderTimeoutMs: number
  keepAliveTimeoutMs: number
  bodyReadTimeoutMs: number
  writeTimeoutMs: number
  minBytesPerSecond: number
  maxHeaderBytes: number
  maxHeaders: number
  maxRequestBodyBytes: number
  requestTimeoutMs: number
  tryTimeoutMs: number
  maxRequestsPerConnection: number
  callbackTimeoutMs: number
  /** For each piece of an answer that is made piece by piece. */
  sourceTimeoutMs: number
  maxQueued: number
  /** The numbers of the threads with the phases; empty: they are in that of the server. */
  jsThreads: Array<number>
  maxRetries: number
  upstreamKeepalivePoolSize: number
  upgrades: Array<string>
  connect: boolean
  tunnelIdleTimeoutMs: number
  h2c: boolean
  http2: NativeHttp2Options
  halfClose: boolean
  forwarding: NativeForwardingOptions
  filterOwnResponses: boolean
}

/** A route, or what holds for requests that are on none. */
export interface NativeRoute {
  matcher: NativeMatch
  requestHeaders: Array<NativeHeaderChange>
  responseHeaders: Array<NativeHeaderChange>
  action: NativeAction
  /** Its filters, if it has phases of its own. */
  filters?: Array<NativeFilter>
  /** The number of the object with its phases. */
  proxyId: number
  /** The phases that run for all of its requests, as a mask. */
  phases: number
  /** The number of its peer; 0 = a phase is asked. */
  peer: number
}

/** A certificate that has signed itself, and its key, in PEM. */
export interface NativeSelfSigned {
  cert: string
  key: string
}

/** The options of a server. */
export interface NativeServerOptions {
  /** Its number in this environment, which its log lines carry. */
  serverId: number
  graceMs: number
  /** The least level that is logged: 0 is debug, 1 info, 2 warn, 3 error; 4: nothing is. */
  logLevel: number
  /** Whether the libraries beneath are asked to say more than warnings. */
  logsDependencies: boolean
  /** The path of the upgrade socket; empty: none. */
  upgradeSocket: string
  /** Whether to take over from the process there. */
  upgrade: boolean
  upgradeTimeoutMs: number
  /** Whether the JS thread becomes a batch thread at the start. */
  batchJsThread: boolean
}

/** Something that JavaScript is told of a service. */
export interface NativeServiceEvent {
  /** The number of its server. */
  server: number
  /** Its number within the server. */
  service: number
  /** `start` or `stop` its work, or the `state` it is in now. */
  kind: string
  /** Which of its starts. */
  run: number
  state: string
  /** Why it has failed. */
  error?: string
}

/** Numbers of a service. */
export interface NativeServiceStats {
  name: string
  /** Connections of clients that are open. */
  connections: number
  /**
   * Connections that were accepted and served, those that were closed at once as too many were open,
   * and those that were closed because of whose they were.
   */
  accepted: number
  rejected: number
  refused: number
  pool: NativePoolStats
  /**
   * Of a proxy: requests in all, those in phases, upstream and responding, those that ended, by
   * class of status, retries, tries given up after a time-out; then errors, as in `errorCodes`.
   */
  requests?: Float64Array
  /** Of a service that passes on bytes. */
  traffic?: NativeTraffic
}

/** The options of an endpoint's sockets. */
export interface NativeSocketOptions {
  backlog: number
  reusePort: boolean
  ipv6Only?: boolean
  keepaliveIdleMs?: number
  keepaliveIntervalMs?: number
  keepaliveCount?: number
  recvBuffer?: number
  sendBuffer?: number
  fastOpen?: number
  /** Of the file of a Unix socket. */
  mode?: number
  uid?: number
  gid?: number
  admission?: NativeAdmissionOptions
}

/** What became of a start: the bound addresses by service and endpoint, or why there are none. */
export interface NativeStarted {
  addresses: Array<Array<string>>
  /**
   * `ADDRESS_IN_USE`, `BIND_FAILED`, `SERVER_CLOSED`, `UPGRADE_FAILED`, `SERVICE_FAILED`,
   * `DEPENDENCY_CYCLE` or `START_FAILED`.
   */
  code?: string
  message?: string
  /** With `SERVICE_FAILED`: which service. */
  service?: number
}

/** The head of a response, or why there is none. */
export interface NativeSubhead {
  status: number
  /** Names and values in turn, in latin-1. */
  fields: Array<string>
  /** Code, source, whether a retry is safe, status and message of an error, by lines. */
  error?: string
}

/** A subrequest as JavaScript asks for it, checked there. */
export interface NativeSubrequestOptions {
  proxyId: number
  /** The slot of the request that it is made for. */
  slot: number
  method: string
  target: string
  host: string
  /** Names and values in turn, in latin-1. */
  fields: Array<string>
  body?: Buffer
  /** The peer that it goes straight to; 0 = through the phases. */
  peer: number
  discard: boolean
}

/** The options of a service of bytes, checked and completed in ts/. */
export interface NativeTcpOptions {
  name: string
  threads: number
  workStealing: boolean
  maxConnections: number
  maxConnectionsPerClient: number
  ipv6ClientPrefix: number
  cpus?: Array<number>
  /** 0 = off. */
  idleTimeoutMs: number
}

/** What the handshake of a client came to. */
export interface NativeTlsInfo {
  version: string
  cipher: string
  alpn?: string
  serverName?: string
  /** The client's certificates in DER, its own first. */
  certificates: Array<Buffer>
}

/** How handshakes with clients are done. Checked and completed in ts/, but for what PEM says. */
export interface NativeTlsOptions {
  certificates: Array<NativeCertificate>
  alpn: Array<string>
  onlyTls13: boolean
  clientCa?: Buffer
  clientRequired: boolean
  sessionTickets: boolean
  handshakeTimeoutMs: number
  sniCacheTtlMs: number
}

/** Bytes that a service has passed on. */
export interface NativeTraffic {
  /** Those that clients have sent. */
  received: number
  /** Those that were sent to clients. */
  sent: number
}

/**
 * What is wrong with a text that stands for addresses: what is allowed in its place, empty where there is nothing
 * to be said of that; absent where nothing is wrong.
 */
export declare function networkProblem(text: string): string | null

/**
 * Tells a service manager, which has named this socket, how the process is: what went wrong, if
 * anything did.
 */
export declare function notifyManager(socket: string, state: string): string | null

/** Goes up when the table of peers is emptied: numbers of before have to be asked for again. */
export declare function peerEpoch(): number

/** The number of a peer, at least 1. Peers of the same content have the same number. */
export declare function registerPeer(spec: NativePeer, tls?: NativePeerTls | undefined | null): number

/** Makes one for these names. What is wrong with them is thrown as `field
what is wrong`. */
export declare function selfSigned(names: Array<string>): NativeSelfSigned
