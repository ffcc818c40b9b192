import { execFile } from 'node:child_process'
import type { Failure } from './messages.js'
import { workerOptions } from './options.js'

/** How long it may take to find the place. */
const LIMIT_MS = 10_000

/**
 * Where a module that cannot be parsed is wrong: `file:line`, or undefined. The error that a thread gets does
 * not say it; what a process prints at its end does.
 */
export function placeOf(module: URL, { name, stack }: Failure): Promise<string | undefined> {
  if (name !== 'SyntaxError') return Promise.resolve(undefined)
  const told = placeIn(stack ?? '')
  if (told !== undefined) return Promise.resolve(told)
  // All is parsed before anything runs, and what would run first ends it.
  const source = `import 'data:text/javascript,process.exit(0)'\nimport ${JSON.stringify(module.href)}`
  const { execArgv = [] } = workerOptions(module)
  const args = [...execArgv, '--input-type=module', '--eval', source]
  return new Promise((resolve) => {
    const limits = { timeout: LIMIT_MS, killSignal: 'SIGKILL' as const, maxBuffer: 1 << 20 }
    execFile(process.execPath, args, limits, (_error, _stdout, stderr) => resolve(placeIn(stderr)))
  })
}

/** The line that Node.js writes above the code. */
function placeIn(text: string): string | undefined {
  return /^((?:file:\/\/\/|\/|[A-Za-z]:\\).+:\d+)$/m.exec(text)?.[1]
}
