import { invalidOptions, MOST_TOLD, type OptionProblem } from './errors.js'
import { nearest } from './nearest.js'
import { type Feature, has, unsupported } from './platform.js'

/** How one option is checked: its value, or `WRONG`; and its default. */
export interface Rule<T> {
  readonly allowed: string
  /** What an absent option stands for. */
  readonly fallback: T
  /** It must not be absent. */
  readonly isRequired?: boolean
  /** The same for editors of configuration files; absent for what only a program can give, such as a function. */
  readonly schema?: Schema
  /** Adds to `problems` what is wrong below `path`. */
  check(value: unknown, path: string, problems: OptionProblem[]): T
}

/** A JSON Schema, as far as rules need it. */
export interface Schema {
  readonly $ref?: string
  readonly definitions?: Readonly<Record<string, Schema>>
  readonly title?: string
  readonly type?: string
  readonly pattern?: string
  readonly description?: string
  readonly default?: unknown
  readonly enum?: readonly unknown[]
  readonly minimum?: number
  readonly maximum?: number
  readonly minItems?: number
  readonly items?: Schema
  readonly anyOf?: readonly Schema[]
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
  readonly dependencies?: Readonly<Record<string, readonly string[]>>
  readonly additionalProperties?: boolean | Schema
}

/** What a set of rules makes of options. */
export type Checked<R> = { [K in keyof R]: R[K] extends Rule<infer T> ? T : never }

function rule<T>(fallback: T, allowed: string, test: (value: unknown) => boolean, schema?: Schema): Rule<T> {
  const check = (value: unknown, path: string, problems: OptionProblem[]): T => {
    if (!test(value)) problems.push({ path, found: value, allowed })
    return value as T
  }
  return { allowed, fallback, check, ...(schema && { schema: { ...schema, description: allowed } }) }
}

/** The longest time that can be given: what fits a timer, nearly 25 days. */
export const MAX_MS = 2 ** 31 - 1

/** An integer from `min` to `max`; one only where the system has what it `needs`. */
export function integer<T extends number | undefined>(
  fallback: T,
  min: number,
  max: number,
  needs?: Feature,
): Rule<T> {
  const allowed = `an integer from ${min} to ${max}`
  const isOne = (v: unknown) => Number.isInteger(v) && (v as number) >= min && (v as number) <= max
  const plain = rule(fallback, allowed, isOne, { type: 'integer', minimum: min, maximum: max })
  return needs === undefined ? plain : only(needs, plain)
}

/** A time in milliseconds; `zero` says what 0 means. */
export function ms<T extends number | undefined = number>(fallback: T, zero = 'off'): Rule<T> {
  const { check, schema } = integer<T>(fallback, 0, MAX_MS)
  const allowed = `milliseconds, an integer from 0 (${zero}) to ${MAX_MS}`
  return {
    allowed,
    fallback,
    schema: { ...schema, description: allowed },
    check(value, path, problems) {
      const before = problems.length
      const checked = check(value, path, problems)
      if (problems.length > before) problems[before] = { path, found: value, allowed }
      return checked
    },
  }
}

/** `true` or `false`; `true` only where the system has what it `needs`. */
export function flag<T extends boolean | undefined>(fallback: T, needs?: Feature): Rule<T> {
  const plain = rule(fallback, 'true or false', (v) => typeof v === 'boolean', {
    type: 'boolean',
  })
  if (needs === undefined) return plain
  return {
    ...plain,
    check(value, path, problems) {
      if (value === true && !has(needs)) problems.push(unsupported(path, value, 'false'))
      return plain.check(value, path, problems)
    },
  }
}

/** A rule for an option that the system has to have what it `needs` for. */
export function only<T>(needs: Feature, rule: Rule<T>): Rule<T> {
  return {
    ...rule,
    check(value, path, problems) {
      if (!has(needs)) problems.push(unsupported(path, value, 'nothing'))
      return rule.check(value, path, problems)
    },
  }
}

/** A string that passes `test`. */
export function text<T extends string | undefined>(
  fallback: T,
  allowed: string,
  test: (v: string) => boolean,
): Rule<T> {
  return rule(fallback, allowed, (v) => typeof v === 'string' && test(v), { type: 'string' })
}

/** One of a few strings. */
export function oneOf<T extends string, F extends T | undefined>(
  fallback: F,
  names: readonly T[],
): Rule<undefined extends F ? T | undefined : T> {
  const allowed = names.map((name) => `'${name}'`).join(' or ')
  return rule(fallback as T, allowed, (v) => names.includes(v as T), { enum: names })
}

/** The name of a service. */
export function serviceName(fallback: string): Rule<string> {
  return text(fallback, '1 to 64 printable ASCII characters', (v) => /^[\x20-\x7e]{1,64}$/.test(v))
}

/** Any value that passes `test`. @param schema where it can be written down in a file */
export function value<T>(
  fallback: T,
  allowed: string,
  test: (v: unknown) => boolean,
  schema?: Schema,
): Rule<T> {
  return rule(fallback, allowed, test, schema)
}

/** A list, at least `least` long, of which each one passes `test`; a problem names the place in the list. */
export function listOf<T extends readonly unknown[] | undefined>(
  fallback: T,
  allowed: string,
  test: (one: unknown, at: number, all: readonly unknown[]) => boolean,
  least = 0,
): Rule<T> {
  const list = `a list${least > 0 ? ', not empty' : ''}; each: ${allowed}`
  return {
    allowed: list,
    fallback,
    check(value, path, problems) {
      if (!Array.isArray(value) || value.length < least) problems.push({ path, found: value, allowed: list })
      else
        for (const [at, one] of value.entries())
          if (!test(one, at, value)) problems.push({ path: `${path}[${at}]`, found: one, allowed })
      return value as T
    },
  }
}

/** The same of strings. */
export function each<T extends readonly string[] | undefined>(
  fallback: T,
  allowed: string,
  test: (one: string, at: number, all: readonly unknown[]) => boolean,
  least = 0,
): Rule<T> {
  const items = { type: 'string', description: allowed }
  return {
    ...listOf(fallback, allowed, (one, at, all) => typeof one === 'string' && test(one, at, all), least),
    schema: { type: 'array', ...(least > 0 && { minItems: least }), items },
  }
}

/** An object with options of its own; absent unless given. */
export function group<R extends Rules>(rules: R): Rule<Checked<R> | undefined> {
  return {
    allowed: 'an object',
    fallback: undefined,
    schema: schemaOf(rules),
    check: (value, path, problems) => walk(rules, value, `${path}.`, path, problems),
  }
}

/** An object with options of its own; what is absent has its default, also where all of it is. */
export function settings<R extends Rules>(rules: R): Rule<Checked<R>> {
  const fallback = walk(rules, {}, '', '', [])
  return { ...group(rules), fallback } as Rule<Checked<R>>
}

/** A list of objects with options of their own; absent unless given. */
export function list<R extends Rules>(rules: R): Rule<Checked<R>[] | undefined> {
  const allowed = 'a list of objects'
  return {
    allowed,
    fallback: undefined,
    schema: { type: 'array', items: schemaOf(rules) },
    check(value, path, problems) {
      if (Array.isArray(value))
        return value.map((one, at) => walk(rules, one, `${path}[${at}].`, `${path}[${at}]`, problems))
      problems.push({ path, found: value, allowed })
      return undefined
    },
  }
}

/** The same, for an option that has to be there. */
export function required<T>(rule: Rule<T>): Rule<Exclude<T, undefined>> {
  return { ...rule, isRequired: true } as Rule<Exclude<T, undefined>>
}

/** Rules by the names of their options. */
export type Rules = Record<string, Rule<unknown>>

/** The schema of an object with these options, as far as a file can have them. */
export function schemaOf(rules: Rules): Schema {
  const properties: Record<string, Schema> = {}
  for (const [name, { schema, fallback }] of Object.entries(rules))
    if (schema !== undefined)
      properties[name] =
        fallback === undefined || schema.properties ? schema : { ...schema, default: fallback }
  const required = Object.keys(properties).filter((name) => rules[name]!.isRequired)
  return {
    type: 'object',
    properties,
    ...(required.length > 0 && { required }),
    additionalProperties: false,
  }
}

/** Those of the rules that a file can have. */
export function writable<R extends Rules>(rules: R): Rules {
  return Object.fromEntries(Object.entries(rules).filter(([, { schema }]) => schema !== undefined))
}

function walk<R extends Rules>(
  rules: R,
  given: unknown,
  prefix: string,
  path: string,
  problems: OptionProblem[],
): Checked<R> {
  const checked: Record<string, unknown> = {}
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    problems.push({ path, found: given, allowed: 'an object' })
    return checked as Checked<R>
  }
  const options = given as Record<string, unknown>
  for (const key of Reflect.ownKeys(options)) {
    if (typeof key === 'string' && Object.hasOwn(rules, key)) continue
    const names = Object.keys(rules)
    // Nobody reads more of them.
    const near = problems.length < MOST_TOLD ? nearest(String(key), names) : undefined
    const hint = near === undefined ? `there are: ${names.join(', ') || 'none'}` : `did you mean ${near}?`
    problems.push({
      path: prefix + String(key),
      found: options[key as string],
      allowed: `no such option; ${hint}`,
    })
  }
  for (const name of Object.keys(rules)) {
    const found = options[name]
    const { allowed, fallback, isRequired, check } = rules[name] as Rule<unknown>
    if (found === undefined && isRequired) problems.push({ path: prefix + name, found, allowed })
    checked[name] = found === undefined ? fallback : check(found, prefix + name, problems)
  }
  return checked as Checked<R>
}

/**
 * Checks the options of `what` against `rules` and fills in the defaults. `undefined` counts as
 * absent. `more` are problems found elsewhere, so that one error lists them all.
 *
 * @throws UsageError INVALID_OPTIONS, which lists every wrong option
 */
export function checkOptions<R extends Rules>(
  what: string,
  rules: R,
  options: unknown,
  more: OptionProblem[] = [],
): Checked<R> {
  const problems = [...more]
  const checked = checkInto(rules, options, problems)
  if (problems.length > 0) throw invalidOptions(what, problems)
  return checked
}

/** The same, for one who throws the problems later: adds them to `problems`. */
export function checkInto<R extends Rules>(
  rules: R,
  options: unknown,
  problems: OptionProblem[],
  path = '',
): Checked<R> {
  const prefix = path === '' ? '' : `${path}.`
  return walk(rules, options === undefined ? {} : options, prefix, path || 'options', problems)
}
