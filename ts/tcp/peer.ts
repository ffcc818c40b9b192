import type { ConnectProxy } from '../connect-proxy.js'
import { invalidOptions, type OptionProblem, UsageError } from '../errors.js'
import { checkInto } from '../options.js'
import { HttpPeer, PEER_ADDRESS, peerRules, type TcpKeepalive } from '../peer.js'
import { alpnRule } from '../tls/options.js'
import { type PeerTlsOptions, peerTlsRules } from '../tls/peer-tls.js'

/** How a peer of a `TcpProxy` is connected to. Times are in milliseconds; 0 is off. */
export interface TcpPeerOptions extends PeerTlsOptions {
  /** For connecting to one address of the peer. Default: 3,000. */
  connectTimeoutMs?: number
  /** For resolving the name and trying all its addresses. Default: 10,000. */
  totalConnectTimeoutMs?: number
  /** The local IP address to connect from. Default: the system's choice. */
  bindTo?: string
  /** Probes on silent connections. Default: off. */
  tcpKeepalive?: TcpKeepalive
  /** A proxy that is connected to in the peer's place and asked for a tunnel to it (CONNECT). Default: none. */
  connectProxy?: ConnectProxy
  /**
   * Whether the peer is told, in front of each connection, whose it is (the PROXY protocol), and in which version.
   * Over TLS that is in front of the handshake. Default: it is not.
   */
  proxyProtocol?: 'v1' | 'v2'
  /**
   * The protocols that it is offered over TLS (ALPN, RFC 7301), the best first; one that knows none of them may
   * refuse the connection. Default: none.
   */
  alpn?: readonly string[]
}

const tcpPeerRules = {
  connectTimeoutMs: peerRules.connectTimeoutMs,
  totalConnectTimeoutMs: peerRules.totalConnectTimeoutMs,
  bindTo: peerRules.bindTo,
  tcpKeepalive: peerRules.tcpKeepalive,
  connectProxy: peerRules.connectProxy,
  proxyProtocol: peerRules.proxyProtocol,
  alpn: alpnRule,
  ...peerTlsRules,
}

const ALLOWED = 'tcp://host:port, tls://host:port, host:port, [IPv6]:port or unix:/path'

/** Where a `TcpProxy` goes, and how. Checked when it is made: make it once and keep it. */
export class TcpPeer {
  /** `host:port` or `unix:/path`. */
  readonly address: string
  /** @internal The addon knows peers of one kind. */
  readonly peer: HttpPeer

  /**
   * Certificates are read and checked at once.
   *
   * @param address `tcp://host:port`, `tls://host:port`, `host:port`, `[IPv6]:port` or `unix:/path`
   * @throws UsageError INVALID_OPTIONS, UNSUPPORTED_PLATFORM (`unix:/path`)
   */
  constructor(address: string, options: TcpPeerOptions = {}) {
    const problems: OptionProblem[] = []
    checkInto(tcpPeerRules, options, problems)
    const place = placeOf(address)
    if (place === undefined) problems.unshift({ path: 'address', found: address, allowed: ALLOWED })
    if (place === undefined || problems.length > 0) throw invalidOptions('TcpPeer', problems)
    this.peer = make(place, options)
    this.address = this.peer.address
    Object.freeze(this)
  }
}

/** The same in the words of HTTP. */
function placeOf(address: unknown): string | undefined {
  if (typeof address !== 'string') return undefined
  if (address.startsWith('unix:')) return address
  const [, scheme, place] = /^(?:(tcp|tls):\/\/)?((?:\[[^\]/]+\]|[^:/?#@[\]]+):\d+)$/.exec(address) ?? []
  if (place === undefined) return undefined
  return scheme === undefined ? place : `${scheme === 'tls' ? 'https' : 'http'}://${place}`
}

function make(place: string, { alpn, ...options }: TcpPeerOptions): HttpPeer {
  try {
    return new HttpPeer(place, options, alpn)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    const inOurWords = ({ path, allowed }: OptionProblem) => {
      if (path === 'tls') return 'what tcp:// or tls:// says, or nothing'
      return path === 'address' && allowed === PEER_ADDRESS ? ALLOWED : allowed
    }
    const problems = error.problems.map((problem) => ({ ...problem, allowed: inOurWords(problem) }))
    throw invalidOptions('TcpPeer', problems)
  }
}
