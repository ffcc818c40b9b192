// What the options of HTTP/2 towards clients change, with the client of Node.js and with raw frames.
import { once } from 'node:events'
import { type ClientHttp2Session, connect, constants } from 'node:http2'
import { connect as dial } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { type Http2Options, HttpPeer } from '../ts/index.js'
import { startOrigin } from './support/origin.js'
import { startProxy } from './support/proxy.js'

const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
const PING = 6

const frame = (type: number, flags: number, stream: number, payload: number[] | Buffer = []) => {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head.writeUInt8(type, 3)
  head.writeUInt8(flags, 4)
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, Buffer.from(payload)])
}

/** A proxy of which a request to /held waits until `go` is called. */
async function proxied(http2: Http2Options) {
  const origin = await startOrigin()
  let go = () => {}
  const held = new Promise<void>((resolve) => {
    go = resolve
  })
  onTestFinished(go)
  const { to } = await startProxy(
    {
      upstreamPeer: new HttpPeer(origin.address),
      requestFilter: ({ request }) => (request.path === '/held' ? held : undefined),
    },
    { http2 },
  )
  return { to, go }
}

async function client(http2: Http2Options, options = {}) {
  const { to, go } = await proxied(http2)
  const session = connect(`http://${to.host}:${to.port}`, options)
  session.on('error', () => {})
  onTestFinished(() => session.destroy())
  await once(session, 'remoteSettings')
  return { session, go }
}

/** Sends raw frames and nothing else: the frames that come back until the connection closes. */
async function frames(http2: Http2Options, sent: Buffer[]) {
  const { to } = await proxied(http2)
  const socket = dial(to.port, to.host)
  socket.on('error', () => {})
  onTestFinished(() => void socket.destroy())
  socket.write(Buffer.concat([Buffer.from(PREFACE), frame(4, 0, 0), ...sent]))
  let bytes = Buffer.alloc(0)
  for await (const piece of socket) bytes = Buffer.concat([bytes, piece])
  const types: { type: number; code: number }[] = []
  for (let at = 0; at + 9 <= bytes.length; at += 9 + bytes.readUIntBE(at, 3))
    types.push({
      type: bytes.readUInt8(at + 3),
      code: bytes.length >= at + 17 ? bytes.readUInt32BE(at + 13) : 0,
    })
  return types
}

const { NGHTTP2_ENHANCE_YOUR_CALM: CALM } = constants

test('streams, windows and frames are as large as the options say', async () => {
  const asked = { maxConcurrentStreams: 7, streamWindowBytes: 70_000, maxFrameBytes: 20_000 }
  const { session } = await client(asked)
  expect(session.remoteSettings).toMatchObject({
    maxConcurrentStreams: 7,
    initialWindowSize: 70_000,
    maxFrameSize: 20_000,
  })
})

test('pingIntervalMs and pingTimeoutMs: a client that does not answer is gone soon', async () => {
  const got = await frames({ pingIntervalMs: 50, pingTimeoutMs: 50 }, [])
  expect(got.filter(({ type }) => type === PING)).toHaveLength(1)
})

const REQUEST = [0x82, 0x86, 0x84, 0x41, 1, 0x61]
const reset = (stream: number) => [frame(1, 5, stream, REQUEST), frame(3, 0, stream, [0, 0, 0, 8])]
const faulty = (stream: number) => frame(1, 5, stream, [...REQUEST, 0, 2, 0x74, 0x65, 1, 0x78])
const streams = Array.from({ length: 8 }, (_, n) => 2 * n + 1)

test.each<[string, Http2Options, Buffer[]]>([
  ['maxResets', { maxResets: 5, resetsPerSecond: 1 }, streams.flatMap(reset)],
  ['maxControlFrames', { maxControlFrames: 100 }, Array(300).fill(frame(PING, 0, 0, Array(8).fill(1)))],
  ['maxFaultResets', { maxFaultResets: 3 }, streams.map(faulty)],
])('%s: a client that goes beyond is sent away', async (_, options, sent) => {
  const got = await frames(options, sent)
  expect(got.at(-1)).toEqual({ type: 7, code: CALM })
})

test.each<[number | undefined, string]>([
  [undefined, 'is still answered'],
  [65_536, 'is not read from'],
])('maxUnreadBytes: with %s, a connection that holds 200 KB %s', async (maxUnreadBytes) => {
  const { session, go } = await client(maxUnreadBytes ? { maxUnreadBytes } : {})
  const stream = session.request({ ':method': 'POST', ':path': '/held' })
  stream.end(Buffer.alloc(200_000))
  await once(stream, 'finish')
  const pinged = ping(session)
  const later = new Promise((resolve) => setTimeout(resolve, 300, 'not read from'))
  expect(await Promise.race([pinged, later])).toBe(maxUnreadBytes ? 'not read from' : 'answered')
  go()
  expect(await pinged).toBe('answered')
  await once(stream, 'response')
})

function ping(session: ClientHttp2Session): Promise<string> {
  return new Promise((resolve, reject) => {
    session.ping((error) => (error ? reject(error) : resolve('answered')))
  })
}
