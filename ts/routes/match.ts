import type { OptionProblem } from '../errors.js'
import { checkName, checkValue } from '../headers.js'
import type { NativeMatch, NativePath } from '../native.js'
import { type Checked, oneOf, type Rule } from '../options.js'

/**
 * Which requests something is for. Of a list one has to fit; all that is given has to fit. What is
 * compared is the request as it came.
 */
export interface RequestMatch {
  /**
   * The host, whatever its port and case: `a.example`, or `*.example` for all names beneath it.
   * Default: any.
   */
  host?: string | readonly string[]
  /**
   * The path, percent-decoded and with its dots resolved: `/a` exactly, `/a/*` for `/a` and all beneath
   * it, `:id` for any one segment; or a regular expression without look-around. Default: any.
   */
  path?: string | RegExp | readonly (string | RegExp)[]
  /** The method, exactly as it is written: `GET` is not `HEAD`. Default: any. */
  method?: string | readonly string[]
  /** Fields: whether there is one (true or false), or the value that one has to have. Default: any. */
  header?: Readonly<Record<string, boolean | string | readonly string[]>>
  /** How the client asked: `https` over TLS, or as trusted proxies say. Default: any. */
  scheme?: 'http' | 'https'
}

/** The rules of {@link RequestMatch}. */
export const matchRules = {
  host: listOf<string>(undefined, 'a host, or a list of them', (v) => typeof v === 'string'),
  path: listOf<string | RegExp>(
    undefined,
    'a path, a regular expression with no flag but i, or a list of them',
    (v) => typeof v === 'string' || (v instanceof RegExp && /^i?$/.test(v.flags)),
  ),
  method: listOf<string>(undefined, 'a method, or a list of them', (v) => typeof v === 'string'),
  header: conditions(undefined),
  scheme: oneOf<'http' | 'https', undefined>(undefined, ['http', 'https']),
}

/** One, or several of them, which are a list afterwards. */
function listOf<T>(
  fallback: undefined,
  allowed: string,
  test: (value: unknown) => boolean,
): Rule<readonly T[] | undefined> {
  return {
    allowed,
    fallback,
    check(found, path, problems) {
      const all: unknown[] = Array.isArray(found) ? found : [found]
      if (all.length === 0) problems.push({ path, found, allowed: 'not an empty list' })
      for (const [at, one] of all.entries())
        if (!test(one))
          problems.push({ path: Array.isArray(found) ? `${path}[${at}]` : path, found: one, allowed })
      return all as T[]
    },
  }
}

function passes(check: () => void): boolean {
  try {
    check()
    return true
  } catch {
    return false
  }
}

type Condition = boolean | string | readonly string[]

function conditions(fallback: undefined): Rule<Record<string, Condition> | undefined> {
  const allowed = 'an object: for each name true, false, a value, or a list of values'
  const check = (found: unknown, path: string, problems: OptionProblem[]) => {
    if (typeof found !== 'object' || found === null || Array.isArray(found)) {
      problems.push({ path, found, allowed })
      return {}
    }
    for (const [name, condition] of Object.entries(found)) {
      const here = `${path}.${name}`
      const isList = Array.isArray(condition) && condition.length > 0
      if (!passes(() => checkName(name)))
        problems.push({ path: here, found: condition, allowed: 'the name of a header' })
      else if (typeof condition !== 'boolean')
        for (const [at, value] of (isList ? condition : [condition]).entries())
          if (!passes(() => checkValue(name, value)))
            problems.push({
              path: isList ? `${here}[${at}]` : here,
              found: value,
              allowed: isList ? 'a valid value' : 'true, false, or valid values',
            })
    }
    return found as Record<string, Condition>
  }
  return { allowed, fallback, check }
}

/** The same as the addon takes it. */
export function nativeMatch(match: Partial<Checked<typeof matchRules>> = {}): NativeMatch {
  const { host, path, method, header, scheme } = match
  return {
    hosts: strings(host),
    paths: (path ?? []).filter(isPath).map(nativePath),
    methods: strings(method),
    headers: Object.entries(header ?? {}).map(([name, condition]) =>
      typeof condition === 'boolean'
        ? { name, present: condition, values: [] }
        : { name, values: typeof condition === 'string' ? [condition] : strings(condition) },
    ),
    scheme: typeof scheme === 'string' ? scheme : '',
  }
}

// What is of a wrong type is a problem already, and must not get as far as the addon.
const strings = (list: readonly unknown[] | undefined) =>
  (Array.isArray(list) ? list : []).map((one) => (typeof one === 'string' ? one : ''))
const isPath = (path: unknown): path is string | RegExp => typeof path === 'string' || path instanceof RegExp

/** A pattern or an expression, as the addon takes it. */
export function nativePath(path: string | RegExp): NativePath {
  if (typeof path === 'string') return { source: path, isExpression: false, ignoresCase: false }
  return { source: path.source, isExpression: true, ignoresCase: path.ignoreCase }
}
