import { readFileSync } from 'node:fs'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { type Place, realOf } from './reason.js'

/** More files than a program of one's own has. */
const MOST_FILES = 2_000

/** What a module imports by a word in quotes. */
export interface Import {
  readonly specifier: string
  /** Where it says so. */
  readonly place: Place
}

const NAMED = String.raw`(?<![\w$.])(?:from|import|import\s*\(|require\s*\()(?:\s|\/\*[^*]*\*\/)*(['"])([^'"\n]+)\1`
/** What could look like an import, and is a comment or a text: read over. */
const OTHER =
  String.raw`\/\*[\s\S]*?\*\/|\/\/[^\n]*|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|` +
  '`(?:[^`\\\\]|\\\\[\\s\\S])*`'

/** The imports of a source: found by their words, as it may be one that cannot be parsed. */
export function importsIn(code: string, file: string): Import[] {
  return find(new RegExp(`${NAMED}|${OTHER}`, 'g'), code, file)
}

/** The same with those that seem to be in comments and texts: what is none may seem one, behind a `/` of a pattern. */
export function allImportsIn(code: string, file: string): Import[] {
  return find(new RegExp(NAMED, 'g'), code, file)
}

function find(pattern: RegExp, code: string, file: string): Import[] {
  const found: Import[] = []
  for (const match of code.matchAll(pattern)) {
    const [all, , specifier] = match
    if (specifier === undefined) continue
    const before = code.slice(0, match.index + all.length - specifier.length - 2)
    const start = before.lastIndexOf('\n') + 1
    found.push({
      specifier,
      place: { file, line: before.split('\n').length, column: before.length - start + 1 },
    })
  }
  return found
}

/** The file that an import names; undefined where that is to be looked for, as a package is. */
export function fileOf(specifier: string, from: string): string | undefined {
  if (!/^(?:\.{0,2}\/|file:)/.test(specifier)) return undefined
  try {
    return fileURLToPath(new URL(specifier, pathToFileURL(from)))
  } catch {
    return undefined
  }
}

/** The text of a module in JavaScript or TypeScript. */
export function sourceOf(file: string): string | undefined {
  try {
    return /\.[mc]?[jt]s$/.test(file) ? readFileSync(file, 'utf8') : undefined
  } catch {
    return undefined
  }
}

/** A module and what it imports by its path, each once; those that cannot be read too. */
export function* filesFrom(entry: string): Generator<string> {
  const files = new Set([entry])
  for (const file of files) {
    yield file
    for (const { specifier } of importsIn(sourceOf(file) ?? '', file)) {
      const next = fileOf(specifier, file)
      if (next !== undefined && files.size < MOST_FILES) files.add(realOf(next))
    }
  }
}
