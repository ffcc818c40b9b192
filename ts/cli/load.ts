import { existsSync, realpathSync } from 'node:fs'
import Module from 'node:module'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { useWorkerOptions } from '../threads/options.js'
import { dist, inDist } from './dist.js'
import { EXPORTS } from './exported.js'
import { Failure, type Place, shown } from './failure.js'
import { findSyntaxError, nearBy } from './syntax.js'
import { stripsTypes } from './typescript.js'

/** Loads a module: what its default export is. @throws Failure which names the place */
export async function loadModule(given: string): Promise<unknown> {
  const file = resolve(given)
  if (!existsSync(file)) throw new Failure(`${given}: there is no such file${nearBy(file)}`)
  if (!stripsTypes) removeTypes()
  let found: { default?: unknown }
  try {
    found = await import(pathToFileURL(realpathSync(file)).href)
  } catch (error) {
    throw new Failure(explained(given, realpathSync(file), error))
  }
  const { default: value } = found
  // What compilers make of a default export in CommonJS.
  const inner = value as { __esModule?: unknown; default?: unknown } | undefined
  const exported = inner?.__esModule === true ? inner.default : value
  if (exported !== undefined) return exported
  throw new Failure(`${given}: it has no default export, which may be ${EXPORTS}`)
}

let isRemoving = false

/** From now on, types are removed from what is loaded. */
function removeTypes(): void {
  if (isRemoving) return
  isRemoving = true
  // Hooks are a module of their own, in a thread of theirs.
  const hooks = inDist('esm', 'cli', 'hooks.js')
  if (hooks === undefined) return
  const { href } = pathToFileURL(hooks)
  Module.register(href)
  // The threads of modules have hooks of their own.
  const code = `import { register } from 'node:module'; register(${JSON.stringify(href)})`
  const execArgv = [...process.execArgv, '--import', `data:text/javascript,${encodeURIComponent(code)}`]
  useWorkerOptions(() => ({ execArgv }))
}

function explained(given: string, file: string, error: unknown): string {
  if (error instanceof SyntaxError) {
    const found = placeIn(error) ?? undefined
    const searched = findSyntaxError(file)
    if (searched !== undefined) return `${shown(fromHere(searched.place))}: ${searched.message}`
    return `${found === undefined ? given : shown(fromHere(found))}: ${error.message}`
  }
  const { code, message, url } = (error ?? {}) as { code?: unknown; message?: string; url?: string }
  if (code === 'ERR_MODULE_NOT_FOUND' && message !== undefined)
    return `${given}: ${message}${url?.startsWith('file:') ? nearBy(fileURLToPath(url)) : ''}`
  return told(given, error)
}

/** Why a module was not loaded anew, in a line. */
export function unloaded(file: string, error: unknown): string {
  const { message } = error as Error
  // It comes from another thread, where it has lost its place.
  const searched = /SyntaxError/.test(message) ? findSyntaxError(file) : undefined
  if (searched !== undefined) return `${shown(fromHere(searched.place))}: ${searched.message}`
  return message.replace(/\n\s*/g, ' ')
}

/** What was thrown while a module ran, or made something: where, what, and the way there. */
export function told(given: string, error: unknown): string {
  if (!(error instanceof Error)) return `${given}: it threw ${String(error)}`
  const place = placeIn(error)
  const where = place === undefined ? given : shown(fromHere(place))
  const name = error.name === 'Error' || error.name === 'UsageError' ? '' : `${error.name}: `
  return `${where}: ${name}${error.message}`
}

/** The first place of an error in a file of the program's. */
export function placeIn(error: Error): Place | undefined {
  const lines = (error.stack ?? '').split('\n')
  // As Node.js shows a place in a source: the file, the line, and carets below.
  const [, head, number] = /^(\S.*):(\d+)$/.exec(lines[0] ?? '') ?? []
  if (head !== undefined) {
    const caret = lines.find((line) => /^\s*\^+\s*$/.test(line))
    return { file: pathOf(head), line: Number(number), column: (caret?.indexOf('^') ?? 0) + 1 }
  }
  for (const line of lines) {
    const [, path, row, column] = /^\s+at (?:.*\()?(.+?):(\d+):(\d+)\)?$/.exec(line) ?? []
    if (path === undefined || path.startsWith('node:') || isOurs(pathOf(path))) continue
    return { file: pathOf(path), line: Number(row), column: Number(column) }
  }
  return undefined
}

function pathOf(given: string): string {
  const path = given.replace(/^async /, '').split('?')[0]!
  return path.startsWith('file:') ? fileURLToPath(path) : path
}

const ours = dist === undefined ? [] : [dist, join(dirname(dist), 'bin')]
const isOurs = (file: string) => ours.some((folder) => file.startsWith(folder + sep))

function fromHere(place: Place): Place {
  const path = relative(process.cwd(), place.file)
  return { ...place, file: path.startsWith('..') ? place.file : path }
}
