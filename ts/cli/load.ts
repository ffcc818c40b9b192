import { statSync } from 'node:fs'
import Module from 'node:module'
import { relative, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { inDist } from '../addon/dist.js'
import { packageOf } from '../modules/common.js'
import { explain } from '../modules/explain.js'
import { nearBy } from '../modules/missing.js'
import { lineOf, moduleFile, type Place, type Reason, realOf, shown } from '../modules/reason.js'
import { stripsTypes } from '../modules/typescript.js'
import { refusalOf } from '../overrides.js'
import { useWorkerOptions, workerOptions } from '../threads/options.js'
import { EXPORTS } from './exported.js'
import { Failure } from './failure.js'
import { load } from './modules.js'

/** Loads a module: what its default export is. @throws Failure which names the place */
export async function loadModule(given: string): Promise<unknown> {
  const file = resolve(given)
  const found = statSync(file, { throwIfNoEntry: false })
  if (found === undefined) {
    const near = nearBy(given, file)
    throw new Failure(`${given}: there is no such file${near === undefined ? '' : `; there is ${near}`}`)
  }
  if (/\.(?:json|ya?ml)$/.test(file))
    throw new Failure(`${given}: it is no module: a file of options is for --config`)
  if (found.isDirectory()) throw new Failure(`${given}: it is a directory: the module is a file`)
  if (!stripsTypes) removeTypes()
  else if (packageOf(realOf(file))?.type === 'commonjs') seeModules()
  let loaded: { default?: unknown }
  try {
    loaded = await import(pathToFileURL(realOf(file)).href)
  } catch (error) {
    throw new Failure(await told(given, error))
  }
  const { default: value } = loaded
  // What compilers make of a default export in CommonJS.
  const inner = value as { __esModule?: unknown; default?: unknown } | undefined
  const exported = inner?.__esModule === true ? inner.default : value
  if (exported !== undefined) return exported
  throw new Failure(`${given}: it has no default export, which may be ${EXPORTS}`)
}

let isHooked = false

/** From now on, types are removed from what is loaded. */
function removeTypes(): void {
  hook(
    'hooks.js',
    (href) => Module.register(href),
    (href) => `import { register } from 'node:module'; register(${href})`,
  )
}

/** From now on, TypeScript that is a module by its words is one, whatever package.json says. */
function seeModules(): void {
  const { registerHooks } = Module as { registerHooks?: (hooks: object) => void }
  hook(
    'modules.js',
    () => registerHooks?.({ load }),
    (href) =>
      `import { registerHooks } from 'node:module'; import { load } from ${href}; registerHooks({ load })`,
  )
}

/** Hooks are a module of their own. The threads of modules have hooks of theirs. */
function hook(name: string, here: (href: string) => void, inThread: (href: string) => string): void {
  const hooks = inDist('esm', 'cli', name)
  if (isHooked || hooks === undefined) return
  isHooked = true
  const { href } = pathToFileURL(hooks)
  here(href)
  const code = `data:text/javascript,${encodeURIComponent(inThread(JSON.stringify(href)))}`
  const execArgv = [...process.execArgv, '--import', code]
  useWorkerOptions(() => ({ execArgv }))
}

/** Why a module was not loaded, or failed: where, and what, in a line where that is enough. */
export async function told(given: string, error: unknown): Promise<string> {
  const refusal = refusalOf(error)
  if (refusal !== undefined) {
    const rest = refusal.rest === undefined ? [] : [await told(given, refusal.rest)]
    return [...refusal.told(shown((await reasonOf(given, error)).place)), ...rest].join('\n')
  }
  return lineOf(await reasonOf(given, error))
}

/** The same in parts. */
async function reasonOf(given: string, error: unknown): Promise<Reason & { place: Place }> {
  const module = pathToFileURL(realOf(resolve(given)))
  const reason = await explain(error, {
    module,
    execArgv: workerOptions(module).execArgv ?? process.execArgv,
  })
  const { place = { file: module.pathname }, message } = reason
  const isWhole = place.line === undefined && place.file === moduleFile(module)
  return { place: isWhole ? { file: given } : fromHere(place), message }
}

function fromHere(place: Place): Place {
  const path = relative(process.cwd(), place.file)
  return { ...place, file: path.startsWith('..') ? place.file : path }
}
