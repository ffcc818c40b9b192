// session.readBody: the request's body as a whole, before an upstream is chosen, with clients and origins of both versions.
import { connect as connectH2 } from 'node:http2'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type AnyPhases, HttpPeer, type ProxyError, type Session } from '../ts/index.js'
import { ask, echoing, PAIRS, VERSIONS } from './support/bodies.js'
import { Client, get, once, post } from './support/client.js'
import { startOrigin, startRaw } from './support/origin.js'
import { deferred, startProxy, until } from './support/proxy.js'

const CHUNKED = { 'transfer-encoding': 'chunked' }

/** A proxy that tells what each request ended with. */
async function through(phases: AnyPhases, options = {}) {
  const errors: (ProxyError | undefined)[] = []
  const logging: AnyPhases['logging'] = (_session, error) => void errors.push(error)
  return { ...(await startProxy({ logging, ...phases }, options)), errors }
}

describe.each(PAIRS)('%s to %s', (down, up) => {
  const phase = ['earlyRequestFilter', 'requestFilter', 'proxyUpstreamFilter'] as const
  test.each(phase)('%s has all of it, and so has the origin', async (name) => {
    const read: string[] = []
    const { to, errors } = await through({
      upstreamPeer: await echoing(up),
      [name]: async (session: Session) => {
        const body = await session.readBody()
        read.push(String(body))
        // It is the phase's own.
        body.fill(0)
        read.push(String(await session.readBody({ maxBytes: 9 })))
      },
    })
    expect((await ask(down, to, '/', 'some text')).body).toBe('some text')
    expect((await ask(down, to, '/')).status).toBe(200)
    expect(read).toEqual(['some text', 'some text', '', ''])
    await until(() => errors.length === 2)
    expect(errors).toEqual([undefined, undefined])
  })

  test('upstreamPeer chooses by it; later phases have it too, and requestBodyFilter sees it', async () => {
    const peer = await echoing(up)
    const seen: string[] = []
    const logged = deferred<string>()
    const { to } = await startProxy({
      upstreamPeer: async (session) => {
        const { route } = JSON.parse(String(await session.readBody())) as { route: boolean }
        return route ? peer : new HttpPeer('127.0.0.1:1')
      },
      requestBodyFilter: (_session, chunk, end) => {
        seen.push(`${chunk}${end ? '.' : ''}`)
        return String(chunk).toUpperCase()
      },
      responseFilter: async (session, response) => {
        response.headers.set('x-length', String((await session.readBody()).length))
      },
      logging: async (session) => logged.resolve(String(await session.readBody())),
    })
    const got = await ask(down, to, '/', '{"route":true}')
    expect([got.body, got.headers['x-length'], seen.join('')]).toEqual([
      '{"ROUTE":TRUE}',
      '14',
      '{"route":true}.',
    ])
    expect(await logged.promise).toBe('{"route":true}')
    expect((await ask(down, to, '/', '{"route":false}')).status).toBe(502)
  })

  test('over the limit 413, from its length and by counting', async () => {
    const { to, errors } = await through({
      upstreamPeer: await echoing(up),
      requestFilter: async (session) => void (await session.readBody({ maxBytes: 4 })),
    })
    expect((await ask(down, to, '/', 'four')).body).toBe('four')
    // Over HTTP/2 there is no length here.
    expect((await ask(down, to, '/', 'fives')).status).toBe(413)
    if (down === 'h1')
      expect((await once(to, `${get('/', CHUNKED, 'POST')}5\r\nfives\r\n0\r\n\r\n`)).status).toBe(413)
    await until(() => errors.length === (down === 'h1' ? 3 : 2))
    for (const error of errors.slice(1))
      expect(error).toMatchObject({
        code: 'BODY_TOO_LARGE',
        status: 413,
        source: 'downstream',
        phase: 'requestFilter',
      })
  })

  test('what is too large may still go upstream unread', async () => {
    const { to } = await startProxy({
      upstreamPeer: await echoing(up),
      requestFilter: async (session) => {
        await session.readBody({ maxBytes: 10 }).catch(() => undefined)
        await session.readBody({ maxBytes: 20 }).catch(() => undefined)
      },
    })
    const body = 'x'.repeat(200_000)
    expect((await ask(down, to, '/', body)).body).toBe(body)
  })

  test('a large body is sent again whatever its size', async () => {
    const broken = await startRaw((socket) => socket.once('data', () => socket.destroy()))
    const good = await echoing(up)
    const body = 'x'.repeat(700_000)
    for (const filtered of [false, true]) {
      let tries = 0
      const { to } = await startProxy({
        requestFilter: async (session) => void (await session.readBody()),
        upstreamPeer: async (session) => {
          expect((await session.readBody()).length).toBe(body.length)
          return tries++ === 0 ? new HttpPeer(broken.address) : good
        },
        upstreamRequestFilter: (_session, request) => {
          request.method = 'PUT'
        },
        errorWhileProxy: () => 'retry',
        ...(filtered ? { requestBodyFilter: (_session: Session, chunk: Buffer) => chunk } : {}),
      })
      if (down === 'h1') {
        const client = await Client.connect(to)
        client.write(`${get('/', { 'content-length': String(body.length) }, 'PUT')}${body}`)
        expect((await client.reply('PUT'))?.body).toBe(body)
      } else expect((await put(to, body)).body).toBe(body)
      expect(tries).toBe(2)
    }
  })
})

/** A PUT over HTTP/2. */
async function put(to: { host: string; port: number }, body: string) {
  const session = connectH2(`http://${to.host}:${to.port}`)
  onTestFinished(() => session.destroy())
  const stream = session.request({ ':method': 'PUT', ':path': '/' })
  stream.end(body)
  let text = ''
  for await (const piece of stream.setEncoding('utf8')) text += piece
  return { body: text }
}

test('a chunked body goes up with its length, its trailers as trailers', async () => {
  const origin = await startOrigin()
  const { to } = await startProxy({
    upstreamPeer: new HttpPeer(origin.address),
    requestFilter: async (session) => void (await session.readBody()),
  })
  await once(to, `${get('/', CHUNKED, 'POST')}3\r\nabc\r\n0\r\n\r\n`)
  await once(to, `${get('/', CHUNKED, 'POST')}3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n`)
  const framing = origin.seen.map((seen) => [
    seen.body,
    seen.header('content-length'),
    seen.header('transfer-encoding'),
  ])
  expect(framing).toEqual([
    ['abc', '3', undefined],
    ['abc', undefined, 'chunked'],
  ])
})

test('a client that waits for a 100 gets it, once; one whose body is too long never does', async () => {
  const { to } = await through({
    upstreamPeer: await echoing('h1'),
    requestFilter: async (session) => void (await session.readBody({ maxBytes: 4 })),
  })
  const client = await Client.connect(to)
  client.write(get('/', { expect: '100-continue', 'content-length': '4' }, 'POST'))
  expect((await client.reply())?.status).toBe(100)
  client.write('body')
  expect((await client.reply())?.body).toBe('body')
  client.write(get('/', { expect: '100-continue', 'content-length': '5' }, 'POST'))
  expect((await client.reply())?.status).toBe(413)
})

test.each(VERSIONS)(
  '%s: a client that leaves in mid-body: it rejects, the signal fires, 499',
  async (version) => {
    const rejected = deferred<ProxyError>()
    const waits = deferred()
    let aborted = false
    const { to, errors } = await through({
      upstreamPeer: await echoing('h1'),
      requestFilter: async (session) => {
        session.signal.addEventListener('abort', () => {
          aborted = true
        })
        const reading = session.readBody()
        waits.resolve()
        await reading.catch(rejected.resolve)
      },
    })
    if (version === 'h1') {
      const client = await Client.connect(to)
      client.write(`${get('/', { 'content-length': '9' }, 'POST')}half`)
      await waits.promise
      await client.end()
    } else {
      const session = connectH2(`http://${to.host}:${to.port}`)
      onTestFinished(() => session.destroy())
      const stream = session.request({ ':method': 'POST', ':path': '/' })
      stream.on('error', () => {})
      stream.write('half')
      await waits.promise
      session.destroy()
    }
    expect(await rejected.promise).toMatchObject({ code: 'CLIENT_ABORTED', source: 'downstream' })
    await until(() => errors.length === 1)
    expect([errors[0]?.code, errors[0]?.status, aborted]).toEqual(['CLIENT_ABORTED', 499, true])
  },
)

test('the client’s time is not the phase’s, and its own time-out holds', async () => {
  const { to, errors } = await through(
    {
      upstreamPeer: await echoing('h1'),
      requestFilter: async (session) => void (await session.readBody()),
    },
    { callbackTimeoutMs: 100, bodyReadTimeoutMs: 400 },
  )
  const client = await Client.connect(to)
  client.write(`${get('/', { 'content-length': '9' }, 'POST')}half`)
  expect((await client.reply())?.status).toBe(408)
  await until(() => errors.length === 1)
  expect(errors[0]).toMatchObject({ code: 'REQUEST_TIMEOUT', source: 'downstream' })
})

test('a phase that has its body is timed again', async () => {
  const { to, errors } = await through(
    {
      upstreamPeer: await echoing('h1'),
      requestFilter: async (session) => {
        await session.readBody()
        await new Promise(() => {})
      },
    },
    { callbackTimeoutMs: 60 },
  )
  expect((await once(to, post('/', 'body'))).status).toBe(504)
  await until(() => errors.length === 1)
  expect(errors[0]).toMatchObject({ code: 'PHASE_TIMEOUT' })
})

test('a body that is malformed rejects, and is the client’s fault', async () => {
  const { to, errors } = await through({
    upstreamPeer: await echoing('h1'),
    requestFilter: async (session) => void (await session.readBody()),
  })
  expect((await once(to, `${get('/', CHUNKED, 'POST')}zz\r\n`)).status).toBe(400)
  await until(() => errors.length === 1)
  expect(errors[0]).toMatchObject({ code: 'BAD_REQUEST', source: 'downstream' })
})

test('maxRequestBodyBytes holds while a phase reads', async () => {
  const { to, errors } = await through(
    {
      upstreamPeer: await echoing('h1'),
      requestFilter: async (session) => void (await session.readBody()),
    },
    { maxRequestBodyBytes: 4 },
  )
  expect((await once(to, `${get('/', CHUNKED, 'POST')}5\r\nfives\r\n0\r\n\r\n`)).status).toBe(413)
  await until(() => errors.length === 1)
  expect(errors[0]).toMatchObject({ code: 'BODY_TOO_LARGE', source: 'downstream' })
})

test('where it cannot be read any more it says so', async () => {
  const codes: unknown[] = []
  const note = (error: { code?: string }) => void codes.push(error.code)
  const broken = await startRaw((socket) => socket.once('data', () => socket.destroy()))
  const { to } = await startProxy({
    upstreamPeer: async (session) => {
      if (codes.length > 0) await session.readBody().catch(note)
      return new HttpPeer(broken.address)
    },
    connectedToUpstream: (session) => session.readBody().then(() => undefined, note),
    errorWhileProxy: (session) => (session.upstream?.attempt === 1 ? 'retry' : 'fail'),
    logging: async (session) => {
      await session.readBody().catch(note)
      await session.readBody({ maxBytes: -1 }).catch(note)
    },
  })
  await once(to, `${get('/', { 'content-length': '1' }, 'PUT')}x`)
  const cannot = 'CANNOT_READ_BODY'
  await until(() => codes.length === 5)
  expect(codes).toEqual([cannot, cannot, cannot, cannot, 'INVALID_OPTIONS'])
})

test('calls that nobody waits for, and answers before the body is there, harm nobody', async () => {
  let outcome: Promise<unknown> | undefined
  const { to } = await through({
    upstreamPeer: await echoing('h1'),
    requestFilter: (session) => {
      outcome = session.readBody().catch((error) => error.code)
      void session.readBody({ maxBytes: 1 })
      return session.request.path === '/answer' ? 202 : undefined
    },
  })
  const client = await Client.connect(to)
  expect((await client.ask(post('/', 'body'))).body).toBe('body')
  expect(await outcome).toBe('CANNOT_READ_BODY')
  expect((await client.ask(post('/answer', 'body'))).status).toBe(202)
  expect((await client.ask(post('/', 'next'))).body).toBe('next')
})

test('many at once, each gets its own', async () => {
  const { to, environment } = await through({
    upstreamPeer: await echoing('h1'),
    requestFilter: async (session) => ({ status: 200, body: await session.readBody() }),
  })
  const bodies = Array.from({ length: 200 }, (_, index) => `body ${index} `.repeat(1 + (index % 50) * 100))
  const replies = await Promise.all(bodies.map((body) => once(to, post('/', body))))
  expect(replies.map(({ body }) => body)).toEqual(bodies)
  await until(() => environment.native.stats().slots === 0)
})
