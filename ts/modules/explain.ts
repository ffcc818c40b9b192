import { existsSync, readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { types } from 'node:util'
import { outsideOfModule, saysItIsAModule } from './common.js'
import { filesFrom } from './imports.js'
import { findImport, nearBy, wrongImport } from './missing.js'
import { placeByParsing } from './parsed.js'
import { isOfNode, placeAbove, placeInStack } from './place.js'
import { moduleFile, type Reason, reasonOf } from './reason.js'
import { decoratorAt, findSyntaxError } from './syntax.js'
import { isTypeScript } from './typescript.js'

/** A module that was loaded, and with which options of Node.js. */
export interface Loading {
  readonly module: URL
  readonly execArgv: readonly string[]
}

/** Why a module, or what it imports, was not loaded, or failed as it ran. Never rejects. */
export async function explain(thrown: unknown, loading: Loading): Promise<Reason> {
  const file = moduleFile(loading.module)
  const place = file === undefined ? undefined : { file }
  if (!isError(thrown)) return { place, message: `it threw ${textOf(thrown)}` }
  const told = reasonOf(thrown)
  if (told !== undefined) return told
  const stack = String(thrown.stack ?? '')
  const message = String(thrown.message)
  const { code } = thrown as { code?: unknown }
  if (code === 'ERR_MODULE_NOT_FOUND' && file !== undefined && !existsSync(file)) {
    const near = nearBy(basename(file), file)
    const there = near === undefined ? '' : `; there is ${near}`
    return { place, message: `Cannot find module: there is no such file${there}` }
  }
  if (nameOf(thrown) === 'SyntaxError' && isOfNode(stack)) return syntax(message, stack, code, loading)
  const isImport = typeof code === 'string' && code.startsWith('ERR_') && file !== undefined
  const wrong = isImport ? wrongImport(file, message) : undefined
  if (wrong !== undefined) return wrong
  const where = placeAbove(stack.slice(0, stack.indexOf('\n    at '))) ?? placeInStack(stack) ?? place
  if (code === 'MODULE_NOT_FOUND') return { place: where, message: message.split('\n')[0]! }
  const name = nameOf(thrown)
  return { place: where, message: (name === 'Error' || name === 'UsageError' ? '' : `${name}: `) + message }
}

async function syntax(message: string, stack: string, code: unknown, loading: Loading): Promise<Reason> {
  const { module, execArgv } = loading
  const file = moduleFile(module)
  const place = file === undefined ? undefined : { file }
  const isTypes = typeof code === 'string' && code.includes('TYPESCRIPT')
  const json = jsonError(message)
  if (json !== undefined) return json
  const above = isTypes ? undefined : placeAbove(stack)
  const name = unexported(message)
  if (name !== undefined) {
    const of = (one: { specifier: string }) => one.specifier === name.specifier
    const where = above ?? (file === undefined ? undefined : findImport(filesFrom(file), of)?.place)
    return { place: where ?? place, message: name.says(where?.file ?? '') }
  }
  if (saysItIsAModule(message)) {
    const where = above ?? place
    const advice = where && outsideOfModule(where.file)
    if (advice !== undefined) return { place: where, message: advice }
  }
  if (above !== undefined) return decoratorAt(above) ?? { place: above, message }
  const searched = file === undefined ? undefined : findSyntaxError(file)
  if (searched !== undefined) return searched
  const parsed = await placeByParsing(module.href, execArgv)
  const decorator = parsed && decoratorAt(parsed)
  return decorator ?? { place: parsed ?? place, message: message.trim().split('\n')[0]! }
}

/** A name that a module does not export. */
function unexported(message: string): { specifier: string; says(from: string): string } | undefined {
  const ofCommon = (specifier: string, name: string) =>
    `'${specifier}' is CommonJS, and what it exports as '${name}' is not seen before it runs: import it whole, import all from '${specifier}'`
  const [, common, from] =
    /^Named export '(.+?)' not found\. The requested module '(.+?)' is a CommonJS/.exec(message) ?? []
  if (common !== undefined) return { specifier: from!, says: () => ofCommon(from!, common) }
  const [all, specifier, name] =
    /^The requested module '(.+?)' (?:does not provide an export named|contains conflicting star exports for name) '(.+?)'/.exec(
      message,
    ) ?? []
  if (all === undefined) return undefined
  // Where there are hooks, Node.js does not say so.
  if (/\.c[jt]s$/.test(specifier!)) return { specifier: specifier!, says: () => ofCommon(specifier!, name!) }
  const says = (from: string) =>
    isTypeScript(from) ? `${all}; a type is imported by 'import type', or as 'type ${name}'` : all
  return { specifier: specifier!, says }
}

/** Where a file of JSON is wrong: by its position, which older versions of Node.js give alone. */
function jsonError(message: string): Reason | undefined {
  const [, file, text, position] = /^(\S.*\.json): (.*?)(?: at position (\d+).*)?$/.exec(message) ?? []
  if (file === undefined) return undefined
  const before = position === undefined ? undefined : textBefore(file, Number(position))
  if (before === undefined) return { place: { file }, message: text! }
  const lines = before.split('\n')
  return { place: { file, line: lines.length, column: lines.at(-1)!.length + 1 }, message: text! }
}

function textBefore(file: string, position: number): string | undefined {
  try {
    return readFileSync(file, 'utf8').slice(0, position)
  } catch {
    return undefined
  }
}

/** Those that hooks throw come from another thread, and have lost what makes them errors of this one. */
function isError(thrown: unknown): thrown is Error {
  return types.isNativeError(thrown) || thrown instanceof Error
}

function nameOf(error: Error): string {
  return error instanceof SyntaxError ? 'SyntaxError' : String(error.name)
}

function textOf(thrown: unknown): string {
  try {
    return String(thrown)
  } catch {
    return `a value of type ${typeof thrown}`
  }
}
