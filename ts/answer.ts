import { type BodySource, SourceStage } from './bodies/source.js'
import { show, UsageError } from './errors.js'
import { checkValue, eachField, type HeaderInput, headerFields, isOurs } from './headers.js'

/**
 * What a phase may answer with: a status alone (an empty body), a `Response`, or status, headers
 * and body. Content-Length is computed. Nothing of the body goes out for HEAD, 204, 205 and 304. A
 * body that is a string is sent as UTF-8, with `content-type: text/plain` unless there is one.
 */
export type Answer =
  | number
  | Response
  | {
      /** 200 to 599. */
      status: number
      /** Default: none. */
      headers?: HeaderInput
      /** What is made piece by piece is sent as fast as the client takes it. Default: empty. */
      body?: string | Uint8Array | BodySource
    }

/** An answer, checked, as it crosses. */
export class CheckedAnswer {
  readonly status: number
  /** `name\0value\n` for each field. */
  fields: string
  body: string | Uint8Array
  /** Where the body is still being read: settles when `body` is there. */
  reading: Promise<void> | null = null
  /** What makes the body piece by piece. */
  source: SourceStage | null = null
  /** Gives up what is still being read. */
  stop: (() => void) | null = null

  constructor(status: number, fields: string, body: string | Uint8Array) {
    this.status = status
    this.fields = fields
    this.body = body
  }

  /** What makes its body, for who reads it from now on. */
  takeSource(): SourceStage | null {
    const { source } = this
    this.source = null
    this.stop = null
    return source
  }

  /** It is not sent: nobody reads its body. */
  cancel(): void {
    this.stop?.()
    this.takeSource()?.cancel()
  }
}

/** What was given to answer with is not used: whatever makes its body hears so. Never throws. */
export function discard(given: unknown): void {
  if (typeof given !== 'object' || given === null) return
  try {
    SourceStage.discard((given as { body?: unknown }).body ?? given)
  } catch {
    // A getter of the caller's.
  }
}

/** Whether a value has the shape of an answer, right or wrong in its details. */
export function isAnswer(value: unknown): value is Answer {
  if (typeof value === 'number') return true
  return (
    typeof value === 'object' && value !== null && typeof (value as { status?: unknown }).status === 'number'
  )
}

/** @throws UsageError INVALID_ANSWER, INVALID_HEADER */
export function checkAnswer(value: Answer, method: string): CheckedAnswer {
  if (typeof value === 'number') return new CheckedAnswer(checkStatus(value), '', '')
  if (!isAnswer(value)) throw invalid(`${show(value)} is not an answer`)
  const status = checkStatus(value.status)
  if (isResponse(value)) return fromResponse(value, status, method)
  for (const key of Object.keys(value))
    if (key !== 'status' && key !== 'headers' && key !== 'body')
      throw invalid(`there is no field ${show(key)} of an answer`)
  const headers = splitLength(value.headers ?? {})
  if (headers.length !== undefined) checkLength(headers.length)
  if (isMade(value.body)) return fromSource(value.body, status, headers)
  const body = checkBody(value.body)
  const length = typeof body === 'string' ? Buffer.byteLength(body) : body.byteLength
  // An answer to HEAD may leave the body out, and still says how long it would be.
  const isLeftOut = !hasBody(status) || (method === 'HEAD' && length === 0)
  if (headers.length !== undefined && !isLeftOut && headers.length !== String(length))
    throw wrongLength(headers.length, length)
  let { fields } = headers
  // Without a body it says what there would be.
  if (headers.length !== undefined && (method === 'HEAD' || status === 304) && length === 0)
    fields += lengthField(headers.length)
  if (typeof body === 'string' && body !== '' && !headers.hasType)
    fields += 'content-type\0text/plain; charset=utf-8\n'
  return new CheckedAnswer(status, fields, hasBody(status) ? body : '')
}

function checkStatus(status: number): number {
  if (Number.isInteger(status) && status >= 200 && status <= 599) return status
  throw invalid(`the status ${show(status)} is not an integer from 200 to 599`)
}

/** Whether an answer with this status may have a body. */
function hasBody(status: number): boolean {
  return status !== 204 && status !== 205 && status !== 304
}

/** Whether a body is made piece by piece. */
function isMade(body: unknown): body is BodySource {
  return typeof body === 'object' && body !== null && !(body instanceof Uint8Array)
}

function fromSource(
  body: BodySource,
  status: number,
  headers: ReturnType<typeof splitLength>,
): CheckedAnswer {
  const length = headers.length === undefined ? '' : lengthField(headers.length)
  const source = SourceStage.of(body)
  if (!hasBody(status)) {
    source.cancel()
    // Only a 304 may say what there would be (RFC 9110 §8.6).
    return new CheckedAnswer(status, status === 304 ? headers.fields + length : headers.fields, '')
  }
  // The length that was promised is checked when all has been sent.
  const answer = new CheckedAnswer(status, headers.fields + length, '')
  answer.source = source
  return answer
}

function checkBody(body: unknown): string | Uint8Array {
  if (body === undefined) return ''
  if (typeof body === 'string') return body
  // A copy: what happens to the caller's bytes afterwards does not change the answer.
  if (body instanceof Uint8Array) return new Uint8Array(body)
  throw invalid(`the body is ${show(body)}, not a string or a Uint8Array`)
}

function splitLength(headers: HeaderInput) {
  const rest: [string, string][] = []
  let length: string | undefined
  let hasType = false
  const add = (name: string, value: string) => {
    const lower = String(name).toLowerCase()
    if (lower === 'content-type') hasType = true
    if (lower !== 'content-length') return void rest.push([name, value])
    checkValue(name, value)
    if (length !== undefined && length !== value) throw invalid('content-length is given twice')
    length = value
  }
  if (typeof headers !== 'object' || headers === null) throw invalid(`the headers are ${show(headers)}`)
  eachField(headers, add)
  return { fields: headerFields(rest), length, hasType }
}

function isResponse(value: object): value is Response {
  return typeof (value as Response).arrayBuffer === 'function' && 'bodyUsed' in value
}

function fromResponse(response: Response, status: number, method: string): CheckedAnswer {
  if (response.bodyUsed) throw invalid('the body of the Response has been used already')
  const fields: [string, string][] = []
  const length = lengthOf(response)
  // What `fetch` gives is decoded, and belongs to another connection.
  for (const [name, value] of response.headers) {
    if (!isOurs(name) && name !== 'trailer' && !(name === 'content-encoding' && response.url !== ''))
      fields.push([name, value])
  }
  const answer = new CheckedAnswer(status, headerFields(fields), '')
  const isNone = method === 'HEAD' || status === 304
  if (isNone && length !== undefined) {
    // It says what there would be.
    answer.fields += lengthField(length)
    SourceStage.discard(response.body)
    return answer
  }
  if (response.body !== null && hasBody(status)) answer.reading = readResponse(response.body, answer, length)
  else if (response.body !== null) SourceStage.discard(response.body)
  else if (hasBody(status) && length !== undefined && length !== '0')
    throw invalid(`content-length is ${length}, but there is no body`)
  return answer
}

/** The length that a Response says of itself; what `fetch` has decoded is longer than its origin said. */
function lengthOf({ headers, url }: Response): string | undefined {
  const length = headers.get('content-length')
  if (length === null || (url !== '' && headers.has('content-encoding'))) return undefined
  return checkLength(length)
}

function checkLength(length: string): string {
  if (/^\d{1,15}$/.test(length)) return length
  throw invalid(`content-length is ${show(length)}`)
}

function lengthField(length: string): string {
  return `content-length\0${length}\n`
}

function wrongLength(said: string, length: number): UsageError {
  return invalid(`content-length is ${said}, but the body has ${length} bytes`)
}

/** Takes a body whole that is there at once; any other is sent as it comes. */
async function readResponse(
  body: ReadableStream<Uint8Array>,
  answer: CheckedAnswer,
  promised: string | undefined,
): Promise<void> {
  const reader = body.getReader()
  answer.stop = () => void reader.cancel().catch(() => undefined)
  const pieces: Uint8Array[] = []
  const reads: Promise<IteratorResult<unknown>>[] = []
  for (let length = 0; length < AT_ONCE; ) {
    const read = reader.read()
    reads.push(read as Promise<IteratorResult<unknown>>)
    const now = await soon(read as Promise<IteratorResult<unknown>>)
    if (now === undefined) break
    if (now.done) {
      answer.body = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces)
      if (promised !== undefined && Number(promised) !== length) throw wrongLength(promised, length)
      return
    }
    if (!(now.value instanceof Uint8Array)) break
    pieces.push(now.value)
    length += now.value.byteLength
  }
  // That it is so is seen when all has been sent.
  if (promised !== undefined) answer.fields += lengthField(promised)
  answer.source = new SourceStage(
    () => reads.shift() ?? (reader.read() as Promise<IteratorResult<unknown>>),
    () => reader.cancel(),
  )
}

/** The longest body that is waited for to be whole. */
const AT_ONCE = 64 * 1024

/** What a promise gives at once, or within this turn of the event loop; undefined where that takes longer. */
async function soon<T>(promise: Promise<T>): Promise<T | undefined> {
  let given: T | undefined
  let isSettled = false
  const settled = promise.then((value) => {
    given = value
    isSettled = true
  })
  // Handled where it is waited for.
  settled.catch(() => undefined)
  // Most are there after a few turns of this kind, which cost less than one of the event loop.
  for (let turn = 0; turn < QUICK_TURNS && !isSettled; turn++) await null
  return isSettled ? given : Promise.race([promise, nextTurn()])
}

const QUICK_TURNS = 16

function nextTurn(): Promise<undefined> {
  return new Promise((resolve) => setImmediate(() => resolve(undefined)))
}

function invalid(message: string): UsageError {
  return new UsageError('INVALID_ANSWER', message)
}
