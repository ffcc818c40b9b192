import type { OptionProblem } from '../../ts/index.js'
import { UsageError } from '../../ts/index.js'

/** The error of what is refused. */
export function failure(run: () => unknown): UsageError {
  try {
    run()
  } catch (error) {
    if (error instanceof UsageError) return error
    throw error
  }
  throw new Error('it was accepted')
}

/** What is wrong with options; nothing where they are accepted. */
export function problems(make: () => unknown): readonly OptionProblem[] {
  try {
    make()
  } catch (error) {
    if (error instanceof UsageError) return error.problems
    throw error
  }
  return []
}

/** The same by the names of the options. */
export function wrongPaths(make: () => unknown): string[] {
  return problems(make).map(({ path }) => path)
}
