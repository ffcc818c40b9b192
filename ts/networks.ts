import { networkProblem } from './native.js'
import { each, type Rule } from './options.js'

const NAMES = ['loopback', 'private', 'linklocal', 'unix']
const ALLOWED = `an address, a network such as 10.0.0.0/8, or ${NAMES.map((name) => `'${name}'`).join(', ')}`
/** The longest is an IPv6 address with an IPv4 address in it, and its prefix. */
const LONGEST = 50

/** A list of addresses, networks, and names of such. */
export function networks<T extends readonly string[] | undefined>(fallback: T, least = 0): Rule<T> {
  const plain = each<T>(fallback, ALLOWED, () => true, least)
  return {
    ...plain,
    check(value, path, problems) {
      if (!Array.isArray(value) || value.length < least) return plain.check(value, path, problems)
      for (const [at, found] of value.entries()) {
        const allowed = problemOf(found)
        if (allowed !== undefined) problems.push({ path: `${path}[${at}]`, found, allowed })
      }
      return value as unknown as T
    },
  }
}

/** What is allowed in the place of something that is no network. */
function problemOf(found: unknown): string | undefined {
  if (typeof found !== 'string' || found.length > LONGEST) return ALLOWED
  const allowed = networkProblem(found)
  return allowed === '' ? ALLOWED : (allowed ?? undefined)
}
