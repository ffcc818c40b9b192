import { closeSync, openSync, readSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { type Document, LineCounter, parseDocument } from 'yaml'
import type { OptionProblem } from '../../errors.js'
import { firstOf, shortened, show } from '../../errors.js'
import { shown } from '../../modules/reason.js'
import { Failure } from '../failure.js'
import { aliasIn, faultsIn, offsetsIn } from './document.js'
import { type Config, checkConfig, permissions } from './rules.js'

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
  const document = parsed(name, text, lines)
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset)
    return `${shown({ file: name, line, column: col })}: `
  }
  const faults = faultsIn(document)
  if (faults.length > 0) throw failure(faults, ({ offset, message }) => at(offset) + message)
  let given: unknown
  try {
    given = document.toJS() ?? {}
  } catch (error) {
    const place = aliasIn(document)
    throw new Failure((place === undefined ? `${name}: ` : at(place)) + (error as Error).message)
  }
  const offset = offsetsIn(document.contents)
  const atPath = (path: string) => at(offset(path))
  resolvePaths(given, dirname(resolve(name)))
  const problems: OptionProblem[] = []
  checkConfig(given, problems)
  const places = problems.map((problem) => ({ problem, offset: offset(problem.path) }))
  if (places.length > 0) throw failure(places, (one) => at(one.offset) + sentence(one.problem))
  readModes(given)
  return { config: given as Config, at: atPath }
}

/** JSON is YAML. */
function parsed(name: string, text: string, lineCounter: LineCounter): Document.Parsed {
  try {
    // Keys that are there twice are found elsewhere, in less time.
    return parseDocument(text, { lineCounter, prettyErrors: false, uniqueKeys: false })
  } catch (error) {
    const why = error instanceof RangeError ? 'it is nested too deeply' : (error as Error).message
    throw new Failure(`${name}: ${why}`)
  }
}

/** What is wrong, in the order of the file. */
function failure<T extends { offset: number }>(wrong: readonly T[], line: (one: T) => string): Failure {
  const inOrder = wrong.toSorted((one, other) => one.offset - other.offset)
  return new Failure(firstOf(inOrder, line).join('\n'))
}

/** What is wrong with an option. */
export function sentence({ path, found, allowed }: OptionProblem): string {
  return `${shortened(path)}: found ${show(found)}, allowed: ${allowed}`
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

/** All that is said of endpoints, right or wrong. */
function endpointsIn(given: unknown): ({ mode?: unknown; tls?: Record<string, unknown> } | undefined)[] {
  const { listen, services } = (given ?? {}) as Config
  const lists: unknown[] = [listen, ...Object.values(services ?? {}).map((one) => one?.listen)]
  return lists.flat() as ReturnType<typeof endpointsIn>
}

/** Permissions that are texts become the numbers that they are. */
function readModes(given: unknown): void {
  for (const endpoint of endpointsIn(given))
    if (typeof endpoint?.mode === 'string') endpoint.mode = permissions(endpoint.mode)
}

/** Paths of files are those seen from the configuration. */
function resolvePaths(given: unknown, folder: string): void {
  for (const endpoint of endpointsIn(given)) {
    const tls = endpoint?.tls
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
