import { isIP } from 'node:net'
import type { OptionProblem } from './errors.js'
import type { NativePeer } from './native.js'
import { checkOptions, group, integer, ms, text } from './options.js'

/** When the system probes a silent connection, and when it gives it up. It counts whole seconds. */
export interface TcpKeepalive {
  /** Silence before the first probe, in milliseconds. Default: 60,000. */
  idleMs?: number
  /** Time between two probes, in milliseconds. Default: 10,000. */
  intervalMs?: number
  /** Unanswered probes before the connection is dead. Default: 3. */
  count?: number
}

/** How a peer is connected to and spoken to. Times are in milliseconds; 0 is off. */
export interface HttpPeerOptions {
  /** For connecting to one address of the peer. Default: 3,000. */
  connectTimeoutMs?: number
  /** For resolving the name and trying all its addresses. Default: 10,000. */
  totalConnectTimeoutMs?: number
  /** For the origin to send something. Default: 60,000. */
  readTimeoutMs?: number
  /** For the origin to take something. Default: 60,000. */
  writeTimeoutMs?: number
  /** How long a connection may wait in the pool; 0 = none is kept. Default: 4,000, less if the origin says so. */
  idleTimeoutMs?: number
  /** The local IP address to connect from. Default: the system's choice. */
  bindTo?: string
  /** Probes on silent connections. Default: off. */
  tcpKeepalive?: TcpKeepalive
  /** The `host` sent upstream: the client's, the peer's own, or this one. Default: `preserve`. */
  host?: 'preserve' | 'peer' | (string & {})
}

/** The rules of {@link TcpKeepalive}. */
export const keepaliveRules = {
  idleMs: integer(60_000, 1_000, 86_400_000),
  intervalMs: integer(10_000, 1_000, 86_400_000),
  count: integer(3, 1, 127),
}

const HOST = /^(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z\-._~]+)(?::\d{1,5})?$/

const rules = {
  connectTimeoutMs: ms(3_000),
  totalConnectTimeoutMs: ms(10_000),
  readTimeoutMs: ms(60_000),
  writeTimeoutMs: ms(60_000),
  idleTimeoutMs: ms(4_000, 'no pooling'),
  bindTo: text<string | undefined>(undefined, 'an IP address', (v) => isIP(v) !== 0),
  tcpKeepalive: group(keepaliveRules),
  host: text('preserve', "'preserve', 'peer' or a host, with or without a port", (v) => HOST.test(v)),
}

const ALLOWED =
  'http://host[:port], host:port, [IPv6]:port or unix:/path (TLS to the origin is not there yet)'

/**
 * Where a request goes, and how. Frozen, and checked when it is made: make it once and keep it.
 * Peers of the same content share their connections.
 */
export class HttpPeer {
  /** `host:port` or `unix:/path`. */
  readonly address: string
  readonly #spec: NativePeer
  #id = 0
  #epoch = -1

  /**
   * @param address `http://host[:port]`, `host:port`, `[IPv6]:port` or `unix:/path`
   * @throws UsageError INVALID_OPTIONS
   */
  constructor(address: string, options: HttpPeerOptions = {}) {
    const problems: OptionProblem[] = []
    this.address = parseAddress(address, problems)
    const checked = checkOptions('HttpPeer', rules, options, problems)
    const { host, bindTo, tcpKeepalive, ...times } = checked
    this.#spec = {
      address: this.address,
      ...times,
      ...(bindTo === undefined ? {} : { bindTo }),
      ...nativeKeepalive(tcpKeepalive),
      host: host === 'preserve' ? '' : host === 'peer' ? '=' : host,
    }
    Object.freeze(this)
  }

  /** @internal Whether its number is known in this epoch. */
  static isRegistered(peer: HttpPeer, epoch: number): boolean {
    return peer.#epoch === epoch
  }

  /** @internal Its number; 0 before it was registered. */
  static id(peer: HttpPeer): number {
    return peer.#id
  }

  /** @internal */
  static register(peer: HttpPeer, addon: PeerTable): number {
    peer.#id = addon.registerPeer(peer.#spec)
    peer.#epoch = addon.peerEpoch()
    return peer.#id
  }
}

/** The addon's table of peers. */
export interface PeerTable {
  registerPeer(spec: NativePeer): number
  peerEpoch(): number
}

/** Keep-alive as the addon takes it. */
export function nativeKeepalive(keepalive: Required<TcpKeepalive> | undefined) {
  if (keepalive === undefined) return {}
  const { idleMs, intervalMs, count } = keepalive
  return { keepaliveIdleMs: idleMs, keepaliveIntervalMs: intervalMs, keepaliveCount: count }
}

function parseAddress(address: unknown, problems: OptionProblem[]): string {
  const wrong = (allowed = ALLOWED) => {
    problems.push({ path: 'address', found: address, allowed })
    return ''
  }
  if (typeof address !== 'string') return wrong()
  if (address.startsWith('unix:')) return /^unix:\/[^\0\n]+$/.test(address) ? address : wrong()
  const isUrl = address.includes('://')
  let url: URL
  try {
    url = new URL(isUrl ? address : `http://${address}`)
  } catch {
    return wrong()
  }
  if (url.protocol !== 'http:' || url.username !== '' || url.password !== '') return wrong()
  if (
    url.pathname !== '/' ||
    url.search !== '' ||
    url.hash !== '' ||
    address.endsWith('?') ||
    address.endsWith('#')
  )
    return wrong(`${ALLOWED}; without a path: change the target in upstreamRequestFilter`)
  if (!isUrl && !/^(?:\[[^\]/]+\]|[^:/]+):\d+$/.test(address)) return wrong()
  if (url.hostname === '' || url.port === '0') return wrong()
  return `${url.hostname}:${url.port || '80'}`
}
