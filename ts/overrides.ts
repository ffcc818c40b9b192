import { invalidOptions, type OptionProblem, show, UsageError } from './errors.js'

/** Options that a configuration says, and how to tell who says them. */
export interface Said {
  readonly options: object
  /** What is wrong with one of them, with its place: a file, a variable or a flag. */
  tell(problem: OptionProblem): string
  /** The place of one of them, and its name. */
  place(path: string): string
}

/**
 * What a configuration says of options, over what the program says: for `millrace run`, which loads the program. Of
 * several, later ones go before earlier ones.
 */
export interface Overrides {
  /** Whether nothing may start. */
  readonly isCheck: boolean
  /** Of every `Server`. */
  readonly server: readonly Said[]
  /** Of every `HttpProxy`. */
  readonly proxy: readonly Said[]
  /** Of each service, by its name; for an `HttpProxy` over those of every one. */
  readonly services: Readonly<Record<string, Said>>
  /** Of every `HttpProxy`, over all others. */
  readonly last: readonly Said[]
}

/** What is told of wrong options that a configuration has said; and the error of those that it has not. */
export interface Refusal {
  /** `module` says where in the program the options are that it is about. */
  told(module: string): readonly string[]
  readonly rest: UsageError | undefined
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
  /** What was thrown where the module has told a server to start or to run. */
  refused: (): UsageError | undefined => refused,
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
  server: <T extends object>(given: T): T => over(given, current?.server ?? []),
  proxy<T extends { name?: string }>(given: T): T {
    if (current === undefined || !isPlain(given)) return given
    const { proxy, last } = current
    return over(given, [...proxy, ...ofService(current, given, 'proxy'), ...last])
  },
  /** Those of another service, which is named so if it has not said otherwise. */
  service<T extends object>(given: T, name: string): T {
    if (current === undefined || !isPlain(given)) return given
    return over(given, ofService(current, given, name))
  },
  /** The error of options that are wrong, some of which a configuration may have said. */
  refusal(what: string, problems: readonly OptionProblem[], options: object): UsageError {
    const error = invalidOptions(what, problems)
    const ofModule = (problem: OptionProblem) =>
      saying(options, problem.path) === undefined && saying(options, problem.other) === undefined
    const [rest, said] = [problems.filter(ofModule), problems.filter((problem) => !ofModule(problem))]
    if (said.length > 0)
      refusals.set(error, {
        told: (module) => said.map((problem) => telling(problem, options, module)),
        rest: rest.length === 0 ? undefined : invalidOptions(what, rest),
      })
    return error
  },
}

/** What a configuration has to do with an error. */
export const refusalOf = (error: unknown): Refusal | undefined => refusals.get(error as object)

/** What options have been made of, where a configuration has said some of them. */
const sayings = new WeakMap<object, readonly Said[]>()
const refusals = new WeakMap<object, Refusal>()

function over<T extends object>(given: T, said: readonly Said[]): T {
  if (said.length === 0 || !isPlain(given)) return given
  const made = said.reduce<T>((all, { options }) => merged(all, options), given)
  sayings.set(made, said)
  return made
}

/** Who in a configuration says an option. */
function saying(options: object, path: string | undefined): Said | undefined {
  return path === undefined ? undefined : sayings.get(options)?.findLast((said) => says(said.options, path))
}

/** What is wrong with an option that a configuration says, or that is wrong beside one: with both places. */
function telling(problem: OptionProblem, options: object, module: string): string {
  const { path, found, allowed, other } = problem
  const [own, by] = [saying(options, path), saying(options, other)]
  const value = other === undefined ? undefined : valueAt(options, other)
  if (own === undefined)
    return by!.tell({
      path: other!,
      found: value,
      allowed: `what goes with ${path}, which is ${show(found)} in ${module}; that may be ${allowed}`,
    })
  // What is a default nobody says, and what the same one says stands in the same place.
  if (value === undefined || own === by) return own.tell(problem)
  const place = by === undefined ? `${other} in ${module}` : by.place(other!)
  return own.tell({ ...problem, allowed: `${allowed}; ${place} is ${show(value)}` })
}

function valueAt(options: object, path: string): unknown {
  return path.split('.').reduce<unknown>((all, name) => (isPlain(all) ? all[name] : undefined), options)
}

/** Whether an option, or the whole of a list or a value that it is in, is one of these. */
function says(options: object, path: string): boolean {
  let value: unknown = options
  for (const name of path.split('[', 1)[0]!.split('.')) {
    if (!isPlain(value)) return true
    if (!Object.hasOwn(value, name)) return false
    value = value[name]
  }
  return true
}

/** The first one is kept: a promise that nobody looks at tells nobody. */
function refuse(message: string): UsageError {
  const error = new UsageError('START_FAILED', message)
  refused ??= error
  return error
}

function ofService({ services }: Overrides, given: { name?: unknown }, fallback: string): readonly Said[] {
  const name = given.name === undefined ? fallback : given.name
  return typeof name === 'string' && Object.hasOwn(services, name) ? [services[name]!] : []
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
