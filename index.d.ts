/* What the native addon offers to ts/. Made by `npm run build:native`; the public types are those of dist/index.d.ts. */

export declare class NativeCrossing {
  constructor(dispatch: (items: number) => void, logged: (lines: string[]) => void)
  /** Views over memory of the addon that only the JS thread touches. */
  buffers(): { input: Buffer; items: Int32Array; numbers: Float64Array; records: Int32Array }
  /** Whether the views have moved since `buffers` was last called; asked at the start of each dispatch. */
  grown(): boolean
  /** Takes back `records` records, whose bytes are in `output`. */
  finish(records: number, output: Buffer): void
  stats(): { queued: number; slots: number; batches: number; items: number; late: number }
}

export declare class NativeServer {
  constructor(options: { graceMs: number })
  addProxy(crossing: NativeCrossing, options: NativeProxyOptions): number
  addTcp(service: number, address: string, options: NativeSocketOptions): number
  start(): Promise<string[][]>
  close(graceMs: number): Promise<{ finished: number; cut: number }>
  stats(): {
    services: {
      name: string
      connections: number
      pool: { open: number; idle: number; reused: number; created: number }
    }[]
  }
}

/** The number of a peer, at least 1. Peers of the same content have the same number. */
export declare function registerPeer(spec: NativePeer): number

/** Goes up when the table of peers is emptied: numbers of before have to be asked for again. */
export declare function peerEpoch(): number

export interface NativePeer {
  address: string
  connectTimeoutMs: number
  totalConnectTimeoutMs: number
  readTimeoutMs: number
  writeTimeoutMs: number
  idleTimeoutMs: number
  bindTo?: string
  keepaliveIdleMs?: number
  keepaliveIntervalMs?: number
  keepaliveCount?: number
  host: string
}

export interface NativeSocketOptions {
  backlog: number
  reusePort: boolean
  ipv6Only?: boolean
  keepaliveIdleMs?: number
  keepaliveIntervalMs?: number
  keepaliveCount?: number
  recvBuffer?: number
  sendBuffer?: number
}

export interface NativeProxyOptions {
  proxyId: number
  name: string
  threads: number
  workStealing: boolean
  phases: number
  fixedPeer: number
  maxConnections: number
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
  maxQueued: number
  maxRetries: number
  upstreamKeepalivePoolSize: number
  halfClose: boolean
  filterOwnResponses: boolean
}
