import { realpathSync, writeSync } from 'node:fs'
import { resolve } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { UsageError } from '../errors.js'
import { loading, setOverrides } from '../overrides.js'
import type { Service } from '../service.js'
import { onSignals } from '../signals.js'
import { written } from '../stderr.js'
import type { RunArgs } from './args.js'
import { check, uncaughtToo } from './check.js'
import { type Runnable, runnable } from './exported.js'
import { Failure } from './failure.js'
import { listen } from './listen.js'
import { loadModule, told } from './load.js'
import { settingsOf } from './settings.js'
import { type Watching, watchable } from './watch.js'

/** Runs a module until it is told to stop; with `--test` only checks it. @throws Failure */
export async function run(args: RunArgs, say: (line: string) => void): Promise<void> {
  const { module, test, watch } = args
  const settings = settingsOf(args, process.env)
  setOverrides(settings.overrides)
  // The first process of a container has to listen, or a signal is nothing to it.
  const stop = () => {
    hasLoaded()
    process.exit(test ? 1 : 0)
  }
  const early = onSignals({ graceful: stop, fast: stop })
  const hasLoaded = whileLoading(module)
  const load = async () => {
    loading.begin()
    try {
      const exported = await loadModule(module)
      const url = pathToFileURL(realpathSync(resolve(module)))
      const made = await runnable(exported, module, url, watch)
      const refused = loading.end()
      if (refused !== undefined) throw refused
      listen(made.services, settings, module)
      const watching = watch ? watchable(made.services, module) : undefined
      if (test) await check(made)
      return { made, watching }
    } catch (error) {
      throw error instanceof Failure ? error : new Failure(await told(module, error))
    } finally {
      hasLoaded()
    }
  }
  const { made, watching } = await (test ? uncaughtToo(load, module) : load())
  if (test) say(`${module}: ok: ${summary(made.services)}`)
  else await serve(made, module, say, early, watching)
}

/** A module that ends the process, or leaves it nothing to wait for, is not taken for one that is well. */
function whileLoading(module: string): () => void {
  const ended = (code: number) => {
    // With 1 it ends also where it, or Node.js, has said why.
    if (code === 1) return
    const how =
      code === 0 || code === UNSETTLED
        ? 'it ended the process, or what it awaits never settles'
        : `it ended the process with ${code}`
    writeSync(2, `millrace: ${module}: it did not load: ${how}\n`)
    process.exitCode = 1
    // At once, or Node.js says of what does not settle that it is in the file of the command.
    if (code === UNSETTLED) process.exit(1)
  }
  process.on('exit', ended)
  return () => process.off('exit', ended)
}

/** How Node.js ends where an `await` of a module has nothing to wait for. */
const UNSETTLED = 13

async function serve(
  { server, services }: Runnable,
  module: string,
  say: (line: string) => void,
  early: () => void,
  watching: Watching | undefined,
): Promise<void> {
  // From now on it listens to signals.
  const ended = server.run()
  early()
  ended.catch(() => undefined)
  try {
    await server.start()
    // Who reads where it listens may change the module from then on.
    watching?.begin(say)
    for (const { name, endpoints } of services)
      for (const { url } of endpoints) say(`${name}: listening on ${url}`)
    await ended
  } catch (error) {
    // One that was told to stop before it had started has not failed.
    if (!(error instanceof UsageError && error.code === 'SERVER_CLOSED'))
      throw new Failure(await told(module, error))
  }
  watching?.end()
  // What was logged last goes out first.
  await turn()
  await written()
}

function summary(services: readonly Service[]): string {
  return services
    .map(({ name, endpoints }) => {
      const places = endpoints.map(({ asked }) => asked).join(', ')
      return places === '' ? name : `${name} on ${places}`
    })
    .join('; ')
}
