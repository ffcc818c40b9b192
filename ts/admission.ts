import { type ConnectionCheck, type EndpointCheck, makeCheck } from './connection-check.js'
import type { OptionProblem } from './errors.js'
import type { NativeAdmissionOptions } from './native.js'
import { networks } from './networks.js'
import { type Checked, group, integer, oneOf, type Rule, required, value } from './options.js'

/** Whose connections an endpoint takes, and how it knows whose they are. */
export interface AdmissionOptions {
  /** Proxies in front that name their clients by the PROXY protocol, version 1 or 2. Default: none. */
  proxyProtocol?: ProxyProtocolOptions
  /** Which clients may connect, asked before any handshake: lists, a function, or both. Default: all may. */
  connectionFilter?: ConnectionFilterOptions | ConnectionCheck
}

/** Proxies that say in front of each connection whose it is: over TLS, before the handshake. */
export interface ProxyProtocolOptions {
  /**
   * Who is believed: addresses, networks (`10.0.0.0/8`, `fd00::/8`), and the names `loopback`, `private`,
   * `linklocal` and `unix`. Each of their connections has to begin with a header, or it is closed.
   */
  from: readonly string[]
  /**
   * What becomes of connections from elsewhere: they are closed, or served as the clients' that they are
   * from. A header that those send is never read as one. Default: `refuse`.
   */
  others?: 'refuse' | 'direct'
  /** How long a header may take to come, in milliseconds, 1–60,000. Default: 5,000. */
  timeoutMs?: number
}

/**
 * Which clients may connect. Those that may not are closed before anything is read from them. Of a client
 * that a proxy names (`proxyProtocol`), its address counts, not the proxy's.
 */
export interface ConnectionFilterOptions {
  /** Those that may: as in `proxyProtocol.from`. Default: all. */
  allow?: readonly string[]
  /** Those that may not, whatever else is said of them. Default: `[]`. */
  deny?: readonly string[]
  /** Asked of those that the lists let through. Default: nothing is asked. */
  check?: ConnectionCheck
  /** How long it may take, in milliseconds, 1–60,000. Default: 1,000. */
  timeoutMs?: number
  /**
   * What becomes of a connection of which `check` says nothing: it throws, takes too long, or is asked about
   * more than 1,024 connections at once. Default: `refuse`.
   */
  onFailure?: 'refuse' | 'accept'
}

const proxyProtocolRules = {
  from: required(networks<readonly string[] | undefined>(undefined, 1)),
  others: oneOf<'refuse' | 'direct', 'refuse'>('refuse', ['refuse', 'direct']),
  timeoutMs: integer(5_000, 1, 60_000),
}

const filterRules = {
  allow: networks<readonly string[] | undefined>(undefined),
  deny: networks<readonly string[]>([]),
  check: value<ConnectionCheck | undefined>(undefined, 'a function', (v) => typeof v === 'function'),
  timeoutMs: integer(1_000, 1, 60_000),
  onFailure: oneOf<'refuse' | 'accept', 'refuse'>('refuse', ['refuse', 'accept']),
}

/** The rules of {@link AdmissionOptions}. */
export const admissionRules = {
  proxyProtocol: group(proxyProtocolRules),
  connectionFilter: filterRule(undefined),
}

type Filter = Checked<typeof filterRules>

/** A function by itself is the check of a filter without lists. */
function filterRule(fallback: Filter | undefined): Rule<Filter | undefined> {
  const { check, schema } = group(filterRules)
  return {
    allowed: 'a function, or an object',
    fallback,
    ...(schema && { schema }),
    check: (found, path, problems) =>
      check(typeof found === 'function' ? { check: found } : found, path, problems),
  }
}

/** The same as the addon takes it, and the function that it asks. Only of options without problems. */
export function makeAdmission(
  { proxyProtocol, connectionFilter }: Checked<typeof admissionRules>,
  problems: readonly OptionProblem[],
): { admission?: NativeAdmissionOptions; check?: EndpointCheck } {
  if (problems.length > 0 || (proxyProtocol === undefined && connectionFilter === undefined)) return {}
  const { allow, deny = [], check, timeoutMs = 0, onFailure } = connectionFilter ?? {}
  const admission: NativeAdmissionOptions = {
    ...(proxyProtocol === undefined ? {} : { proxies: [...proxyProtocol.from] }),
    othersDirect: proxyProtocol?.others === 'direct',
    proxyTimeoutMs: proxyProtocol?.timeoutMs ?? 0,
    ...(allow === undefined ? {} : { allow: [...allow] }),
    deny: [...deny],
    checkTimeoutMs: timeoutMs,
    acceptsUnchecked: onFailure === 'accept',
  }
  return check === undefined ? { admission } : { admission, check: makeCheck(check, timeoutMs) }
}
