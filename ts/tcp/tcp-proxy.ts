import type { OptionProblem } from '../errors.js'
import { nativeListening } from '../listening.js'
import type { NativeTcpOptions } from '../native.js'
import { checkInto, serviceName } from '../options.js'
import { overridden } from '../overrides.js'
import { type Host, Service } from '../service.js'
import { type TcpServiceOptions, tcpServiceRules } from './options.js'
import { TcpPeer } from './peer.js'

/** How a proxy of connections runs. Times are in milliseconds; 0 is off. */
export interface TcpProxyOptions extends TcpServiceOptions {
  /** For the names of its threads and for the log. Default: `tcp-proxy`. */
  name?: string
}

/** @internal The rules of {@link TcpProxyOptions}. */
export const tcpProxyRules = {
  ...tcpServiceRules,
  name: serviceName('tcp-proxy'),
}

/**
 * A service that passes the bytes of each connection on to a peer, in both directions, without a word in
 * JavaScript. Either side may be over TLS. The end of one side is passed on and leaves the other open; where one
 * fails, or the peer cannot be reached, the other is reset. `server.stats()` counts the bytes.
 */
export class TcpProxy extends Service {
  readonly #peer: TcpPeer
  readonly #native: NativeTcpOptions

  /**
   * @param peer a `TcpPeer`, or the address of one
   * @throws UsageError INVALID_OPTIONS
   */
  constructor(peer: TcpPeer | string, options: TcpProxyOptions = {}) {
    super()
    const problems: OptionProblem[] = []
    const given = overridden.service(options, 'tcp-proxy')
    const checked = checkInto(tcpProxyRules, given, problems)
    if (!(peer instanceof TcpPeer) && typeof peer !== 'string')
      problems.push({ path: 'peer', found: peer, allowed: 'a TcpPeer, or its address' })
    if (problems.length > 0) throw overridden.refusal('TcpProxy', problems, given)
    this.#peer = typeof peer === 'string' ? new TcpPeer(peer) : peer
    this.#native = nativeListening(checked)
  }

  /** The service's name. */
  override get name(): string {
    return this.#native.name
  }

  /** @internal */
  protected override readonly speaks = 'anything'

  /** @internal */
  protected override readonly scheme = 'tcp'

  /** @internal */
  override addTo({ native, numberOf }: Host): number {
    return native.addTcpProxy(numberOf(this.#peer.peer), this.#native)
  }
}
