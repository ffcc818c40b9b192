// Interim responses: those of origins, and hints that phases send, to clients of each version.
import { once as event } from 'node:events'
import { type ClientHttp2Session, connect as connectH2 } from 'node:http2'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type AnyPhases, HttpPeer, ProxyError, type Session } from '../ts/index.js'
import { Client, get } from './support/client.js'
import { startOrigin, startRaw } from './support/origin.js'
import { deferred, startProxy, until } from './support/proxy.js'
import { startTlsOrigin } from './support/tls.js'

const STYLE = '</style.css>; rel=preload; as=style'
const SCRIPT = '</app.js>; rel=preload; as=script'

type Version = 'h1' | 'h2'
type Interim = { status: number; link: string | undefined }

/** An origin that hints twice before it answers. */
async function hinting(version: Version): Promise<HttpPeer> {
  if (version === 'h1') {
    const hints = [STYLE, SCRIPT].map((link) => `HTTP/1.1 103 Early Hints\r\nlink: ${link}\r\n\r\n`)
    const origin = await startRaw((socket) => {
      socket.on('data', () => socket.write(`${hints.join('')}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok`))
    })
    return new HttpPeer(origin.address)
  }
  const origin = await startTlsOrigin('clear', (_req, res) => {
    for (const link of [STYLE, SCRIPT]) res.stream.additionalHeaders({ ':status': 103, link })
    res.end('ok')
  })
  return new HttpPeer(`127.0.0.1:${origin.port}`, { protocol: 'h2' })
}

/** What a client gets for one request, the interim responses first. */
async function ask(version: Version, to: { host: string; port: number }, path = '/') {
  const interim: Interim[] = []
  if (version === 'h1') {
    const client = await Client.connect(to)
    client.write(get(path))
    for (;;) {
      const reply = (await client.reply())!
      if (reply.status >= 200) {
        await client.end()
        return { interim, status: reply.status, body: reply.body }
      }
      interim.push({ status: reply.status, link: reply.header('link') })
    }
  }
  const session: ClientHttp2Session = connectH2(`http://${to.host}:${to.port}`)
  session.on('error', () => {})
  onTestFinished(() => session.destroy())
  const stream = session.request({ ':path': path })
  stream.on('headers', (head) =>
    interim.push({ status: head[':status'] as number, link: head.link as string }),
  )
  const [head] = await event(stream, 'response')
  let body = ''
  for await (const piece of stream.setEncoding('utf8')) body += piece
  return { interim, status: head[':status'] as number, body }
}

const VERSIONS: Version[] = ['h1', 'h2']
const PAIRS = VERSIONS.flatMap((down) => VERSIONS.map((up): [Version, Version] => [down, up]))

describe.each(PAIRS)('%s to %s', (down, up) => {
  const through = async (phases: Omit<AnyPhases, 'upstreamPeer'>) => {
    const { to } = await startProxy({ upstreamPeer: await hinting(up), ...phases })
    return ask(down, to)
  }

  test("line 10: an origin's interim responses reach the client", async () => {
    expect(await through({})).toEqual({
      interim: [
        { status: 103, link: STYLE },
        { status: 103, link: SCRIPT },
      ],
      status: 200,
      body: 'ok',
    })
  })

  test.each([
    ['sync', false],
    ['async', true],
  ])('a phase sees each, changes one and drops the other (%s)', async (_name, isAsync) => {
    const seen: unknown[] = []
    const { interim } = await through({
      interimResponseFilter: (session, response) => {
        seen.push([response.status, response.headers.get('link'), session.response])
        const isFirst = seen.length === 1
        if (isFirst) response.headers.set('link', '</other.css>; rel=preload')
        const result = isFirst ? undefined : null
        return isAsync ? new Promise((resolve) => setImmediate(() => resolve(result))) : result
      },
      responseFilter: (session, response) => void seen.push([response.status, session.response?.status]),
    })
    expect(interim).toEqual([{ status: 103, link: '</other.css>; rel=preload' }])
    expect(seen).toEqual([
      [103, STYLE, undefined],
      [103, SCRIPT, undefined],
      [200, 200],
    ])
  })

  test('a phase that throws fails the request, and may have it tried again', async () => {
    let tries = 0
    const { interim, status } = await through({
      interimResponseFilter: () => {
        if (++tries === 1) throw new ProxyError({ status: 503 })
      },
      errorWhileProxy: (_session, _peer, error) =>
        error.phase === 'interimResponseFilter' ? 'retry' : 'fail',
    })
    expect([interim.length, status]).toEqual([2, 200])
  })

  test('hints of a phase go out while it waits, and before those of the origin', async () => {
    const { promise, resolve } = deferred()
    const { to } = await startProxy({
      upstreamPeer: await hinting(up),
      requestFilter: async (session) => {
        session.sendEarlyHints([SCRIPT, STYLE])
        await promise
      },
    })
    const asked = ask(down, to)
    if (down === 'h1') {
      const client = await Client.connect(to)
      client.write(get('/'))
      const first = (await client.reply())!
      expect([first.status, first.all('link')]).toEqual([103, [SCRIPT, STYLE]])
      await client.end()
    } else {
      const session = connectH2(`http://${to.host}:${to.port}`)
      session.on('error', () => {})
      const stream = session.request({ ':path': '/' })
      stream.on('error', () => {})
      const [head] = await event(stream, 'headers')
      expect([head[':status'], head.link]).toEqual([103, [SCRIPT, STYLE].join(', ')])
      session.destroy()
    }
    resolve()
    const { interim, status } = await asked
    expect([interim.length, status]).toEqual([3, 200])
  })
})

const mistakes = (session: Session, links: unknown): unknown => {
  try {
    session.sendEarlyHints(links as string)
  } catch (error) {
    return (error as { code: string }).code
  }
  return undefined
}

test('hints are checked, and come too late once there is an answer', async () => {
  const origin = await startOrigin()
  const codes: unknown[] = []
  const { to } = await startProxy({
    upstreamPeer: new HttpPeer(origin.address),
    requestFilter: (session) => {
      for (const links of [
        'style.css',
        '',
        [],
        [1],
        undefined,
        '</a>\r\nx: y',
        '</a>\0',
        '<>',
        '</a> b',
        '</a>; rel="x',
        '</é>',
        ['</a>', 'b'],
        `<${'a'.repeat(20_000)}>`,
      ])
        codes.push(mistakes(session, links))
      if (session.request.path !== '/own') return
      session.respond(204)
      codes.push(mistakes(session, STYLE))
    },
    logging: (session) => void codes.push(mistakes(session, STYLE)),
  })
  const wrong = Array(13).fill('INVALID_HEADER')
  expect((await ask('h1', to)).interim).toEqual([])
  await until(() => codes.length === 14)
  expect(codes.splice(0)).toEqual([...wrong, 'RESPONSE_STARTED'])
  expect((await ask('h1', to, '/own')).interim).toEqual([])
  await until(() => codes.length === 15)
  expect(codes).toEqual([...wrong, 'RESPONSE_STARTED', 'RESPONSE_STARTED'])
})

test('an answer of our own may have hints before it; they are bounded', async () => {
  const { to } = await startProxy({
    upstreamPeer: new HttpPeer('127.0.0.1:1'),
    requestFilter: (session) => {
      for (let at = 0; at < 50; at++) session.sendEarlyHints(`</${at}>`)
      session.respond({ status: 200, body: 'own' })
    },
  })
  for (const version of VERSIONS) {
    const { interim, body } = await ask(version, to)
    expect([interim.length, interim[0]!.link, body]).toEqual([16, '</0>', 'own'])
  }
})

test('a client of HTTP/1.0 gets none, neither of the origin nor of a phase', async () => {
  const { to } = await startProxy({
    upstreamPeer: await hinting('h1'),
    requestFilter: (session) => session.sendEarlyHints(STYLE),
  })
  const client = await Client.connect(to)
  client.write('GET / HTTP/1.0\r\nhost: a\r\n\r\n')
  expect(await client.rest()).toMatch(/^HTTP\/1\.[01] 200 /)
})

test('among pipelined requests of a slow reader no hint is within the bytes of another response', async () => {
  const SIZE = 400_000
  const origin = await startRaw((socket) => {
    let text = ''
    socket.on('data', (data) => {
      text += data
      for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
        const tag = /x-tag: (\d+)/.exec(text.slice(0, end))![1]!
        text = text.slice(end + 4)
        socket.write(`HTTP/1.1 103 Early Hints\r\nlink: </origin-${tag}>\r\n\r\n`)
        socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${SIZE}\r\n\r\n${tag.repeat(SIZE)}`)
      }
    })
  })
  const { to } = await startProxy({
    upstreamPeer: new HttpPeer(origin.address),
    requestFilter: async (session) => {
      session.sendEarlyHints(`</phase-${session.request.headers.get('x-tag')}>`)
      await new Promise((resolve) => setImmediate(resolve))
    },
  })
  const client = await Client.connect(to)
  client.socket.pause()
  const tags = Array.from({ length: 8 }, (_, at) => String(at))
  client.write(tags.map((tag) => get('/', { 'x-tag': tag })).join(''))
  // Long enough that the first responses fill what is between the two.
  await new Promise((resolve) => setTimeout(resolve, 200))
  client.socket.resume()
  for (const tag of tags) {
    let reply = (await client.reply())!
    for (; reply.status === 103; reply = (await client.reply())!)
      expect([`</phase-${tag}>`, `</origin-${tag}>`]).toContain(reply.header('link'))
    expect([reply.status, reply.body.length, new Set(reply.body)]).toEqual([200, SIZE, new Set(tag)])
  }
  await client.end()
})

test('a hint that is sent when its request is over reaches no other request of the connection', async () => {
  const origin = await startOrigin()
  const kept: Session[] = []
  const { to } = await startProxy({
    upstreamPeer: new HttpPeer(origin.address),
    requestFilter: async (session) => {
      kept.push(session)
      if (session.request.path !== '/second') return
      expect(mistakes(kept[0]!, STYLE)).toMatch(/SESSION_ENDED|RESPONSE_STARTED/)
      await new Promise((resolve) => setImmediate(resolve))
    },
  })
  const client = await Client.connect(to)
  expect((await client.ask(get('/first'))).status).toBe(200)
  expect((await client.ask(get('/second'))).status).toBe(200)
  await client.end()
})
