import type { OptionProblem } from './errors.js'
import { checkName, checkValue } from './headers.js'
import type { NativePeer } from './native.js'
import { type Checked, type Rule, required, value } from './options.js'

/** A proxy on the way to a peer, spoken to in the clear. */
export interface ConnectProxy {
  /** `http://host[:port]`, `host:port`, `[IPv6]:port` or `unix:/path`. */
  address: string
  /** What it is sent beside `host`: `proxy-authorization`, say. Default: nothing. */
  headers?: Record<string, string>
}

/** They say how the message is read, or are set with the peer. */
const NOT_THEIRS = new Set([
  'host', 'content-length', 'transfer-encoding', 'connection', 'upgrade', 'te', 'expect',
]) // biome-ignore format: one list

const HEADER = `a header with one valid value, and none of ${[...NOT_THEIRS].join(', ')}`

/** The rules of {@link ConnectProxy}. */
export const connectProxyRules = {
  address: required(value<string | undefined>(undefined, 'an address', (v) => typeof v === 'string')),
  headers: headersRule({}),
}

/** Headers with one value each; a problem names the header. */
function headersRule(fallback: Record<string, string>): Rule<Record<string, string>> {
  const allowed = 'an object of headers, each with one value'
  return {
    allowed,
    fallback,
    check(found, path, problems) {
      const isObject = typeof found === 'object' && found !== null && !Array.isArray(found)
      if (!isObject) problems.push({ path, found, allowed })
      else
        for (const [name, value] of Object.entries(found))
          if (!isHeader(name, value))
            problems.push({ path: `${path}[${JSON.stringify(name)}]`, found: value, allowed: HEADER })
      return found as Record<string, string>
    },
  }
}

function isHeader(name: string, value: unknown): boolean {
  try {
    checkName(name)
    checkValue(name, value)
  } catch {
    return false
  }
  return !NOT_THEIRS.has(name.toLowerCase())
}

/** The proxy as the addon takes it. `place` is its address in the form of a peer's. */
export function nativeProxy(
  proxy: Checked<typeof connectProxyRules> | undefined,
  place: (address: string) => { scheme?: string; place: string },
  peer: string,
  problems: OptionProblem[],
): Pick<NativePeer, 'connectProxy'> {
  if (typeof proxy?.address !== 'string') return {}
  const path = 'connectProxy'
  if (peer.startsWith('unix:'))
    problems.push({ path, found: proxy.address, allowed: 'nothing for a peer at a Unix socket' })
  const { scheme, place: address } = place(proxy.address)
  if (scheme === 'https')
    problems.push({ path: `${path}.address`, found: proxy.address, allowed: 'a proxy without TLS' })
  const headers = Object.entries(proxy.headers)
  return {
    connectProxy: { address, names: headers.map(([name]) => name), values: headers.map(([, v]) => v) },
  }
}
