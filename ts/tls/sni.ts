import { describe } from '../crossing/failure.js'
import { invalidOptions, type OptionProblem, show } from '../errors.js'
import type { NativeCertificate } from '../native.js'
import { checkInto } from '../options.js'
import type { EndpointTls } from './endpoint-tls.js'
import { foundRules, type TlsOptions } from './options.js'
import { nativeProblem } from './pem.js'

/** Asks `sniCallback` and passes on what it says. Whatever it does costs the handshakes for its name only. */
export async function askFor(
  tls: EndpointTls,
  sniCallback: NonNullable<TlsOptions['sniCallback']>,
  question: number,
  name: string,
  limitMs: number,
): Promise<void> {
  const complain = (what: string) =>
    tls.complaints.add((line) => tls.log.error(line), `sniCallback failed for ${show(name)}: ${what}`)
  const slow = setTimeout(() => complain(`no answer within ${limitMs} ms`), limitMs).unref()
  try {
    const found: unknown = await sniCallback(name)
    tls.native.answer(question, found === undefined || found === null ? undefined : certificate(found))
  } catch (error) {
    const { field, message } = nativeProblem(error)
    complain(field === '' ? describe(error) : `${field}: ${message}`)
    tls.native.answer(question)
  } finally {
    clearTimeout(slow)
  }
}

function certificate(found: unknown): NativeCertificate {
  const problems: OptionProblem[] = []
  const { cert, key } = checkInto(foundRules, found, problems)
  if (problems.length > 0) throw invalidOptions('what sniCallback found', problems)
  return { names: [], cert, key }
}
