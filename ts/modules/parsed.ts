import { execFile } from 'node:child_process'
import { placeAbove } from './place.js'
import type { Place } from './reason.js'

/** How long it may take to find the place. */
const LIMIT_MS = 10_000

/**
 * Where a module, or what it imports, is what no engine parses: found by another process, as the error of a module
 * does not say it; what a process prints at its end does.
 *
 * @param execArgv the options of Node.js that it is loaded with
 */
export function placeByParsing(module: string, execArgv: readonly string[]): Promise<Place | undefined> {
  // All is parsed before anything runs, and what would run first ends it.
  const source = `import 'data:text/javascript,process.exit(0)'\nimport ${JSON.stringify(module)}`
  const args = [...execArgv, '--input-type=module', '--eval', source]
  return new Promise((resolve) => {
    const limits = { timeout: LIMIT_MS, killSignal: 'SIGKILL' as const, maxBuffer: 1 << 20 }
    execFile(process.execPath, args, limits, (_error, _stdout, stderr) => resolve(placeAbove(stderr)))
  })
}
