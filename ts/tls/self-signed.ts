import { isIP } from 'node:net'
import { invalidOptions, type OptionProblem } from '../errors.js'
import { selfSigned as native } from '../native.js'
import { nativeProblem } from './pem.js'

const ALLOWED = 'DNS names and IP addresses, at least one'

/** A certificate and its key. */
export interface SelfSigned {
  /** In PEM. */
  cert: string
  /** In PEM, not encrypted. */
  key: string
}

/**
 * Makes a certificate that has signed itself, and its key, in PEM: for development, demos and tests.
 * It is valid for a year, and no client trusts it that was not told to. Its `cert` does as the `ca`
 * of those that are.
 *
 * @param names DNS names and IP addresses, such as `localhost` and `127.0.0.1`
 * @throws UsageError INVALID_OPTIONS
 */
export function selfSigned(...names: string[]): SelfSigned {
  const problems: OptionProblem[] = []
  for (const [at, name] of names.entries())
    if (typeof name !== 'string' || !(isIP(name) || /^(?:\*\.)?[0-9A-Za-z\-.]{1,253}$/.test(name)))
      problems.push({ path: `names[${at}]`, found: name, allowed: ALLOWED })
  if (names.length === 0) problems.push({ path: 'names', found: names, allowed: ALLOWED })
  if (problems.length > 0) throw invalidOptions('selfSigned', problems)
  try {
    return native(names)
  } catch (error) {
    const { message } = nativeProblem(error)
    throw invalidOptions('selfSigned', [{ path: 'names', found: message, allowed: ALLOWED }])
  }
}
