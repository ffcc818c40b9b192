import type { OptionProblem } from '../errors.js'
import { NativePeerTls } from '../native.js'
import { type Checked, flag, text } from '../options.js'
import { CA, CERT, KEY, type Pem, pem, problemWith } from './pem.js'

/** How handshakes with an origin are done. They mean something with TLS only. */
export interface PeerTlsOptions {
  /** Whether it is spoken to over TLS, where the address is no URL. Default: false, and as the URL says. */
  tls?: boolean
  /**
   * The name that is asked for (SNI) and that the certificate has to be for. Where it is '' none is
   * asked for, and the certificate has to be for the host. Default: the host.
   */
  sni?: string
  /**
   * The authorities that may have signed its certificate, in place of those that Mozilla trusts, or
   * that certificate itself. Default: Mozilla's.
   */
  ca?: Pem
  /** The certificate that is shown to an origin that asks for one. Default: none. */
  cert?: Pem
  /** The private key of `cert`, not encrypted. Default: none. */
  key?: Pem
  /** Whether the origin's certificate is checked at all; false is for tests only. Default: true. */
  verifyCert?: boolean
  /** Whether it has to be for the right name. Default: true. */
  verifyHostname?: boolean
  /** Another name that it may be for instead. Default: none. */
  alternativeName?: string
}

const NAME = 'a DNS name or an IP address'
const isName = (name: string) => /^[\w\-.:[\]]{1,255}$/.test(name)

/** The rules of {@link PeerTlsOptions}. */
export const peerTlsRules = {
  tls: flag<boolean | undefined>(undefined),
  sni: text<string | undefined>(undefined, `${NAME}, or '' for none`, (v) => v === '' || isName(v)),
  ca: pem(CA),
  cert: pem(CERT),
  key: pem(KEY),
  verifyCert: flag<boolean | undefined>(undefined),
  verifyHostname: flag<boolean | undefined>(undefined),
  alternativeName: text<string | undefined>(undefined, NAME, isName),
}

/**
 * The TLS of a peer, none in the clear. Adds to `problems` what is wrong, options that would mean
 * nothing included.
 */
export function makePeerTls(
  { tls, ...options }: Checked<typeof peerTlsRules>,
  scheme: 'http' | 'https' | undefined,
  given: unknown,
  problems: OptionProblem[],
  alpn: readonly string[] | undefined,
): NativePeerTls | undefined {
  if (scheme !== undefined && tls !== undefined && tls !== (scheme === 'https'))
    problems.push({ path: 'tls', found: tls, allowed: `what ${scheme}:// says, or nothing` })
  if (!(tls ?? scheme === 'https')) {
    meaningless({ ...options, alpn }, undefined, problems)
    return undefined
  }
  const unchecked = { ca: options.ca, alternativeName: options.alternativeName }
  if (options.verifyCert === false) meaningless(unchecked, 'verifyCert: false', problems)
  else if (options.verifyHostname === false)
    meaningless({ alternativeName: options.alternativeName }, 'verifyHostname: false', problems)
  if (problems.length > 0) return undefined
  const { sni, ca, cert, key, verifyCert = true, verifyHostname = true, alternativeName } = options
  const present = Object.entries({ sni, ca, cert, key, alternativeName }).filter(([, v]) => v !== undefined)
  try {
    const offered = alpn === undefined ? {} : { alpn: [...alpn] }
    return new NativePeerTls({ verifyCert, verifyHostname, ...Object.fromEntries(present), ...offered })
  } catch (error) {
    problems.push(problemWith(error, peerTlsRules, given))
    return undefined
  }
}

/** Adds those of `options` that are there: nothing would come of them. */
function meaningless(options: object, under: string | undefined, problems: OptionProblem[]): void {
  const allowed =
    under === undefined ? 'nothing without TLS (https:// or tls: true)' : `nothing with ${under}`
  for (const [path, found] of Object.entries(options))
    if (found !== undefined) problems.push({ path, found: Buffer.isBuffer(found) ? 'PEM' : found, allowed })
}
