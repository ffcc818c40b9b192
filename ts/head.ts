import type { BodyStage } from './bodies/stage.js'
import { StreamStage, type StreamTransform } from './bodies/streamed.js'
import { codingsOf, type Transform, WholeStage } from './bodies/whole.js'
import { invalidOptions, type OptionProblem, show, UsageError } from './errors.js'
import {
  allFields,
  allValues,
  checkValue,
  editable,
  type HeaderEdit,
  type HeaderView,
  invalidValue,
  joinedValue,
  needle,
} from './headers.js'
import { checkInto, flag, integer } from './options.js'

/** The head of the request that goes upstream. Usable while its phase runs. */
export interface RequestHeader {
  /** A token; CONNECT is refused. */
  method: string
  /** The path with its query: `/a?b`, or `*`. */
  target: string
  /** The `host` field. */
  host: string
  /** Its fields, which may be changed. */
  readonly headers: HeaderEdit
}

/** The head of a response. Usable while its phase runs. */
export interface ResponseHeader {
  /** 200 to 599. */
  status: number
  /** Its fields, which may be changed. */
  readonly headers: HeaderEdit
  /** Whether the body phases run on this response's body. Default: true. */
  filterBody: boolean
  /**
   * Makes the body's stream into another, such as `(stream) => stream.pipeThrough(…)`. It stands
   * behind the body phases, and is read as fast as the client takes it. Default: none.
   */
  body: StreamTransform | undefined
  /**
   * Changes the body as a whole, behind the body phases. The head waits for it, so that its length
   * is known, and if it fails `failToProxy` can still answer.
   *
   * @throws UsageError PARTIAL_CONTENT for a 206, CANNOT_DECODE for a coding such as zstd, INVALID_OPTIONS
   */
  transformBody(options: TransformOptions, transform: Transform): void
}

/** The head of an interim response. Usable while its phase runs. */
export interface InterimResponse {
  /** 102 to 199. */
  readonly status: number
  /** Its fields, which may be changed. */
  readonly headers: HeaderEdit
}

/** How a body is given to be changed as a whole. */
export interface TransformOptions {
  /** Whether gzip, deflate and br are undone first; the body is sent without them then. Default: true. */
  decode?: boolean
  /** The largest body, decoded or not, in bytes; for a larger one the client gets a 502. Default: 1,048,576. */
  maxBytes?: number
}

const transformRules = {
  decode: flag(true),
  maxBytes: integer(1_048_576, 0, 2 ** 31 - 1),
}

const METHOD = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const TARGET = /^(?:\/[\x21\x22\x24-\x7e]*|\*)$/
const HOST = /^[0-9A-Za-z\-._~!$&'()*+,;=%[\]:]*$/

/** A head as it crossed, with the edits made so far. One for each crossing; users hold {@link EditableHead}s. */
export class Head implements HeaderView {
  /** Which phase may use it: its facade carries the same number. */
  turn = 0
  /** The edits, as they go back. */
  edits = ''
  readonly text: string
  readonly start: number
  method = ''
  target = ''
  host = ''
  status: number
  /** Names that were edited (as `\nname:`), with the values they have now. */
  changed: Map<string, string[]> | null = null
  /** What is wanted of the body, in bits: 1 = no body phases, 2 = changed by `stage`, 4 = as a whole. */
  wanted = 0
  stage: BodyStage | undefined = undefined

  constructor(text: string, start: number, status: number) {
    this.text = text
    this.start = start
    this.status = status
  }

  /** From the section of an upstream request. */
  static request(text: string): Head {
    const target = text.indexOf('\n')
    const method = text.indexOf('\n', target + 1)
    let host = text.indexOf('\n', method + 1)
    if (host < 0) host = text.length
    const head = new Head(text, host, 0)
    head.target = text.substring(0, target)
    head.method = text.substring(target + 1, method)
    head.host = text.substring(method + 1, host)
    return head
  }

  get(name: string): string | undefined {
    const key = needle(name)
    const changed = this.changed?.get(key)
    if (changed === undefined) return joinedValue(this.text, this.start, key)
    if (changed.length < 2 || key === '\nset-cookie:') return changed[0]
    return changed.join(key === '\ncookie:' ? '; ' : ', ')
  }

  getAll(name: string): string[] {
    const key = needle(name)
    return this.changed?.get(key)?.slice() ?? allValues(this.text, this.start, key)
  }

  has(name: string): boolean {
    const key = needle(name)
    const changed = this.changed?.get(key)
    return changed === undefined ? this.text.indexOf(key, this.start) >= 0 : changed.length > 0
  }

  *[Symbol.iterator](): Generator<[string, string]> {
    const { changed } = this
    if (changed === null) return yield* allFields(this.text, this.start)
    const left = new Map(changed)
    for (const field of allFields(this.text, this.start)) {
      const key = `\n${field[0]}:`
      if (!changed.has(key)) yield field
      else for (const value of left.get(key) ?? []) yield [field[0], value]
      left.delete(key)
    }
    for (const [key, values] of left) for (const value of values) yield [key.slice(1, -1), value]
  }

  /** The function given as `body`. */
  streamed: StreamTransform | undefined = undefined

  /** Deletes a field, if it is there. */
  drop(name: string): void {
    if (this.has(name)) this.change(`\n${name}:`, [], `-${name}\0\n`)
  }

  change(key: string, values: string[], edit: string): void {
    this.changed ??= new Map()
    this.changed.set(key, values)
    this.edits += edit
  }
}

/** What users hold: dead once its phase is over. */
class Turn {
  readonly #head: Head
  readonly #turn: number

  constructor(head: Head) {
    this.#head = head
    this.#turn = head.turn
  }

  /** @throws UsageError PHASE_ENDED */
  static head(of: Turn): Head {
    if (of.#head.turn === of.#turn) return of.#head
    throw new UsageError('PHASE_ENDED', 'a header object was used after its phase')
  }
}

const headOf = Turn.head

class Editor extends Turn implements HeaderEdit {
  get(name: string): string | undefined {
    return headOf(this).get(name)
  }

  getAll(name: string): string[] {
    return headOf(this).getAll(name)
  }

  has(name: string): boolean {
    return headOf(this).has(name)
  }

  [Symbol.iterator](): Iterator<[string, string]> {
    return headOf(this)[Symbol.iterator]()
  }

  set(name: string, value: string | readonly string[]): void {
    const head = headOf(this)
    const key = editable(name)
    if (typeof value === 'string') {
      checkValue(name, value)
      if (key === '\nhost:' && head.status === 0) setHost(head, value)
      else head.change(key, [value], `=${name}\0${value}\n`)
      return
    }
    if (!Array.isArray(value) || key === '\nhost:') throw invalidValue(name, value)
    let edits = value.length === 0 ? `-${name}\0\n` : ''
    for (const one of value) {
      checkValue(name, one)
      edits += `${edits === '' ? '=' : '+'}${name}\0${one}\n`
    }
    head.change(key, [...value], edits)
  }

  append(name: string, value: string): void {
    const head = headOf(this)
    const key = editable(name)
    checkValue(name, value)
    if (key === '\nhost:') throw new UsageError('INVALID_HEADER', 'there is one host header: set it')
    head.change(key, [...head.getAll(name), value], `+${name}\0${value}\n`)
  }

  delete(name: string): boolean {
    const head = headOf(this)
    const key = editable(name)
    if (key === '\nhost:') throw new UsageError('INVALID_HEADER', 'the host header cannot be deleted: set it')
    if (!head.has(name)) return false
    head.change(key, [], `-${name}\0\n`)
    return true
  }
}

function setHost(head: Head, value: string): void {
  check('host', value, HOST)
  head.host = value
  head.change('\nhost:', [value], `H\0${value}\n`)
}

function check(what: string, value: unknown, allowed: RegExp): void {
  if (typeof value === 'string' && allowed.test(value)) return
  throw new UsageError('INVALID_HEADER', `the ${what} ${JSON.stringify(String(value))} is not valid`)
}

class EditableHead extends Turn {
  #headers: Editor | undefined

  get headers(): HeaderEdit {
    const head = headOf(this)
    this.#headers ??= new Editor(head)
    return this.#headers
  }
}

/** What `upstreamRequestFilter` gets. */
export class EditableRequest extends EditableHead implements RequestHeader {
  get method(): string {
    return headOf(this).method
  }

  set method(value: string) {
    const head = headOf(this)
    check('method', value, METHOD)
    if (value === 'CONNECT') throw new UsageError('INVALID_HEADER', 'the method CONNECT is not allowed')
    checkAsterisk(head.target, value)
    head.method = value
    head.edits += `M\0${value}\n`
  }

  get target(): string {
    return headOf(this).target
  }

  set target(value: string) {
    const head = headOf(this)
    check('target', value, TARGET)
    checkAsterisk(value, head.method)
    head.target = value
    head.edits += `T\0${value}\n`
  }

  get host(): string {
    return headOf(this).host
  }

  set host(value: string) {
    setHost(headOf(this), value)
  }
}

/** What `interimResponseFilter` gets. */
export class EditableInterim extends EditableHead implements InterimResponse {
  get status(): number {
    return headOf(this).status
  }
}

/** What `upstreamResponseFilter` and `responseFilter` get. */
export class EditableResponse extends EditableHead implements ResponseHeader {
  get status(): number {
    return headOf(this).status
  }

  set status(value: number) {
    const head = headOf(this)
    if (!Number.isInteger(value) || value < 200 || value > 599)
      throw new UsageError('INVALID_HEADER', `the status ${show(value)} is not an integer from 200 to 599`)
    head.status = value
    head.edits += `S\0${value}\n`
  }

  get filterBody(): boolean {
    return (headOf(this).wanted & Wanted.noPhases) === 0
  }

  set filterBody(value: boolean) {
    const head = headOf(this)
    if (typeof value !== 'boolean')
      throw invalidOptions('response', [{ path: 'filterBody', found: value, allowed: 'true or false' }])
    if (value) head.wanted &= ~Wanted.noPhases
    else head.wanted |= Wanted.noPhases
  }

  get body(): StreamTransform | undefined {
    return headOf(this).streamed
  }

  set body(transform: StreamTransform | undefined) {
    const head = headOf(this)
    if (transform !== undefined && typeof transform !== 'function') {
      const allowed = 'a function from a ReadableStream to another, or undefined'
      throw invalidOptions('response', [{ path: 'body', found: transform, allowed }])
    }
    head.streamed = transform
    head.wanted &= ~(Wanted.change | Wanted.whole)
    if (transform === undefined) return
    head.stage = new StreamStage(transform)
    head.wanted |= Wanted.change
    contentChanges(head)
  }

  transformBody(options: TransformOptions, transform: Transform): void {
    const head = headOf(this)
    const problems: OptionProblem[] = []
    const { decode, maxBytes } = checkInto(transformRules, options, problems)
    if (typeof transform !== 'function')
      problems.push({ path: 'transform', found: transform, allowed: 'a function' })
    if (problems.length > 0) throw invalidOptions('transformBody', problems)
    if (head.status === 206) {
      const message = 'a part of a body cannot be changed as a whole: delete range in upstreamRequestFilter'
      throw new UsageError('PARTIAL_CONTENT', message)
    }
    const field = head.get('content-encoding')
    const codings = decode ? codingsOf(field) : []
    if (codings === undefined) {
      const how = 'narrow accept-encoding in upstreamRequestFilter, or say decode: false'
      throw new UsageError(
        'CANNOT_DECODE',
        `the body is coded as ${show(field)}, which cannot be undone: ${how}`,
      )
    }
    head.stage = new WholeStage(transform, codings, maxBytes)
    head.streamed = undefined
    head.wanted |= Wanted.change | Wanted.whole
    contentChanges(head)
    if (codings.length > 0) head.drop('content-encoding')
  }
}

/** What a response's head says of its body, in bits. The addon knows them too. */
export const Wanted = { noPhases: 1, change: 2, whole: 4 } as const

/** The body will be another: takes out what speaks of the old one, and weakens its tag (RFC 9110 §8.8.1). */
function contentChanges(head: Head): void {
  for (const name of ['accept-ranges', 'content-md5', 'digest', 'content-digest', 'repr-digest'])
    head.drop(name)
  const tag = head.get('etag')
  if (tag?.startsWith('"')) head.change('\netag:', [`W/${tag}`], `=etag\0W/${tag}\n`)
}

/** What the trailer phases get. */
export function trailersOf(head: Head): HeaderEdit {
  return new Editor(head)
}

/** `*` stands for the server as a whole, which only OPTIONS asks about (RFC 9112 §3.2.4). */
function checkAsterisk(target: string, method: string): void {
  if (target === '*' && method !== 'OPTIONS')
    throw new UsageError('INVALID_HEADER', `the target * is for OPTIONS only, not for ${method}`)
}
