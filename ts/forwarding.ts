import type { NativeForwardingOptions } from './native.js'
import { networks } from './networks.js'
import { type Checked, flag, oneOf, value } from './options.js'

/** What origins are told of who a request comes from. What a client claims of it never goes on. */
export interface ForwardingOptions {
  /**
   * Proxies in front of this one, whose word on their own clients is taken: addresses, networks
   * (`10.0.0.0/8`, `fd00::/8`), and the names `loopback`, `private`,
   * `linklocal` and `unix`. Default: `[]`.
   */
  trustedProxies?: readonly string[]
  /**
   * The field in which they name their clients. The other may be their clients' own, and is not
   * looked at. Default: `x-forwarded-for`.
   */
  trustedField?: 'x-forwarded-for' | 'forwarded'
  /** Whether X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host are sent upstream. Default: true. */
  xForwarded?: boolean
  /** Whether Forwarded (RFC 7239) is sent upstream. Default: false. */
  forwarded?: boolean
  /**
   * Whether this proxy adds itself to Via (RFC 9110 §7.6.3), of requests and of origins' responses:
   * as `millrace`, or under this name, a pseudonym or a host with or without its port. Default: false.
   */
  via?: boolean | string
}

/** The rules of {@link ForwardingOptions}. */
export const forwardingRules = {
  trustedProxies: networks<readonly string[]>([]),
  trustedField: oneOf<'x-forwarded-for' | 'forwarded', 'x-forwarded-for'>('x-forwarded-for', [
    'x-forwarded-for',
    'forwarded',
  ]),
  xForwarded: flag<boolean>(true),
  forwarded: flag<boolean>(false),
  via: value<boolean | string>(
    false,
    'true, false, or a token or a host[:port] of 1 to 128 characters',
    isVia,
    { anyOf: [{ type: 'boolean' }, { type: 'string' }] },
  ),
}

function isVia(found: unknown): boolean {
  if (typeof found === 'boolean') return true
  return (
    typeof found === 'string' &&
    found.length <= 128 &&
    /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?::\d{1,5})?$/.test(found)
  )
}

/** The same as the addon takes it. */
export function nativeForwarding(checked: Checked<typeof forwardingRules>): NativeForwardingOptions {
  const { trustedProxies, trustedField, xForwarded, forwarded, via } = checked
  return {
    trustedProxies: [...trustedProxies],
    trustsForwarded: trustedField === 'forwarded',
    xForwarded,
    forwarded,
    via: via === true ? 'millrace' : via || '',
  }
}
