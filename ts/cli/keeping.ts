import { type Endpoint, splitAddress } from '../endpoint.js'
import { merged } from '../overrides.js'
import { type SocketOptions, socketRules, unixRules } from '../socket-options.js'
import type { TlsOptions } from '../tls/options.js'
import { isUnix, type Listen } from './config/rules.js'

/** What keeps an endpoint from being open to everybody. */
const GUARDS = ['tls', 'connectionFilter', 'proxyProtocol'] as const

/** A guard that some endpoints have and that not every new one says anything of; which endpoints have it. */
export function lostGuard(
  before: readonly Endpoint[],
  now: readonly (string | Listen)[],
): { guard: (typeof GUARDS)[number]; of: readonly Endpoint[] } | undefined {
  for (const guard of GUARDS) {
    const has = ({ tls, given }: Endpoint) =>
      guard === 'tls' ? tls !== undefined : (given as SocketOptions)[guard] !== undefined
    const isSaid = (one: string | Listen) => typeof one !== 'string' && one[guard] !== undefined
    const of = before.filter(has)
    if (of.length > 0 && !now.every(isSaid)) return { guard, of }
  }
  return undefined
}

/** The options of a socket, over those that an endpoint has and that one of this address can have. */
export function keepingSockets(address: string, said: object, kept: Endpoint | undefined): object {
  if (kept === undefined) return said
  const rules = isUnix(address) ? unixRules : socketRules
  const isIPv4 = splitAddress(address)?.host.includes(':') === false
  const before = Object.entries(kept.given).filter(
    ([name, value]) => value !== undefined && Object.hasOwn(rules, name) && !(isIPv4 && name === 'ipv6Only'),
  )
  const { connectionFilter, ...rest } = Object.fromEntries(before) as SocketOptions
  // A function by itself is the check of a filter without lists.
  const filter = typeof connectionFilter === 'function' ? { check: connectionFilter } : connectionFilter
  return merged({ ...rest, ...(filter && { connectionFilter: filter }) }, said)
}

/** Options of TLS, over those that an endpoint has. Those that would contradict each other go together. */
export function keepingTls(said: object, kept: Endpoint | undefined): TlsOptions {
  const before = { ...kept?.tls?.given } as Record<string, unknown>
  for (const together of [
    ['cert', 'key', 'certificates'],
    ['h2', 'alpn'],
  ])
    if (together.some((name) => Object.hasOwn(said, name))) for (const name of together) delete before[name]
  return merged(before, said) as TlsOptions
}
