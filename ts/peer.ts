import { isIP } from 'node:net'
import { type ConnectProxy, connectProxyRules, nativeProxy } from './connect-proxy.js'
import { invalidOptions, type OptionProblem } from './errors.js'
import type { NativePeer, NativePeerTls } from './native.js'
import { type Checked, checkInto, group, integer, ms, oneOf, text } from './options.js'
import { has, unsupported } from './platform.js'
import { makePeerTls, type PeerTlsOptions, peerTlsRules } from './tls/peer-tls.js'
import { unixPathProblem } from './unix-path.js'

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
export interface HttpPeerOptions extends PeerTlsOptions {
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
  /**
   * The version of HTTP: `h1`, `h2` (in the clear without asking, by prior knowledge), or `auto`: what
   * the origin chooses by ALPN, which is `h1` in the clear. Default: `h1`.
   */
  protocol?: 'h1' | 'h2' | 'auto'
  /**
   * How many requests share a connection of HTTP/2, if the origin allows as many; more connections
   * are opened beyond. Default: 100.
   */
  h2MaxStreams?: number
  /**
   * How long a connection of HTTP/2 may be silent before it is pinged; it is dropped if nothing comes
   * back for as long again, or for 5 s if that is less. While nothing else happens on it, each ping
   * waits four times as long as the one before, up to 10 minutes. 0 = never. Default: 30,000.
   */
  h2PingIntervalMs?: number
  /**
   * A proxy that is connected to in the peer's place and asked for a tunnel to it (CONNECT), so that
   * a name is resolved there. `session.upstream.address` is the proxy's. Default: none.
   */
  connectProxy?: ConnectProxy
  /**
   * The peer is told in front of each connection whose it is, by this version of the PROXY protocol; over
   * TLS before the handshake. A connection then serves the requests of one client only. Default: it is not.
   */
  proxyProtocol?: 'v1' | 'v2'
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
  protocol: oneOf('h1', ['h1', 'h2', 'auto']),
  h2MaxStreams: integer<number | undefined>(undefined, 1, 2 ** 31 - 1),
  h2PingIntervalMs: ms<number | undefined>(undefined, 'never'),
  connectProxy: group(connectProxyRules),
  proxyProtocol: oneOf<'v1' | 'v2', undefined>(undefined, ['v1', 'v2']),
  host: text('preserve', "'preserve', 'peer' or a host, with or without a port", (v) => HOST.test(v)),
}

/** The rules of {@link HttpPeerOptions} but for TLS. */
export const peerRules = rules

const PLAIN = 'http://host[:port], host:port, [IPv6]:port or unix:/path'
/** @internal What a peer's address may be. */
export const PEER_ADDRESS = `https://host[:port], ${PLAIN}`

/**
 * Where a request goes, and how. Frozen, and checked when it is made: make it once and keep it.
 * Peers of the same content share their connections.
 */
export class HttpPeer {
  /** `host:port` or `unix:/path`. */
  readonly address: string
  readonly #spec: NativePeer
  readonly #tls: NativePeerTls | undefined
  readonly #given: PeerRecipe
  #id = 0
  #epoch = -1

  /**
   * Certificates are read and checked at once.
   *
   * @param address `http://host[:port]`, `https://host[:port]`, `host:port`, `[IPv6]:port` or `unix:/path`
   * @throws UsageError INVALID_OPTIONS, UNSUPPORTED_PLATFORM (`unix:/path`)
   */
  constructor(address: string, options?: HttpPeerOptions)
  /** @internal With the protocols that a peer of no HTTP is offered. */
  constructor(address: string, options: HttpPeerOptions, alpn: readonly string[] | undefined)
  constructor(address: string, options: HttpPeerOptions = {}, alpn?: readonly string[]) {
    const problems: OptionProblem[] = []
    const { scheme, place } = parseAddress(address, problems)
    const { plain, secret } = apart(checkInto({ ...rules, ...peerTlsRules }, options, problems))
    const {
      host,
      bindTo,
      tcpKeepalive,
      protocol,
      h2MaxStreams,
      h2PingIntervalMs,
      connectProxy,
      proxyProtocol,
      ...times
    } = plain
    if (protocol === 'h1')
      for (const [path, found] of Object.entries({ h2MaxStreams, h2PingIntervalMs }))
        if (found !== undefined) problems.push({ path, found, allowed: "nothing with protocol 'h1'" })
    const placeOf = (address: string) => parseAddress(address, problems, 'connectProxy.address', PLAIN)
    const proxy = nativeProxy(connectProxy, placeOf, place, problems)
    this.#tls = makePeerTls(secret, scheme, options, problems, alpn)
    if (problems.length > 0) throw invalidOptions('HttpPeer', problems)
    this.address = place
    this.#given = { address, options }
    this.#spec = {
      address: place,
      ...times,
      protocol,
      h2MaxStreams: h2MaxStreams ?? 100,
      h2PingIntervalMs: h2PingIntervalMs ?? 30_000,
      ...(bindTo === undefined ? {} : { bindTo }),
      ...nativeKeepalive(tcpKeepalive),
      ...proxy,
      ...(proxyProtocol === undefined ? {} : { proxyProtocol }),
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

  /** @internal What it was made of. */
  static recipe(peer: HttpPeer): PeerRecipe {
    return peer.#given
  }

  /** @internal */
  static register(peer: HttpPeer, addon: PeerTable): number {
    peer.#id = addon.registerPeer(peer.#spec, peer.#tls)
    peer.#epoch = addon.peerEpoch()
    return peer.#id
  }
}

/** What a peer is made of: another thread makes the same of it. */
export interface PeerRecipe {
  readonly address: string
  readonly options: HttpPeerOptions
}

/** The addon's table of peers. */
export interface PeerTable {
  registerPeer(spec: NativePeer, tls?: NativePeerTls): number
  peerEpoch(): number
}

/** Keep-alive as the addon takes it. */
export function nativeKeepalive(keepalive: Required<TcpKeepalive> | undefined) {
  if (keepalive === undefined) return {}
  const { idleMs, intervalMs, count } = keepalive
  return { keepaliveIdleMs: idleMs, keepaliveIntervalMs: intervalMs, keepaliveCount: count }
}

/** The options of TLS, and all others. */
function apart(checked: Checked<typeof rules & typeof peerTlsRules>) {
  const { tls, sni, ca, cert, key, verifyCert, verifyHostname, alternativeName, ...plain } = checked
  return { plain, secret: { tls, sni, ca, cert, key, verifyCert, verifyHostname, alternativeName } }
}

interface Place {
  /** Where the address is a URL. */
  scheme?: 'http' | 'https'
  /** `host:port` or `unix:/path`. */
  place: string
}

function parseAddress(
  address: unknown,
  problems: OptionProblem[],
  path = 'address',
  all = PEER_ADDRESS,
): Place {
  const wrong = (allowed = all) => {
    problems.push({ path, found: address, allowed })
    return { place: '' }
  }
  if (typeof address !== 'string') return wrong()
  if (address.startsWith('unix:')) {
    const allowed = unixPathProblem(address.slice('unix:'.length), 'path')
    if (allowed !== undefined) return wrong(`unix: and ${allowed}`)
    if (!has('unixSockets')) problems.push(unsupported(path, address, 'no unix:/path'))
    return { place: address }
  }
  const isUrl = address.includes('://')
  let url: URL
  try {
    url = new URL(isUrl ? address : `http://${address}`)
  } catch {
    return wrong()
  }
  const scheme = url.protocol === 'https:' ? 'https' : 'http'
  if (url.protocol !== `${scheme}:` || url.username !== '' || url.password !== '') return wrong()
  if (
    url.pathname !== '/' ||
    url.search !== '' ||
    url.hash !== '' ||
    address.endsWith('?') ||
    address.endsWith('#')
  )
    return wrong(`${all}; without a path: change the target in upstreamRequestFilter`)
  if (!isUrl && !/^(?:\[[^\]/]+\]|[^:/]+):\d+$/.test(address)) return wrong()
  if (url.hostname === '' || url.port === '0') return wrong()
  const place = `${url.hostname}:${url.port || (scheme === 'https' ? '443' : '80')}`
  return isUrl ? { scheme, place } : { place }
}
