import { existsSync } from 'node:fs'
// The whole of it: webpack takes an imported `createRequire` for its own.
import Module from 'node:module'
import { dirname, isAbsolute, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { WorkerOptions } from 'node:worker_threads'
import { here } from '../addon/here.js'
import { UsageError } from '../errors.js'

/** What is asked of Node.js for the thread of a module beside what millrace needs. */
export type MakeWorkerOptions = (module: URL) => Pick<WorkerOptions, 'execArgv' | 'env' | 'argv'>

let make: MakeWorkerOptions = () => ({})

/** Every thread that begins from now on gets these options: for what a module needs to be loaded. */
export function useWorkerOptions(options: MakeWorkerOptions): void {
  make = options
}

/** The options of the thread of a module. */
export function workerOptions(module: URL): ReturnType<MakeWorkerOptions> {
  return { execArgv: ownExecArgv(), argv: process.argv.slice(2), ...make(module) }
}

/** Those of this process, but for what names its program, which is not a thread's. */
function ownExecArgv(): string[] {
  const kept: string[] = []
  const given = process.execArgv
  for (let at = 0; at < given.length; at++) {
    const one = given[at]!
    if (/^(?:--input-type=|--eval=|--print=|--check$|--test|--watch)/.test(one)) continue
    if (/^(?:-e|-p|-pe|--eval|--print|--input-type)$/.test(one)) at++
    else kept.push(one)
  }
  return kept
}

/** The file that threads run. @throws UsageError START_FAILED, where it is not there */
export function workerFile(): string {
  const files = here.map((place) => (place?.startsWith('file:') ? fileURLToPath(place) : place))
  const folders = files.filter((file) => file !== undefined && isAbsolute(file)).map((file) => dirname(file!))
  const candidates = folders.flatMap((folder) => [
    join(folder, 'threads', 'worker.js'),
    join(folder, '..', '..', 'dist', 'cjs', 'threads', 'worker.js'),
  ])
  for (const folder of folders) {
    try {
      const manifest = Module.createRequire(join(folder, '_.js')).resolve('millrace/package.json')
      candidates.push(join(dirname(manifest), 'dist', 'cjs', 'threads', 'worker.js'))
    } catch {} // not installed there
  }
  const found = candidates.find((file) => existsSync(file))
  if (found !== undefined) return found
  const message =
    'threads for phases need the package millrace as it is installed: a bundle has to leave it out (external)'
  throw new UsageError('START_FAILED', message)
}
