import type { OptionProblem } from './errors.js'
import { nearest } from './nearest.js'

/** What an object may have, and how what it has besides is taken. */
export interface Members {
  readonly names: readonly string[]
  /** What one of these is called. */
  readonly what: string
  /** What goes before a name in a path. */
  readonly prefix: string
  /** Whether it may have others of its own. */
  readonly isOpen: boolean
  /** Whether a value could be one of them: what has nearly its name was meant to be one then. */
  couldBe(value: unknown): boolean
}

/** Adds what is nearly named as one of these, also where it is inherited; of what may have no others, those too. */
export function misspelt(given: object, members: Members, problems: OptionProblem[]): void {
  const { names, what, prefix, isOpen } = members
  const seen = new Set(names)
  for (let at = given; at !== null && at !== Object.prototype; at = Object.getPrototypeOf(at))
    for (const key of Reflect.ownKeys(at)) {
      const name = String(key)
      if (seen.has(name)) continue
      seen.add(name)
      const found: unknown = Object.getOwnPropertyDescriptor(at, key)?.value
      if (isOpen && !members.couldBe(found)) continue
      const near = nearest(name, names)
      if (isOpen && near === undefined) continue
      const hint = near === undefined ? `there are: ${names.join(', ')}` : `did you mean ${near}?`
      problems.push({ path: prefix + name, found, allowed: `no such ${what}; ${hint}` })
    }
}
