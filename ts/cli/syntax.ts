import { existsSync, readFileSync } from 'node:fs'
import { dirname, extname, resolve } from 'node:path'
import type { Place } from './failure.js'
import { isTypeScript, strip } from './typescript.js'

/** More files than a program of one's own has. */
const MOST_FILES = 2_000

/** What the words of the parser mean to someone who runs a program. */
const UNSUPPORTED =
  'millrace, as Node.js, removes types and translates nothing: use what is left when types are removed, or compile first'

/**
 * Looks for what is wrong with the syntax of a module and those it imports by relative paths: the errors of
 * modules do not say where. Undefined where nothing is found.
 */
export function findSyntaxError(entry: string): { place: Place; message: string } | undefined {
  const [files, decorated] = [[entry], [] as { place: Place; message: string }[]]
  for (let at = 0; at < files.length && at < MOST_FILES; at++) {
    const file = files[at]!
    const source = sourceOf(file)
    if (source === undefined) continue
    const stripped = strip(source, file)
    if (!('code' in stripped)) {
      const { message, line, column } = stripped
      const isOurs = /not supported in/.test(message)
      return { place: { file, line, column }, message: isOurs ? unsupported(message) : message }
    }
    const decorator = decoratorIn(stripped.code)
    if (decorator !== undefined)
      decorated.push({
        place: { file, ...decorator },
        message: `decorators are not supported: ${UNSUPPORTED}`,
      })
    for (const next of importsOf(stripped.code, file)) if (!files.includes(next)) files.push(next)
  }
  return decorated[0]
}

function unsupported(message: string): string {
  const what = message.replace(/ (?:is|are) not supported in .*$/, '').replace(/^TypeScript /, '')
  return `${what}: not supported. ${UNSUPPORTED[0]!.toUpperCase()}${UNSUPPORTED.slice(1)}`
}

function sourceOf(file: string): string | undefined {
  try {
    return /\.[mc]?[jt]s$/.test(file) ? readFileSync(file, 'utf8') : undefined
  } catch {
    return undefined
  }
}

/** A decorator passes the parser, and no version of Node.js. Looked for only where something did not parse. */
function decoratorIn(code: string): { line: number; column: number } | undefined {
  const lines = code.split('\n')
  const at = lines.findIndex((line) => /^\s*(?:export\s+(?:default\s+)?)?@[\w$]/.test(line))
  return at === -1 ? undefined : { line: at + 1, column: lines[at]!.indexOf('@') + 1 }
}

/** The module and what it imports by relative paths, as far as it can be read. */
export function filesOf(entry: string): string[] {
  const files = [entry]
  for (let at = 0; at < files.length && at < MOST_FILES; at++) {
    const source = sourceOf(files[at]!)
    if (source === undefined) continue
    for (const next of importsOf(source, files[at]!)) if (!files.includes(next)) files.push(next)
  }
  return files
}

function importsOf(code: string, file: string): string[] {
  const found = code.matchAll(/\b(?:from|import|import\s*\(|require\s*\()\s*(['"])(\.{1,2}\/[^'"\n]+)\1/g)
  return [...found].map(([, , path]) => resolve(dirname(file), path!))
}

/** What a path that was not found was probably meant to be, in a sentence. */
export function nearBy(missing: string): string {
  const typed = missing.replace(/\.([mc]?)js$/, '.$1ts')
  const candidates = [
    ...(typed === missing ? [] : [typed]),
    ...['.ts', '.js', '.mjs'].map((end) => missing + end),
  ]
  const there = candidates.find((one) => existsSync(one))
  if (there === undefined || (extname(missing) !== '' && isTypeScript(missing))) return ''
  return `; there is ${there}: imports name the file as it is, with its ending`
}
