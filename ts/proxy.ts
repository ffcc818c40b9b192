import { isIP } from 'node:net'
import { availableParallelism } from 'node:os'
import type { ProxyEntry } from './crossing/state.js'
import { type OptionProblem, UsageError } from './errors.js'
import { phasesOf } from './implemented.js'
import { makeLog } from './logger.js'
import type { NativeProxyOptions, NativeSocketOptions } from './native.js'
import { checkOptions, flag, group, integer, ms, text } from './options.js'
import { HttpPeer, keepaliveRules, nativeKeepalive, type TcpKeepalive } from './peer.js'
import { type AnyPhases, Phase } from './phases.js'
import type { Address } from './session.js'

/** How a proxy runs and what it allows. Times are in milliseconds; 0 is off. */
export interface HttpProxyOptions {
  /** For the names of its threads and for the log. Default: `proxy`. */
  name?: string
  /** Threads of its runtime, 1–1,024. Default: the cores available. */
  threads?: number
  /** Whether its threads share their work, or each keeps its own connections. Default: true. */
  workStealing?: boolean
  /** Client connections at once; further ones are closed. Default: 65,536. */
  maxConnections?: number
  /** For the whole head of every request, from its first byte. Default: 10,000. */
  requestHeaderTimeoutMs?: number
  /** For an idle connection between requests. Default: 75,000. */
  keepAliveTimeoutMs?: number
  /** Between two pieces of a request's body. Default: 60,000. */
  bodyReadTimeoutMs?: number
  /** Between two pieces of a response that the client takes. Default: 60,000. */
  writeTimeoutMs?: number
  /** The slowest rate of a body, in bytes per second, after 10 s, in both directions; 0 = any. Default: 100. */
  minBytesPerSecond?: number
  /** The largest head, in bytes. Default: 65,536. */
  maxHeaderBytes?: number
  /** The most fields of a head. Default: 128. */
  maxHeaders?: number
  /** The largest body of a request, in bytes. Default: no limit. */
  maxRequestBodyBytes?: number
  /** For a request with all its tries. Default: 0, off. */
  requestTimeoutMs?: number
  /** For one try. Default: 0, off. */
  tryTimeoutMs?: number
  /** How many requests a connection may carry; 0 = no limit. Default: 0. */
  maxRequestsPerConnection?: number
  /** For each phase, from when JavaScript could start it. 0 = off, for debuggers. Default: 10,000. */
  callbackTimeoutMs?: number
  /** Requests that may wait for JavaScript; further ones get 503. Default: 8,192. */
  maxQueued?: number
  /** How many extra tries a request may take. Default: 3. */
  maxRetries?: number
  /** Idle connections kept to all origins. Default: 1,024. */
  upstreamKeepalivePoolSize?: number
  /** Whether a client may end its side of the connection and still get its answer. Default: false. */
  halfClose?: boolean
  /** Whether `responseFilter` also runs on answers of one's own. Default: false. */
  filterOwnResponses?: boolean
}

/** What is asked of the system for a listening socket. */
export interface SocketOptions {
  /** Connections the system holds until they are accepted. Default: 1,024. */
  backlog?: number
  /** Lets several processes listen on the same address. Default: false. */
  reusePort?: boolean
  /** Whether an IPv6 socket refuses IPv4 clients. Default: the system's. */
  ipv6Only?: boolean
  /** Probes on silent connections. Default: off. */
  tcpKeepalive?: TcpKeepalive
  /** Size of the system's receive buffer, in bytes. Default: the system's. */
  recvBuffer?: number
  /** Size of the system's send buffer, in bytes. Default: the system's. */
  sendBuffer?: number
}

const BYTES = 2 ** 31 - 1

const proxyRules = {
  name: text('proxy', '1 to 64 printable ASCII characters', (v) => /^[\x20-\x7e]{1,64}$/.test(v)),
  threads: integer<number | undefined>(undefined, 1, 1024),
  workStealing: flag(true),
  maxConnections: integer(65_536, 1, BYTES),
  requestHeaderTimeoutMs: ms(10_000),
  keepAliveTimeoutMs: ms(75_000),
  bodyReadTimeoutMs: ms(60_000),
  writeTimeoutMs: ms(60_000),
  minBytesPerSecond: integer(100, 0, BYTES),
  maxHeaderBytes: integer(65_536, 1_024, 512 * 1024),
  maxHeaders: integer(128, 1, 10_000),
  maxRequestBodyBytes: integer<number | undefined>(undefined, 0, Number.MAX_SAFE_INTEGER),
  requestTimeoutMs: ms(0),
  tryTimeoutMs: ms(0),
  maxRequestsPerConnection: integer(0, 0, BYTES),
  callbackTimeoutMs: ms(10_000),
  maxQueued: integer(8_192, 1, 1_048_576),
  maxRetries: integer(3, 0, 1_000),
  upstreamKeepalivePoolSize: integer(1_024, 0, 1_048_576),
  halfClose: flag(false),
  filterOwnResponses: flag(false),
}

const socketRules = {
  backlog: integer(1_024, 1, 65_535),
  reusePort: flag(false),
  ipv6Only: flag<boolean | undefined>(undefined),
  tcpKeepalive: group(keepaliveRules),
  recvBuffer: integer<number | undefined>(undefined, 1_024, BYTES),
  sendBuffer: integer<number | undefined>(undefined, 1_024, BYTES),
}

/** Where a service listens. */
export class Endpoint {
  /** What was asked for. */
  readonly asked: string
  /** @internal */
  readonly options: NativeSocketOptions
  #bound: Address | undefined

  /** @internal */
  constructor(asked: string, options: NativeSocketOptions) {
    this.asked = asked
    this.options = options
  }

  /** What was bound. @throws UsageError NOT_STARTED before `start()` */
  get address(): Address {
    if (this.#bound !== undefined) return this.#bound
    throw new UsageError('NOT_STARTED', `${this.asked} has no address before the server has started`)
  }

  /** `http://host:port` of what was bound. @throws UsageError NOT_STARTED before `start()` */
  get url(): string {
    const { host, port } = this.address
    return `http://${host.includes(':') ? `[${host}]` : host}:${port}`
  }

  /** @internal */
  static bound(endpoint: Endpoint, address: string | undefined): void {
    const parts = address === undefined ? undefined : splitAddress(address)
    endpoint.#bound = parts === undefined ? undefined : Object.freeze(parts)
  }
}

/** `1.2.3.4:80` or `[::1]:80`, in parts. */
function splitAddress(address: string): { host: string; port: number } | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(address)
  if (match === null || Number(match[3]) > 65_535) return undefined
  const [, six, four, port] = match
  if (six === undefined ? isIP(four!) !== 4 : isIP(six) !== 6) return undefined
  return { host: (six ?? four)!, port: Number(port) }
}

let proxies = 0

/** A service that proxies HTTP/1.1 with the phases it is given. */
export class HttpProxy {
  /** Where it listens, in the order added. */
  readonly endpoints: readonly Endpoint[] = []
  /** @internal For the server. */
  readonly entry: ProxyEntry
  /** @internal For the server; `fixedPeer` is filled in there. */
  readonly native: NativeProxyOptions
  /** @internal */
  taken = false

  /**
   * @param phases an object of a class or a bag of functions; which phases it has is read now
   * @throws UsageError INVALID_OPTIONS, also for a misspelt phase
   */
  constructor(phases: AnyPhases, options: HttpProxyOptions = {}) {
    const problems: OptionProblem[] = []
    const mask = phasesOf(phases, problems)
    const checked = checkOptions('HttpProxy', proxyRules, options, problems)
    const id = ++proxies
    const { upstreamPeer } = phases
    this.entry = {
      id,
      phases,
      hasNewCtx: (mask & (1 << Phase.newCtx)) !== 0,
      fixedPeer: upstreamPeer instanceof HttpPeer ? upstreamPeer : undefined,
      callbackTimeoutMs: checked.callbackTimeoutMs,
      log: makeLog(false),
      sessions: 0,
    }
    this.native = {
      ...checked,
      proxyId: id,
      threads: checked.threads ?? availableParallelism(),
      phases: mask & ~(1 << Phase.newCtx),
      fixedPeer: 0,
      maxRequestBodyBytes: checked.maxRequestBodyBytes ?? -1,
    }
  }

  /** The service's name. */
  get name(): string {
    return this.native.name
  }

  /**
   * Listens on an IP address and port when the server starts; port 0 is chosen by the system.
   *
   * @param address `127.0.0.1:8080`, `0.0.0.0:0`, `[::1]:8080`
   * @throws UsageError INVALID_OPTIONS, ALREADY_STARTED
   */
  addTcp(address: string, options: SocketOptions = {}): Endpoint {
    if (Object.isFrozen(this.endpoints))
      throw new UsageError('ALREADY_STARTED', 'the server has started: add endpoints before')
    const problems: OptionProblem[] = []
    if (typeof address !== 'string' || splitAddress(address) === undefined)
      problems.push({
        path: 'address',
        found: address,
        allowed: 'an IP address and a port: 127.0.0.1:8080 or [::1]:8080',
      })
    const { tcpKeepalive, ...rest } = checkOptions('addTcp', socketRules, options, problems)
    const native: Record<string, unknown> = { ...nativeKeepalive(tcpKeepalive) }
    for (const [name, value] of Object.entries(rest)) if (value !== undefined) native[name] = value
    const endpoint = new Endpoint(address, native as unknown as NativeSocketOptions)
    ;(this.endpoints as Endpoint[]).push(endpoint)
    return endpoint
  }
}
