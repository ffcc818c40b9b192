import { setImmediate as turn } from 'node:timers/promises'
import { loading } from '../overrides.js'
import { Server } from '../server.js'
import type { Runnable } from './exported.js'
import { Failure } from './failure.js'
import { told } from './load.js'

/** Looks for what would keep a server from starting, and for one that was told to start by the module. */
export async function check({ server }: Runnable): Promise<void> {
  const isRefused = () => {
    const refused = loading.refused()
    if (refused !== undefined) throw refused
  }
  isRefused()
  await Server.check(server)
  // A promise that is rejected, and left alone, is noticed a turn later.
  await turn()
  isRefused()
}

/** The same as `work`, which fails also by what nobody catches: that ends a process which runs. @throws Failure */
export async function uncaughtToo<T>(work: () => Promise<T>, module: string): Promise<T> {
  let uncaught: (error: unknown) => void = () => {}
  const failed = new Promise<never>((_, reject) => {
    uncaught = (error) => void told(module, error).then((line) => reject(new Failure(line)))
  })
  failed.catch(() => undefined)
  process.on('uncaughtException', uncaught)
  try {
    return await Promise.race([work(), failed])
  } finally {
    process.off('uncaughtException', uncaught)
  }
}
