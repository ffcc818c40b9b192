import { SourceStage } from '../bodies/source.js'
import { show, UsageError } from '../errors.js'
import { checkName, checkValue, eachField, type HeaderInput } from '../headers.js'
import { BODIES, byPiece, FORM, type InjectBody, isBody, readyBody, WrongPiece } from './body.js'
import { isNamed } from './h1.js'
import { nextTurn } from './time.js'

/** What stands for an origin may answer with: a status, a `Response`, or its parts. */
export type UpstreamAnswer =
  | number
  | Response
  | {
      /** 200 to 599. Default: 200. */
      status?: number
      /** As they are sent, framing included; INVALID_ANSWER for what HTTP/2 cannot send, to a peer of that. Default: none. */
      headers?: HeaderInput
      /** Of URLSearchParams the `content-type` goes with it, unless `headers` have one. Default: none. */
      body?: InjectBody
      /** The fields after the body. Default: none. */
      trailers?: HeaderInput
      /** Interim responses that go out before. Default: none. */
      interims?: readonly UpstreamInterim[]
      /** Whether it is sent even before the request has come whole. Default: false. */
      early?: boolean
    }

/** An interim response that goes out before the answer. */
export interface UpstreamInterim {
  /** 100 to 199, but 101. */
  status: number
  /** Default: none. */
  headers?: HeaderInput
}

/** An answer of an origin, ready to be sent. */
export interface ReadyAnswer {
  readonly status: number
  readonly headers: [string, string][]
  readonly trailers: [string, string][]
  readonly interims: { status: number; headers: [string, string][] }[]
  /** Whether it does not wait for the rest of the request. */
  readonly early: boolean
  /** The whole body, or what makes it. */
  readonly body: Uint8Array | SourceStage
}

/** The longest body of a `Response` that is looked at whole, in bytes and in pieces. */
const AT_ONCE = 64 * 1024
const PIECES_AT_ONCE = 64

/** @throws UsageError INVALID_ANSWER, INVALID_HEADER, INJECT_LIMIT */
export async function readyAnswer(given: UpstreamAnswer): Promise<ReadyAnswer> {
  try {
    return await checked(given)
  } catch (error) {
    throw error instanceof UsageError ? error : unreadable(error)
  }
}

/** An answer, or a piece of its body, is none. */
export function unreadable(error: unknown): UsageError {
  if (error instanceof WrongPiece) return invalid(`upstream gave a body that is none: ${error.message}`)
  const said = error instanceof Error ? error.message : show(error)
  return new UsageError('INVALID_ANSWER', `upstream gave an answer that cannot be read: ${said}`, {
    cause: error,
  })
}

async function checked(given: UpstreamAnswer): Promise<ReadyAnswer> {
  const parts = typeof given === 'number' ? { status: given } : given
  if (typeof parts !== 'object' || parts === null)
    throw invalid(`upstream gave ${show(given)}, not an answer`)
  const isResponse = parts instanceof Response
  const allowed = ['status', 'headers', 'body', 'trailers', 'interims', 'early']
  if (!isResponse)
    for (const key of Object.keys(parts))
      if (!allowed.includes(key)) throw invalid(`there is no field ${show(key)} of an answer of upstream`)
  const { status = 200, headers = {} } = parts
  if (!isWithin(status, 200, 599))
    throw invalid(`upstream gave the status ${show(status)}, which is no integer from 200 to 599`)
  const { trailers = {}, interims = [], early = false } = isResponse ? {} : parts
  if (typeof early !== 'boolean') throw invalid(`upstream gave early: ${show(early)}, not true or false`)
  if (!Array.isArray(interims)) throw invalid(`upstream gave interims: ${show(interims)}, not a list`)
  const first = (interims as readonly UpstreamInterim[]).map((interim) => {
    if (!isWithin(interim?.status, 100, 199) || interim.status === 101)
      throw invalid(
        `upstream gave an interim response with the status ${show(interim?.status)}: it may be an integer from 100 to 199, and not 101, as inject has no upgrades`,
      )
    return { status: interim.status, headers: fieldsOf(interim.headers ?? {}) }
  })
  const fields = fieldsOf(headers)
  const body = isResponse ? await bodyOf(parts) : made(parts.body)
  const isForm = !isResponse && parts.body instanceof URLSearchParams
  if (isForm && !fields.some(([name]) => isNamed(name, 'content-type'))) fields.push(['content-type', FORM])
  return {
    status,
    headers: fields,
    trailers: fieldsOf(trailers),
    interims: first,
    early,
    body,
  }
}

function isWithin(status: unknown, least: number, most: number): boolean {
  return Number.isInteger(status) && (status as number) >= least && (status as number) <= most
}

/** The most of a head that is sent, in bytes as HTTP/2 counts them (RFC 9113, 6.5.2). */
const MOST_SENT = 8 * 1024 * 1024
const PER_FIELD = 32

/** @throws UsageError INVALID_HEADER, INJECT_LIMIT */
export function fieldsOf(input: HeaderInput): [string, string][] {
  if (typeof input !== 'object' || input === null)
    throw new UsageError('INVALID_HEADER', `the headers are ${show(input)}`)
  const found: [string, string][] = []
  let length = 0
  const add = (name: string, value: string) => {
    checkName(name)
    checkValue(name, value)
    length += name.length + value.length + PER_FIELD
    if (length > MOST_SENT)
      throw new UsageError('INJECT_LIMIT', 'a head is longer than 8 MiB, and inject sends no longer ones')
    found.push([name, value])
  }
  try {
    eachField(input, add)
  } catch (error) {
    if (error instanceof UsageError) throw error
    const said = error instanceof Error ? error.message : show(error)
    throw new UsageError('INVALID_HEADER', `the headers cannot be read: ${said}`, { cause: error })
  }
  return found
}

function made(body: InjectBody | undefined): Uint8Array | SourceStage {
  if (body === undefined) return new Uint8Array()
  if (!isBody(body)) throw invalid(`upstream gave the body ${show(body)}, and it may be ${BODIES}`)
  return readyBody(body)
}

/** One that is there at once is taken whole, so that its length is known, as of a server that has it. */
async function bodyOf(response: Response): Promise<Uint8Array | SourceStage> {
  if (response.bodyUsed) throw invalid('the body of the Response that upstream gave has been used already')
  if (response.body === null) return new Uint8Array()
  if (response.body.locked) throw invalid('the body of the Response that upstream gave is read by another')
  const reader = response.body.getReader()
  const pieces: unknown[] = []
  const waiting: Promise<IteratorResult<unknown>>[] = []
  for (let length = 0; length <= AT_ONCE && pieces.length < PIECES_AT_ONCE; ) {
    const read = reader.read() as Promise<IteratorResult<unknown>>
    waiting.push(read)
    // One that fails does so when its turn comes: the origin's fault, after what it has sent.
    const now = await Promise.race([read.catch(() => undefined), nextTurn()])
    if (now === undefined) break
    if (now.done) return Buffer.concat(pieces.map(byPiece()))
    pieces.push(now.value)
    length += Number((now.value as { length?: unknown } | undefined)?.length ?? 0)
  }
  return new SourceStage(
    () => waiting.shift() ?? (reader.read() as Promise<IteratorResult<unknown>>),
    () => reader.cancel(),
    byPiece(),
  )
}

function invalid(message: string): UsageError {
  return new UsageError('INVALID_ANSWER', message)
}
