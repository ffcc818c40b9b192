import { dirname, join, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { here } from './here.js'

const base = here.find((place) => place !== undefined)!
const file = base.startsWith('file:') ? fileURLToPath(base) : base
const end = file.lastIndexOf(`${sep}dist${sep}`)

/** Where this code lies. */
export const folder = dirname(file)

/** `dist/` of the package that this code is of; undefined in a checkout, from `ts/`. */
export const dist = end === -1 ? undefined : file.slice(0, end + `${sep}dist`.length)

/** A file of `dist/`. */
export function inDist(...path: string[]): string | undefined {
  return dist === undefined ? undefined : join(dist, ...path)
}
