import { show, UsageError } from './errors.js'
import { checkValue, type HeaderInput, headerFields, isOurs } from './headers.js'

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
      /** Default: empty. */
      body?: string | Uint8Array
    }

/** An answer, checked, as it crosses. */
export class CheckedAnswer {
  readonly status: number
  /** `name\0value\n` for each field. */
  readonly fields: string
  body: string | Uint8Array
  /** Where the body is still being read: settles when `body` is there. */
  reading: Promise<void> | null = null

  constructor(status: number, fields: string, body: string | Uint8Array) {
    this.status = status
    this.fields = fields
    this.body = body
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
  if (isResponse(value)) return fromResponse(value, status)
  for (const key of Object.keys(value))
    if (key !== 'status' && key !== 'headers' && key !== 'body')
      throw invalid(`there is no field ${show(key)} of an answer`)
  const body = checkBody(value.body)
  const length = typeof body === 'string' ? Buffer.byteLength(body) : body.byteLength
  const headers = splitLength(value.headers ?? {})
  const bodiless = method === 'HEAD' || !hasBody(status)
  if (headers.length !== undefined && !bodiless && headers.length !== String(length))
    throw invalid(`content-length is ${headers.length}, but the body has ${length} bytes`)
  let { fields } = headers
  // Without a body it says what there would be.
  if (headers.length !== undefined && (method === 'HEAD' || status === 304) && length === 0)
    fields += `content-length\0${headers.length}\n`
  if (typeof body === 'string' && body !== '' && !headers.hasType)
    fields += 'content-type\0text/plain; charset=utf-8\n'
  return new CheckedAnswer(status, fields, hasBody(status) ? body : '')
}

function checkStatus(status: number): number {
  if (Number.isInteger(status) && status >= 200 && status <= 599) return status
  throw invalid(`the status ${status} is not an integer from 200 to 599`)
}

/** Whether an answer with this status may have a body. */
function hasBody(status: number): boolean {
  return status !== 204 && status !== 205 && status !== 304
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
  if (Symbol.iterator in headers) for (const [name, value] of headers) add(name, value)
  else
    for (const [name, value] of Object.entries(headers)) {
      if (Array.isArray(value)) for (const one of value) add(name, one)
      else add(name, value as string)
    }
  return { fields: headerFields(rest), length, hasType }
}

function isResponse(value: object): value is Response {
  return typeof (value as Response).arrayBuffer === 'function' && 'bodyUsed' in value
}

function fromResponse(response: Response, status: number): CheckedAnswer {
  if (response.bodyUsed) throw invalid('the body of the Response has been used already')
  const fields: [string, string][] = []
  // What `fetch` gives is decoded, and belongs to another connection.
  for (const [name, value] of response.headers) {
    if (!isOurs(name) && name !== 'trailer' && !(name === 'content-encoding' && response.url !== ''))
      fields.push([name, value])
  }
  const answer = new CheckedAnswer(status, headerFields(fields), '')
  if (response.body !== null && hasBody(status))
    answer.reading = response.arrayBuffer().then((bytes) => {
      answer.body = new Uint8Array(bytes)
    })
  return answer
}

function invalid(message: string): UsageError {
  return new UsageError('INVALID_ANSWER', message)
}
