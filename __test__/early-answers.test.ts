// Answers from each phase that may answer, with bodies of each kind, to requests whose bodies nobody has read.
import { once as event } from 'node:events'
import { connect as connectH2, constants } from 'node:http2'
import { Readable } from 'node:stream'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type Answer, type AnyPhases, HttpPeer, type Session } from '../ts/index.js'
import { ask, VERSIONS } from './support/bodies.js'
import { Client, get, post } from './support/client.js'
import { DEAD, startOrigin } from './support/origin.js'
import { startProxy } from './support/proxy.js'

async function* pieces() {
  yield 'the '
  await new Promise((resolve) => setImmediate(resolve))
  yield Buffer.from('answer')
}

/** The same answer, its body given in each way. */
const KINDS: Record<string, () => Answer> = {
  'a string': () => ({ status: 203, body: 'the answer' }),
  bytes: () => ({ status: 203, body: Buffer.from('the answer') }),
  'a Readable': () => ({ status: 203, body: Readable.from(pieces()) }),
  'an async iterable': () => ({ status: 203, body: pieces() }),
  'a web stream': () => ({ status: 203, body: ReadableStream.from(pieces()) as never }),
  'a Response': () => new Response('the answer', { status: 203 }),
  'a Response of a stream': () =>
    new Response(Readable.toWeb(Readable.from(pieces())) as never, { status: 203 }),
}
const PHASES = ['requestFilter', 'proxyUpstreamFilter', 'responseFilter', 'failToProxy'] as const

/** A proxy whose phase answers what asks for `/answer`; by what it returns, or by `respond`. */
async function answering(phase: (typeof PHASES)[number], kind: string, responds = false) {
  const origin = await startOrigin((seen, res) => void res.end(`origin ${seen.body.length}`))
  const dead = new HttpPeer(DEAD)
  const good = new HttpPeer(origin.address)
  const answer = async (session: Session) => {
    if (!session.request.path.startsWith('/answer')) return undefined
    await new Promise((resolve) => setImmediate(resolve))
    if (!responds) return KINDS[kind]!()
    session.respond(KINDS[kind]!())
    return undefined
  }
  const phases: AnyPhases = {
    upstreamPeer: ({ request }) =>
      phase === 'failToProxy' && request.path.startsWith('/answer') ? dead : good,
    [phase]: answer,
  }
  return { origin, ...(await startProxy(phases)) }
}

describe.each(PHASES)('%s', (phase) => {
  test.each(Object.keys(KINDS))('answers with %s, returned or by respond, in both versions', async (kind) => {
    for (const responds of [false, true]) {
      const { to, origin } = await answering(phase, kind, responds)
      for (const version of VERSIONS)
        for (const body of ['', 'some text']) {
          const got = await ask(version, to, '/answer', body)
          expect([got.status, got.body]).toEqual([203, 'the answer'])
        }
      expect(origin.seen.length).toBe(phase === 'responseFilter' ? 4 : 0)
    }
  })

  test('what nobody has read of a body is not taken for the next request', async () => {
    const evil = get('/evil')
    for (const kind of ['a string', 'an async iterable']) {
      const { to, origin } = await answering(phase, kind)
      const client = await Client.connect(to)
      // The next request is there already, and comes after the answer.
      client.write(post('/answer', evil) + get('/next'))
      expect((await client.reply())?.body).toBe('the answer')
      expect((await client.reply())?.body).toBe('origin 0')
      client.write(get('/answer', { 'content-length': String(evil.length) }, 'POST'))
      if (phase === 'responseFilter') client.write(evil)
      expect((await client.reply())?.body).toBe('the answer')
      client.write(phase === 'responseFilter' ? get('/next') : evil + get('/next'))
      expect((await client.reply())?.body).toBe('origin 0')
      const urls = origin.seen.map(({ url }) => url).filter((url) => url !== '/answer')
      expect(urls).toEqual(['/next', '/next'])
      await client.end()
    }
  })
})

const BEFORE = ['requestFilter', 'proxyUpstreamFilter', 'failToProxy'] as const
describe.each(BEFORE)('a huge body that %s does not read', (phase) => {
  test('ends the connection of HTTP/1.1 behind the answer', async () => {
    const { to, origin } = await answering(phase, 'an async iterable')
    const client = await Client.connect(to)
    client.write(get('/answer', { 'content-length': '10000000' }, 'POST'))
    // What would be a request, if the body were forgotten.
    client.write(get('/evil').repeat(3_000))
    const reply = await client.reply()
    expect([reply?.status, reply?.body, reply?.header('connection')]).toEqual([203, 'the answer', 'close'])
    expect(await client.rest()).toBe('')
    expect(origin.seen).toEqual([])
  })

  test('ends the stream of HTTP/2 without an error, and no other', async () => {
    const { to } = await answering(phase, 'an async iterable')
    const session = connectH2(`http://${to.host}:${to.port}`)
    onTestFinished(() => session.destroy())
    const stream = session.request({ ':path': '/answer', ':method': 'POST' })
    const closed = event(stream, 'close')
    stream.write(Buffer.alloc(1_000_000))
    let text = ''
    for await (const piece of stream.setEncoding('utf8')) text += piece
    expect(text).toBe('the answer')
    stream.end()
    await closed
    expect(stream.rstCode).toBe(constants.NGHTTP2_NO_ERROR)
    const next = session.request({ ':path': '/next' })
    let other = ''
    for await (const piece of next.setEncoding('utf8')) other += piece
    expect(other).toBe('origin 0')
  })
})
