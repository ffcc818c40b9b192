import { closeSync, openSync, readSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { type Document, isMap, isPair, LineCounter, type Node, parseDocument, visit } from 'yaml'
import type { OptionProblem } from '../../errors.js'
import { show } from '../../errors.js'
import { shown } from '../../modules/reason.js'
import { Failure } from '../failure.js'
import { type Config, checkConfig } from './rules.js'

/** More than any configuration needs. */
const MOST_BYTES = 1024 * 1024

/** A configuration file, and where in it what is. */
export interface ConfigFile {
  readonly config: Config
  /** `conf.yaml:3:5: ` for an option of it. */
  at(path: string): string
}

/** Reads a file of YAML or JSON, and checks it. @throws Failure which names each place */
export function readConfig(name: string): ConfigFile {
  const text = read(name)
  const lines = new LineCounter()
  // JSON is YAML; a key that is there twice is an error in both.
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset)
    return `${shown({ file: name, line, column: col })}: `
  }
  const wrong = [...document.errors, ...document.warnings]
  if (wrong.length > 0) throw new Failure(wrong.map(({ pos, message }) => at(pos[0]) + message).join('\n'))
  let given: unknown
  try {
    given = document.toJS() ?? {}
  } catch (error) {
    const place = aliasIn(document)
    throw new Failure((place === undefined ? `${name}: ` : at(place)) + (error as Error).message)
  }
  const offset = (path: string) => offsetOf(document.contents, partsOf(path))
  const atPath = (path: string) => at(offset(path))
  resolvePaths(given, dirname(resolve(name)))
  const problems: OptionProblem[] = []
  checkConfig(given, problems)
  if (problems.length > 0)
    throw new Failure(
      problems
        .toSorted((one, other) => offset(one.path) - offset(other.path))
        .map((one) => atPath(one.path) + sentence(one))
        .join('\n'),
    )
  return { config: given as Config, at: atPath }
}

/** Where an alias is that stands for nothing. */
function aliasIn(document: Document): number | undefined {
  let found: number | undefined
  visit(document, {
    Alias(_, node) {
      if (node.resolve(document) !== undefined) return undefined
      found = node.range?.[0]
      return visit.BREAK
    },
  })
  return found
}

/** What is wrong with an option. */
export function sentence({ path, found, allowed }: OptionProblem): string {
  return `${path}: found ${show(found)}, allowed: ${allowed}`
}

function read(name: string): string {
  try {
    const file = openSync(name, 'r')
    try {
      return readAll(name, file)
    } finally {
      closeSync(file)
    }
  } catch (error) {
    if (error instanceof Failure) throw error
    throw new Failure(`${name}: the configuration cannot be read: ${(error as Error).message}`)
  }
}

/** No more is read than may be there: a pipe has no size. */
function readAll(name: string, file: number): string {
  const bytes = Buffer.alloc(MOST_BYTES + 1)
  for (let at = 0; at < bytes.length; ) {
    const read = readSync(file, bytes, at, bytes.length - at, null)
    if (read === 0) return bytes.toString('utf8', 0, at)
    at += read
  }
  throw new Failure(`${name}: a configuration has at most ${MOST_BYTES} bytes`)
}

/** `a.b[1].c` in parts. A name may have a dot in it: so the longest that is there counts, when it is looked up. */
function partsOf(path: string): string[] {
  return path.split(/\.|\[(\d+)\]/).filter((part) => part !== undefined && part !== '')
}

/** Where an option is; of one that is missing, where it would belong. */
function offsetOf(root: unknown, path: readonly string[]): number {
  let [node, offset] = [root, 0]
  for (let at = 0; at < path.length; at++) {
    let next: unknown
    if (isMap(node)) {
      for (let end = at + 1; end <= path.length && next === undefined; end++) {
        const name = path.slice(at, end).join('.')
        next = node.items.find((pair) => isPair(pair) && String(pair.key) === name)
        if (next !== undefined) at = end - 1
      }
    } else next = (node as { items?: unknown[] } | null)?.items?.[Number(path[at])]
    if (next === undefined) break
    const pair = isPair(next) ? next : undefined
    offset = startOf(pair?.key ?? next) ?? offset
    node = pair === undefined ? next : pair.value
    // What is wrong with a value is shown there.
    if (at === path.length - 1) offset = startOf(node) ?? offset
  }
  return offset
}

function startOf(node: unknown): number | undefined {
  return (node as Node | null)?.range?.[0]
}

/** Paths of files are those seen from the configuration. */
function resolvePaths(given: unknown, folder: string): void {
  const { listen, services } = (given ?? {}) as Config
  const lists = [listen, ...Object.values(services ?? {}).map((one) => one?.listen)]
  for (const endpoint of lists.flat()) {
    const tls = (endpoint as { tls?: Record<string, unknown> } | undefined)?.tls
    if (typeof tls !== 'object' || tls === null) continue
    const { certificates, clientAuth } = tls
    const holders = [tls, clientAuth, ...(Array.isArray(certificates) ? certificates : [])]
    for (const holder of holders)
      for (const name of ['cert', 'key', 'ca']) {
        const value = (holder as Record<string, unknown> | undefined)?.[name]
        if (typeof value === 'string' && value !== '' && !value.includes('\n'))
          (holder as Record<string, unknown>)[name] = resolve(folder, value)
      }
  }
}
