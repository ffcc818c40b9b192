import { UsageError } from './errors.js'

/** What a configuration says of options, over what the program says: for `millrace run`, which loads the program. */
export interface Overrides {
  /** Whether nothing may start. */
  readonly isCheck: boolean
  /** Of every `Server`. */
  readonly server: object
  /** Of every `HttpProxy`. */
  readonly proxy: object
  /** Of each service, by its name, over those of every `HttpProxy`. */
  readonly services: Readonly<Record<string, object>>
  /** Of every `HttpProxy`, over all others; other services take those that they have. */
  readonly last: object
}

let current: Overrides | undefined
let isLoading = false
let refused: UsageError | undefined

/** While it loads a module the command runs no server yet, and nobody else may. `end` gives what was refused. */
export const loading = {
  begin() {
    isLoading = true
  },
  end(): UsageError | undefined {
    isLoading = false
    return refused
  },
}

/** They hold for what is made from now on, in this thread. They are checked already. */
export function setOverrides(overrides: Overrides | undefined): void {
  current = overrides
}

/** Options as they are with what overrides them. */
export const overridden = {
  /** Why a server may not start. */
  startRefused: (): UsageError | undefined =>
    current?.isCheck ? refuse('this is a check, in which no server starts') : undefined,
  /** Why a server may not be run. */
  runRefused: (): UsageError | undefined =>
    isLoading
      ? refuse('millrace run runs the server: export it as default, without a call of run()')
      : undefined,
  server: <T extends object>(given: T): T => (current === undefined ? given : merged(given, current.server)),
  proxy<T extends { name?: string }>(given: T): T {
    if (current === undefined || !isPlain(given)) return given
    const { proxy, last } = current
    return [proxy, ofService(current, given, 'proxy'), last].reduce<T>(merged, given)
  },
  /** Those of another service: of what is over all others it takes what it has `rules` for. */
  service<T extends { name?: string }>(given: T, name: string, rules: object): T {
    if (current === undefined || !isPlain(given)) return given
    const last = Object.entries(current.last).filter(([option]) => Object.hasOwn(rules, option))
    return [ofService(current, given, name), Object.fromEntries(last)].reduce<T>(merged, given)
  },
}

/** The first one is kept: a promise that nobody looks at tells nobody. */
function refuse(message: string): UsageError {
  const error = new UsageError('START_FAILED', message)
  refused ??= error
  return error
}

function ofService({ services }: Overrides, given: { name?: string }, fallback: string): object {
  const name = String(given.name ?? fallback)
  return Object.hasOwn(services, name) ? services[name]! : {}
}

/** Options of which some are replaced: groups in part, lists as a whole. */
export function merged<T extends object>(given: T, over: object): T {
  if (!isPlain(given)) return given
  const all: Record<string, unknown> = { ...given }
  for (const [name, value] of Object.entries(over)) {
    // To set it would be to change the object, not a field of it.
    if (name === '__proto__') continue
    const before = all[name]
    all[name] = isPlain(before) && isPlain(value) ? merged(before, value) : value
  }
  return all as T
}

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
