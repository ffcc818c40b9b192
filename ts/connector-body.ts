import { randomUUID } from 'node:crypto'
import type { BodySource } from './bodies/source.js'

/** What a connector can send as a body. */
export type ConnectorBody =
  | string
  | Uint8Array
  | BodySource
  | ArrayBuffer
  | ArrayBufferView
  | Blob
  | URLSearchParams
  | FormData

/** A body as it goes out. */
export interface SentBody {
  readonly sent: string | Uint8Array | BodySource | undefined
  /** Of what is made piece by piece, how many bytes that are, where it is known. */
  readonly length?: number | undefined
  /** The type that it says of itself; empty: none. */
  readonly type: string
}

/** What goes out of a body. */
export function sentBody(body: ConnectorBody | undefined): SentBody {
  if (body instanceof ArrayBuffer) return { sent: new Uint8Array(body), type: '' }
  if (ArrayBuffer.isView(body) && !(body instanceof Uint8Array))
    return { sent: new Uint8Array(body.buffer, body.byteOffset, body.byteLength), type: '' }
  if (body instanceof URLSearchParams)
    return { sent: body.toString(), type: 'application/x-www-form-urlencoded;charset=UTF-8' }
  const blob = body instanceof FormData ? written(body) : body
  if (blob instanceof Blob) return { sent: blob.stream() as BodySource, length: blob.size, type: blob.type }
  return { sent: blob, type: '' }
}

/** A form as one Blob, of which files are parts without being read, so that its length is known. */
function written(form: FormData): Blob {
  const boundary = `----millrace-${randomUUID()}`
  const parts: (string | Blob)[] = []
  for (const [name, value] of form) {
    parts.push(`--${boundary}\r\nContent-Disposition: form-data; name="${escaped(lines(name))}"`)
    if (typeof value === 'string') parts.push(`\r\n\r\n${lines(value)}\r\n`)
    else {
      const type = value.type || 'application/octet-stream'
      parts.push(`; filename="${escaped(value.name)}"\r\nContent-Type: ${type}\r\n\r\n`, value, '\r\n')
    }
  }
  parts.push(`--${boundary}--\r\n`)
  return new Blob(parts, { type: `multipart/form-data; boundary=${boundary}` })
}

/** The ends of lines are those of the net. */
function lines(text: string): string {
  return text.replace(/\r\n?|\n/g, '\r\n')
}

/** What would end a name in a header. */
function escaped(name: string): string {
  return name.replaceAll('\n', '%0A').replaceAll('\r', '%0D').replaceAll('"', '%22')
}
