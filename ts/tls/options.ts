import { isIP } from 'node:net'
import type { OptionProblem } from '../errors.js'
import {
  type Checked,
  checkInto,
  each,
  flag,
  group,
  integer,
  list,
  MAX_MS,
  ms,
  oneOf,
  required,
  value,
} from '../options.js'
import type { Awaitable } from '../phases.js'
import { CA, CERT, KEY, type Pem, pem } from './pem.js'

/** A certificate with its key. */
export interface Certificate {
  /** The DNS names it is shown for, `*.` standing for one label; it has to be for them. Default: its own. */
  names?: readonly string[]
  /** The certificate, and those between it and its authority. */
  cert: Pem
  /** Its private key, not encrypted. */
  key: Pem
}

/** Which certificates of clients are accepted. */
export interface ClientAuth {
  /** The authorities that may have signed them. */
  ca: Pem
  /** `request`: a client may show one; `require`: it has to. One that is shown has to be valid. */
  mode: 'request' | 'require'
}

/** How handshakes with clients are done. */
export interface TlsOptions {
  /** The certificate, and those between it and its authority. Default: none. */
  cert?: Pem
  /** The private key of `cert`, not encrypted. Default: none. */
  key?: Pem
  /**
   * Several certificates, in place of `cert` and `key`. The first is shown where none is for the name
   * that is asked for. Default: none.
   */
  certificates?: readonly Certificate[]
  /** Whether HTTP/2 is offered beside HTTP/1.1; of services of HTTP. Default: true, if the service speaks it. */
  h2?: boolean
  /**
   * The protocols that are offered (ALPN, RFC 7301), the best first: of a `TcpApp` or a `TcpProxy` whatever is
   * spoken there, with a client that offers only others refused; of services of HTTP `h2` and `http/1.1`, in
   * place of `h2`. Default: as `h2` says, and of a `TcpApp` or a `TcpProxy` none, which refuses nobody.
   */
  alpn?: readonly string[]
  /** The oldest version of TLS that is spoken: `TLSv1.2` or `TLSv1.3`. Default: `TLSv1.2`. */
  minVersion?: 'TLSv1.2' | 'TLSv1.3'
  /** Which certificates of clients are accepted. Default: none is asked for. */
  clientAuth?: ClientAuth
  /**
   * Finds the certificate for a name that none of the listed ones is for; the name is in lower case,
   * and anything that a client likes. Where it finds nothing, or fails, the first of those listed is
   * shown, or the handshake fails. It is called once at a time for each name. Default: none.
   */
  sniCallback?: (name: string) => Awaitable<Omit<Certificate, 'names'> | undefined | null | void>
  /**
   * How long an answer of `sniCallback` is used, in milliseconds; 0 = once. That there is no
   * certificate is kept for 10,000 at most. Of 1,024 names. Default: 3,600,000.
   */
  sniCacheTtlMs?: number
  /** Whether clients may resume a session, which saves half of the work. Default: true. */
  sessionTickets?: boolean
  /** For the whole handshake, in milliseconds, `sniCallback` included. Default: 10,000. */
  handshakeTimeoutMs?: number
}

const NAME = 'a DNS name that the certificate is for, with or without *. before it'
/** What a service can offer by ALPN: HTTP, with HTTP/2 or without, or what its owner says. */
export type Speaks = 'h2' | 'http/1.1' | 'anything'

// Clients never ask for an IP address by name (RFC 6066 §3).
const isName = (name: string) => /^(\*\.)?[\w\-.]+$/.test(name) && isIP(name) === 0

const isOfHttp = (name: string, at: number, all: readonly unknown[]) =>
  (name === 'h2' || name === 'http/1.1') && all.indexOf(name) === at

/** Protocols of a list at most: with longer names than these have, more would not fit into a handshake. */
const MOST_PROTOCOLS = 64

/** Protocols as ALPN names them, the best first (RFC 7301 §3.1). */
export const alpnRule = each<readonly string[] | undefined>(
  undefined,
  `the name of a protocol, of 1 to 255 bytes, once each, ${MOST_PROTOCOLS} at most`,
  (name, at, all) =>
    name !== '' && Buffer.byteLength(name) <= 255 && all.indexOf(name) === at && at < MOST_PROTOCOLS,
  1,
)

/** The rules of {@link Certificate}. */
export const certificateRules = {
  names: each<readonly string[]>([], NAME, isName, 1),
  cert: required(pem(CERT)),
  key: required(pem(KEY)),
}

/** The rules of what `sniCallback` finds. */
export const foundRules = { cert: required(pem(CERT)), key: required(pem(KEY)) }

const clientAuthRules = {
  ca: required(pem(CA)),
  mode: required(oneOf(undefined, ['request', 'require'])),
}

/** The rules of {@link TlsOptions}. */
export const tlsRules = {
  cert: pem(CERT),
  key: pem(KEY),
  certificates: list(certificateRules),
  h2: flag<boolean | undefined>(undefined),
  alpn: alpnRule,
  minVersion: oneOf('TLSv1.2', ['TLSv1.2', 'TLSv1.3']),
  clientAuth: group(clientAuthRules),
  sniCallback: value<TlsOptions['sniCallback']>(undefined, 'a function', (v) => typeof v === 'function'),
  sniCacheTtlMs: ms(3_600_000, 'once'),
  sessionTickets: flag(true),
  handshakeTimeoutMs: integer(10_000, 1, MAX_MS),
}

/** The same of services of HTTP. */
const httpRules = {
  ...tlsRules,
  alpn: each<readonly string[] | undefined>(undefined, "'h2' or 'http/1.1', once each", isOfHttp, 1),
}

/** Every option that PEM can be wrong in, by its own name. */
export const pemRules = {
  ...certificateRules,
  ...clientAuthRules,
  certificates: { ...list(certificateRules), allowed: 'at least one, unless there is a sniCallback' },
}

/** Checks all but what PEM says; adds what is wrong to `problems`. */
export function checkTls(
  given: unknown,
  speaks: Speaks,
  problems: OptionProblem[],
): Checked<typeof tlsRules> & { protocols: readonly string[] } {
  const before = problems.length
  const options = checkInto(speaks === 'anything' ? tlsRules : httpRules, given, problems)
  const wrong = (path: string, found: unknown, allowed: string) => problems.push({ path, found, allowed })
  const { certificates, sniCallback, h2, alpn } = options
  const ofHttp = (h2 ?? speaks === 'h2') ? ['h2', 'http/1.1'] : ['http/1.1']
  const protocols = alpn ?? (speaks === 'anything' ? [] : ofHttp)
  if (problems.length === before) {
    if (certificates !== undefined) {
      for (const name of ['cert', 'key'] as const)
        if (options[name] !== undefined)
          wrong(name, 'certificates as well', 'either certificates, or cert and key')
    } else if ((options.cert === undefined) !== (options.key === undefined)) {
      if (options.cert === undefined) wrong('cert', undefined, CERT)
      else wrong('key', undefined, KEY)
    }
    if (!certificates?.length && (options.cert ?? options.key ?? sniCallback) === undefined)
      wrong('cert', undefined, 'cert and key, or certificates, or a sniCallback')
    const { sniCacheTtlMs } = (given ?? {}) as TlsOptions
    if (sniCacheTtlMs !== undefined && sniCallback === undefined)
      wrong('sniCacheTtlMs', sniCacheTtlMs, 'nothing without a sniCallback')
    if (h2 !== undefined && alpn !== undefined) wrong('alpn', alpn, 'either h2 or alpn')
    if (speaks === 'anything' && h2 !== undefined)
      wrong('h2', h2, 'nothing: this service offers what alpn says')
    if (speaks === 'http/1.1' && protocols.includes('h2'))
      wrong(
        alpn === undefined ? 'h2' : 'alpn',
        alpn ?? h2,
        'HTTP/1.1 alone: this service does not speak HTTP/2',
      )
  }
  return { ...options, protocols }
}
