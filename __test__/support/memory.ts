import { readdirSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
/** Collects the garbage at once. */
export const gc = runInNewContext('gc') as () => void

/**
 * Memory in MiB, after the garbage is gone: what is reachable in JavaScript, the process's whole, and
 * what of that is not V8's heap. V8 keeps tens of MiB of its heap for later, whoever filled it.
 */
export async function memory(): Promise<{ heap: number; rss: number; native: number }> {
  for (let round = 0; round < 3; round++) {
    gc()
    await new Promise((resolve) => setImmediate(resolve))
  }
  const { heapUsed, heapTotal, external, rss } = process.memoryUsage()
  const mib = (bytes: number) => bytes / 2 ** 20
  return { heap: mib(heapUsed + external), rss: mib(rss), native: mib(rss - heapTotal) }
}

/** Open descriptors of this process, where the system tells. */
export function descriptors(): number {
  return process.platform === 'linux' ? readdirSync('/proc/self/fd').length : 0
}
