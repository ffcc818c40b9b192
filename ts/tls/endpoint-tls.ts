import { Complaints } from '../complaints.js'
import { invalidOptions, type OptionProblem } from '../errors.js'
import { type AnyLog, makeLog } from '../logger.js'
import { type NativeCertificate, NativeTls } from '../native.js'
import { type Checked, checkOptions, list } from '../options.js'
import { type Certificate, certificateRules, checkTls, pemRules, type Speaks } from './options.js'
import { problemWith } from './pem.js'
import { askFor } from './sni.js'

/** The TLS of an endpoint. */
export interface EndpointTls {
  /** As it was given, until the endpoint is bound. */
  given: object | undefined
  readonly native: NativeTls
  /** The server's, once it has started. */
  log: AnyLog
  /** What went wrong with names that clients ask for. */
  readonly complaints: Complaints
}

/** Checks the options of an endpoint and reads its certificates; adds what is wrong to `problems`. */
export function makeTls(given: unknown, speaks: Speaks, problems: OptionProblem[]): EndpointTls | undefined {
  const before = problems.length
  const options = checkTls(given, speaks, problems)
  if (problems.length > before) return undefined
  const { cert, key, clientAuth, sniCallback, handshakeTimeoutMs } = options
  const isSingle = cert !== undefined && key !== undefined
  const certificates = isSingle ? [{ names: [], cert, key }] : options.certificates
  let tls: EndpointTls | undefined
  const ask = (question: number, name: string) => {
    if (tls && sniCallback) void askFor(tls, sniCallback, question, name, handshakeTimeoutMs)
  }
  try {
    const native = new NativeTls(
      {
        certificates: listed(certificates),
        alpn: [...options.protocols],
        onlyTls13: options.minVersion === 'TLSv1.3',
        ...(clientAuth === undefined ? {} : { clientCa: clientAuth.ca }),
        clientRequired: clientAuth?.mode === 'require',
        sessionTickets: options.sessionTickets,
        handshakeTimeoutMs,
        sniCacheTtlMs: options.sniCacheTtlMs,
      },
      sniCallback === undefined ? undefined : ask,
    )
    tls = {
      given: given as object,
      native,
      log: makeLog(undefined),
      complaints: new Complaints('sniCallback'),
    }
  } catch (error) {
    const asGiven = isSingle ? { certificates: [given], ...(given as object) } : given
    const problem = problemWith(error, pemRules, asGiven)
    problems.push({
      ...problem,
      path: isSingle ? problem.path.replace('certificates[0].', '') : problem.path,
    })
  }
  return tls
}

/** Certificates as the addon takes them. */
function listed(certificates: Checked<typeof certificateRules>[] = []): NativeCertificate[] {
  return certificates.map((one) => ({ ...one, names: [...one.names] }))
}

/** Replaces the certificates of an endpoint; of one without TLS it only looks at them. @throws UsageError INVALID_OPTIONS */
export function updateTls(
  tls: EndpointTls | undefined,
  certificates: Certificate | readonly Certificate[],
): void {
  const given = { certificates: Array.isArray(certificates) ? certificates : [certificates] }
  const rules = { certificates: list(certificateRules) }
  const checked = checkOptions('updateCertificates', rules, given).certificates!
  try {
    tls?.native.updateCertificates(listed(checked))
  } catch (error) {
    throw invalidOptions('updateCertificates', [problemWith(error, pemRules, given)])
  }
}
