import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** What the loader looks at of a package.json. */
export type Manifest = { name?: unknown; version?: unknown } & Partial<Record<string, { millrace?: unknown }>>

/** The text of a file; undefined where it cannot be read. */
export function read(file: string, encoding: 'utf8' | 'latin1' = 'utf8'): string | undefined {
  try {
    return readFileSync(file, encoding)
  } catch {
    return undefined
  }
}

/** The package.json of a folder; undefined where there is none that can be read. */
export function manifest(folder: string): Manifest | undefined {
  try {
    return JSON.parse(read(join(folder, 'package.json')) ?? '') ?? undefined
  } catch {
    return undefined
  }
}
