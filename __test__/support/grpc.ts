// gRPC by hand, on Node's HTTP/2: what the published clients do not show or cannot be told.
import {
  type ClientHttp2Session,
  connect,
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type SecureClientSessionOptions,
} from 'node:http2'
import { onTestFinished } from 'vitest'

/** A message with the five bytes that say how long it is. */
export function message(bytes: readonly number[] = []): Buffer {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(bytes.length, 1)
  return Buffer.concat([head, Buffer.from(bytes)])
}

/** A `StreamingOutputCallRequest`: asks for one message of a byte, after a pause. */
export function messageAfter(ms: number): Buffer {
  const parameters = [0x08, 1, 0x10, ...varint(ms * 1_000)]
  return message([0x12, parameters.length, ...parameters])
}

function varint(value: number): number[] {
  const bytes = []
  for (let left = value; ; left = Math.floor(left / 128)) {
    if (left < 128) return [...bytes, left]
    bytes.push((left % 128) + 128)
  }
}

export interface Called {
  head: IncomingHttpHeaders
  /** Whether the head was all there was: END_STREAM came with it. */
  isAll: boolean
  body: Buffer
  trailers: IncomingHttpHeaders
  /** The code of the reset that ended it, 0 if none did. */
  reset: number
}

/** A connection of HTTP/2. It is closed with the test. */
export function session(url: string, options: SecureClientSessionOptions = {}): ClientHttp2Session {
  const client = connect(url, options)
  client.on('error', () => {})
  onTestFinished(() => client.destroy())
  return client
}

/**
 * Calls a method with one message and waits for the end, whatever the deadline in `headers`; `onData`
 * is told of each piece that comes.
 */
export async function call(
  client: ClientHttp2Session,
  path: string,
  {
    sent = message(),
    headers = {},
    onData = () => {},
  }: { sent?: Buffer; headers?: OutgoingHttpHeaders; onData?: () => void } = {},
): Promise<Called> {
  const stream = client.request({
    ':method': 'POST',
    ':path': path,
    'content-type': 'application/grpc',
    te: 'trailers',
    ...headers,
  })
  stream.on('error', () => {})
  const called: Called = { head: {}, isAll: false, body: Buffer.alloc(0), trailers: {}, reset: 0 }
  stream.on('response', (head, flags) => {
    called.head = head
    called.isAll = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0
  })
  stream.on('trailers', (trailers) => {
    called.trailers = trailers
  })
  stream.on('data', (data: Buffer) => {
    called.body = Buffer.concat([called.body, data])
    onData()
  })
  stream.end(sent)
  await new Promise<void>((resolve) => stream.on('close', resolve))
  called.reset = stream.rstCode
  return called
}
