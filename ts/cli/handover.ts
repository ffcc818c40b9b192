import { existsSync, realpathSync } from 'node:fs'
import Module from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { dist } from '../addon/dist.js'

/**
 * The command of the millrace that a module imports, where that is another copy than this one, as a global
 * installation is: what the module makes is of the classes of its own copy.
 */
export function otherCopy(module: string): string | undefined {
  if (dist === undefined) return undefined
  try {
    const from = realpathSync(resolve(module))
    const folder = dirname(Module.createRequire(from).resolve('millrace/package.json'))
    const command = join(folder, 'dist', 'cjs', 'cli', 'index.js')
    if (realpathSync(folder) === realpathSync(dirname(dist)) || !existsSync(command)) return undefined
    return command
  } catch {
    return undefined
  }
}

/** Its `main`. */
export async function mainOf(command: string): Promise<(argv: readonly string[]) => Promise<number>> {
  const { default: found } = await import(pathToFileURL(command).href)
  return found.main
}
