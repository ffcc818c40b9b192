import { UsageError } from './errors.js'

/** The fields of a head. Names are case-insensitive. Iterating gives lower-case names, in order. */
export interface HeaderView extends Iterable<[string, string]> {
  /** The value, several joined with `, ` (`cookie`: `; `; `set-cookie`: only the first, as it cannot be joined). */
  get(name: string): string | undefined
  /** Every value, in order; empty if there is none. */
  getAll(name: string): string[]
  /** Whether there is such a field. */
  has(name: string): boolean
}

/** Fields that may be changed while their phase runs; edits are read back at once. */
export interface HeaderEdit extends HeaderView {
  /** Replaces all fields of this name. @throws UsageError INVALID_HEADER, PHASE_ENDED */
  set(name: string, value: string | readonly string[]): void
  /** Adds a field. @throws UsageError INVALID_HEADER, PHASE_ENDED */
  append(name: string, value: string): void
  /** Removes all fields of this name and says whether there were any. @throws UsageError PHASE_ENDED */
  delete(name: string): boolean
}

/** Fields for an answer: a value or several for each name, or pairs in order. */
export type HeaderInput = Record<string, string | readonly string[]> | Iterable<readonly [string, string]>

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
/** Horizontal tab, and all that is visible or obs-text; no space or tab at either end. */
const VALUE = /^(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?$/
/** They belong to one connection, or to how a body is delimited: millrace writes them itself. */
const OURS = new Set([
  'connection', 'content-length', 'keep-alive', 'proxy-connection', 'te', 'transfer-encoding', 'upgrade',
]) // biome-ignore format: one list

const OUR_NEEDLES = new Set([...OURS].map((name) => `\n${name}:`))

const needles = new Map<string, string>()

/** `\nname:` in lower case: what is looked for in a section. The last 1,024 names are kept. */
export function needle(name: string): string {
  return needles.get(name) ?? newNeedle(name)
}

function newNeedle(name: string): string {
  checkName(name)
  if (needles.size >= 1024) needles.clear()
  // Flattened by a search, so that it is not done again at each look-up.
  const made = `\n${name.toLowerCase()}:`
  made.indexOf('\n')
  needles.set(name, made)
  return made
}

/** @throws UsageError INVALID_HEADER unless `name` is a token */
export function checkName(name: unknown): void {
  if (typeof name === 'string' && TOKEN.test(name)) return
  throw new UsageError('INVALID_HEADER', `the header name ${JSON.stringify(String(name))} is not valid`)
}

/** @throws UsageError INVALID_HEADER unless `value` may be the value of `name` */
export function checkValue(name: string, value: unknown): void {
  if (typeof value === 'string' && VALUE.test(value)) return
  throw invalidValue(name, value)
}

/** The error of a value that a header cannot have. */
export function invalidValue(name: string, value: unknown): UsageError {
  const shown = typeof value === 'string' ? JSON.stringify(value.slice(0, 80)) : `of type ${typeof value}`
  return new UsageError('INVALID_HEADER', `the value ${shown} of header ${name} is not valid`)
}

/** The needle of a field that may be changed. @throws UsageError INVALID_HEADER if the name is not valid, or ours */
export function editable(name: string): string {
  const key = needle(name)
  if (!OUR_NEEDLES.has(key)) return key
  throw new UsageError(
    'INVALID_HEADER',
    `the header ${name} belongs to the connection and is written by millrace`,
  )
}

/** Whether a field is one that millrace writes itself. */
export function isOurs(lower: string): boolean {
  return OURS.has(lower)
}

/** The fields of an answer as they cross: `name\0value\n` each. @throws UsageError INVALID_HEADER */
export function headerFields(input: HeaderInput): string {
  let fields = ''
  const add = (name: unknown, value: unknown) => {
    editable(name as string)
    checkValue(name as string, value)
    fields += `${name}\0${value}\n`
  }
  eachField(input, add)
  return fields
}

/** Hands on each name with each of its values. What they are is not looked at. */
export function eachField(input: HeaderInput, use: (name: string, value: string) => void): void {
  if (Symbol.iterator in input) for (const [name, value] of input) use(name, value)
  else
    for (const [name, value] of Object.entries(input))
      for (const one of Array.isArray(value) ? value : [value]) use(name, one)
}

/** The first value in the section `text` from `start` on, or all joined. */
export function joinedValue(text: string, start: number, needle: string): string | undefined {
  const at = text.indexOf(needle, start)
  if (at < 0) return undefined
  let from = at + needle.length
  let end = text.indexOf('\n', from)
  let value = text.substring(from, end)
  let next = text.indexOf(needle, end)
  if (next < 0 || needle === '\nset-cookie:') return value
  const glue = needle === '\ncookie:' ? '; ' : ', '
  for (; next >= 0; next = text.indexOf(needle, end)) {
    from = next + needle.length
    end = text.indexOf('\n', from)
    value += glue + text.substring(from, end)
  }
  return value
}

/** Every value. */
export function allValues(text: string, start: number, needle: string): string[] {
  const values: string[] = []
  for (let at = text.indexOf(needle, start); at >= 0; ) {
    const from = at + needle.length
    const end = text.indexOf('\n', from)
    values.push(text.substring(from, end))
    at = text.indexOf(needle, end)
  }
  return values
}

/** They end with the client's connection, or are answered already; beside those that Connection names. */
const OF_CONNECTION = new Set([
  'connection', 'content_length', 'expect', 'keep-alive', 'proxy-connection', 'te', 'transfer-encoding',
  'transfer_encoding', 'upgrade',
]) // biome-ignore format: one list

/** Every field but those that concern the connection alone (RFC 9110 §7.6.1), in order. */
export function* endToEndFields(text: string, start: number): Generator<[string, string]> {
  const options = joinedValue(text, start, '\nconnection:')
  const named = options === undefined ? undefined : namedBy(options)
  for (const field of allFields(text, start))
    if (!OF_CONNECTION.has(field[0]) && !named?.has(field[0])) yield field
}

/** What Connection names; host and length are not its to remove. */
function namedBy(options: string): Set<string> | undefined {
  if (options === 'close' || options === 'keep-alive') return undefined
  const names = new Set(options.split(',').map((name) => name.trim().toLowerCase()))
  names.delete('host')
  names.delete('content-length')
  return names
}

/** Every field, in order. */
export function* allFields(text: string, start: number): Generator<[string, string]> {
  for (let at = start + 1; at < text.length; ) {
    const colon = text.indexOf(':', at)
    const end = text.indexOf('\n', at)
    if (colon < 0 || end < 0) return
    yield [text.substring(at, colon), text.substring(colon + 1, end)]
    at = end + 1
  }
}
