import { realpathSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** Where something is, as far as it is known. */
export interface Place {
  readonly file: string
  readonly line?: number
  readonly column?: number
}

/** As editors and terminals know it: `file:line:column`. */
export function shown({ file, line, column }: Place): string {
  return [file, line, column].filter((part) => part !== undefined).join(':')
}

/** Why a module cannot be loaded, for people; and where, as far as it is known. */
export interface Reason {
  readonly place: Place | undefined
  readonly message: string
}

const known = new WeakMap<object, Reason>()

/** What is known of an error. */
export const reasonOf = (error: object): Reason | undefined => known.get(error)

/** An error whose reason is known. */
export function withReason<E extends Error>(error: E, reason: Reason): E {
  known.set(error, reason)
  return error
}

/** A reason in a line. */
export function lineOf({ place, message }: Reason): string {
  return place === undefined ? message : `${shown(place)}: ${message}`
}

/** The file of a module; undefined where it is none. */
export function moduleFile(module: URL): string | undefined {
  try {
    return realOf(fileURLToPath(module))
  } catch {
    return undefined
  }
}

/** The file itself, not a link to it: as Node.js names it. */
export function realOf(file: string): string {
  try {
    return realpathSync(file)
  } catch {
    return file
  }
}

/** How a module is called where there is little room. */
export function nameOf(module: URL): string {
  return module.pathname.split('/').pop()?.slice(0, 64) || 'module'
}
