// The body phases, and bodies changed as a whole or as streams, with clients and origins of both versions.
import { createHash } from 'node:crypto'
import { once as event } from 'node:events'
import { type ClientHttp2Session, connect as connectH2 } from 'node:http2'
import { Readable } from 'node:stream'
import { TransformStream } from 'node:stream/web'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type AnyPhases, HttpPeer, type ProxyError, type ResponseHeader, type Session } from '../ts/index.js'
import { Client, get, once, post } from './support/client.js'
import { startOrigin, startRaw } from './support/origin.js'
import { deferred, startProxy, until } from './support/proxy.js'
import { startTlsOrigin } from './support/tls.js'

interface Got {
  status: number
  headers: Record<string, string | undefined>
  body: string
}

type Version = 'h1' | 'h2'

/** An origin that sends the request's body back, in pieces, in either version. */
async function echoing(version: Version): Promise<HttpPeer> {
  if (version === 'h2') {
    const origin = await startTlsOrigin('clear', (req, res) => {
      res.setHeader('etag', '"tag"')
      req.pipe(res)
    })
    return new HttpPeer(`127.0.0.1:${origin.port}`, { protocol: 'h2' })
  }
  const origin = await startOrigin((seen, res) => {
    res.setHeader('etag', '"tag"')
    res.setHeader('content-length', seen.body.length)
    res.end(seen.body)
  })
  return new HttpPeer(origin.address)
}

/** One request of this version. */
async function ask(
  version: Version,
  to: { host: string; port: number },
  path: string,
  body = '',
): Promise<Got> {
  if (version === 'h1') {
    const reply = await once(to, body === '' ? get(path) : post(path, body))
    return { status: reply.status, headers: Object.fromEntries(reply.headers), body: reply.body }
  }
  const session: ClientHttp2Session = connectH2(`http://${to.host}:${to.port}`)
  session.on('error', () => {})
  onTestFinished(() => session.destroy())
  const head0 = { ':path': path, ':method': body === '' ? 'GET' : 'POST' }
  const stream = session.request(head0, { endStream: body === '' })
  if (body !== '') stream.end(body)
  const [head] = await event(stream, 'response')
  let text = ''
  for await (const piece of stream.setEncoding('utf8')) text += piece
  return { status: head[':status'], headers: head, body: text }
}

const VERSIONS: Version[] = ['h1', 'h2']
const PAIRS = VERSIONS.flatMap((down) => VERSIONS.map((up): [Version, Version] => [down, up]))

describe.each(PAIRS)('%s to %s', (down, up) => {
  async function through(phases: Omit<AnyPhases, 'upstreamPeer'>, body = 'some text', path = '/') {
    const errors: (ProxyError | undefined)[] = []
    const { to } = await startProxy({
      upstreamPeer: await echoing(up),
      logging: (_session, error) => void errors.push(error),
      ...phases,
    })
    const got = await ask(down, to, path, body)
    await until(() => errors.length === 1)
    return { ...got, error: errors[0] }
  }

  const phase = ['requestBodyFilter', 'upstreamResponseBodyFilter', 'responseBodyFilter'] as const
  test.each(phase)('%s: nothing, null, a value, an end', async (name) => {
    const calls: [string, boolean][] = []
    const seen = (_session: Session, chunk: Buffer, end: boolean) => void calls.push([String(chunk), end])
    expect((await through({ [name]: seen })).body).toBe('some text')
    expect(calls.map(([text]) => text).join('')).toBe('some text')
    expect(calls.map(([, end]) => end)).toEqual(calls.map((_, at) => at === calls.length - 1))

    const upper = (_session: Session, chunk: Buffer) => String(chunk).toUpperCase()
    expect((await through({ [name]: upper })).body).toBe('SOME TEXT')
    const later = async (_session: Session, chunk: Buffer, end: boolean) => {
      await sleep(1)
      return Buffer.concat([chunk, Buffer.from(end ? '.' : '')])
    }
    expect((await through({ [name]: later })).body).toBe('some text.')
    expect((await through({ [name]: () => null })).body).toBe('')
    expect((await through({ [name]: () => ({ chunk: 'first', end: true }) })).body).toBe('first')
    expect((await through({ [name]: () => ({ end: true }) })).body).toBe('')
  })

  test('both filters of the response run one behind the other, in one crossing', async () => {
    const order: string[] = []
    const { body } = await through({
      upstreamResponseBodyFilter: (_session, chunk) => {
        order.push('first')
        return `(${chunk})`
      },
      responseBodyFilter: async (_session, chunk) => {
        order.push('second')
        return `[${chunk}]`
      },
    })
    expect(body.replaceAll('()', '').replaceAll('[]', '')).toMatch(/^(\[\(.+\)\])+$/)
    expect(order.filter((name) => name === 'first').length).toBe(order.length / 2)
  })

  test.each(phase)('what %s throws ends the request', async (name) => {
    const thrown = () => {
      throw new Error('no')
    }
    const errors: (ProxyError | undefined)[] = []
    const { to } = await startProxy({
      upstreamPeer: await echoing(up),
      [name]: thrown,
      logging: (_session, error) => void errors.push(error),
    })
    const answer = ask(down, to, '/', 'body')
    // The head of a response has gone out before its body is looked at.
    if (name === 'requestBodyFilter') expect((await answer).status).toBe(500)
    else await expect(answer).rejects.toThrow()
    await until(() => errors.length === 1)
    expect(errors[0]).toMatchObject({ code: 'PHASE_FAILED', phase: name, source: 'internal' })
    expect(errors[0]?.cause).toMatchObject({ message: 'no' })
  })

  test('transformBody: the whole, with its length and its tag', async () => {
    const { body, headers } = await through({
      responseFilter: (_session, response) => {
        response.transformBody({}, async (whole) => `<${whole}>`)
      },
    })
    expect(body).toBe('<some text>')
    expect([headers['content-length'], headers.etag]).toEqual(['11', 'W/"tag"'])
  })

  test('transformBody that fails can still be answered', async () => {
    const { status, body, error } = await through({
      responseFilter: (_session, response) => {
        response.transformBody({ maxBytes: 4 }, () => 'never')
      },
      failToProxy: (_session, problem) => ({ status: 502, body: problem.code }),
    })
    expect([status, body, error?.code]).toEqual([502, 'BODY_TOO_LARGE', 'BODY_TOO_LARGE'])
  })

  test('body: as a stream', async () => {
    const upper = () =>
      new TransformStream<Uint8Array, Uint8Array>({
        transform: (chunk, controller) => {
          controller.enqueue(Buffer.from(Buffer.from(chunk).toString().toUpperCase()))
        },
        flush: (controller) => controller.enqueue(Buffer.from('!')),
      })
    const { body } = await through({
      responseFilter: (_session, response) => {
        response.body = (stream) => stream.pipeThrough(upper())
      },
    })
    expect(body).toBe('SOME TEXT!')
  })

  test('filterBody = false: the body does not cross', async () => {
    let calls = 0
    const filter = () => void calls++
    const { body } = await through({
      responseFilter: (_session, response) => {
        response.filterBody = false
      },
      upstreamResponseBodyFilter: filter,
      responseBodyFilter: filter,
    })
    expect([body, calls]).toEqual(['some text', 0])
  })

  test('a request and a response without a body are not filtered', async () => {
    let calls = 0
    const { to } = await startProxy({
      upstreamPeer: await echoing(up),
      requestBodyFilter: () => void calls++,
    })
    expect((await ask(down, to, '/')).status).toBe(200)
    expect(calls).toBe(0)
  })
})

test('head and length: none of the old length is left, and HEAD promises none', async () => {
  const { to } = await startProxy({
    upstreamPeer: await echoing('h1'),
    responseBodyFilter: (_session, chunk) => `${chunk}+`,
  })
  const reply = await once(to, post('/', 'text'))
  expect([reply.body, reply.header('content-length'), reply.header('transfer-encoding')]).toEqual([
    'text+',
    undefined,
    'chunked',
  ])
  const head = await once(to, get('/', {}, 'HEAD'))
  expect([head.status, head.header('content-length')]).toEqual([200, undefined])
})

test('chunks are the user’s to keep', async () => {
  const kept: Buffer[] = []
  const { to } = await startProxy({
    upstreamPeer: await echoing('h1'),
    requestBodyFilter: (_session, chunk) => void kept.push(chunk),
  })
  const client = await Client.connect(to)
  for (let index = 0; index < 50; index++) await client.ask(post('/', `body ${index}`))
  expect(kept.map(String).filter(Boolean)).toEqual(Array.from({ length: 50 }, (_, index) => `body ${index}`))
})

test('a body filter that never settles fails its request at its deadline', async () => {
  const errors: (ProxyError | undefined)[] = []
  const { to } = await startProxy(
    {
      upstreamPeer: await echoing('h1'),
      requestBodyFilter: ({ request }) => (request.path === '/slow' ? new Promise(() => {}) : undefined),
      logging: (_session, error) => void errors.push(error),
    },
    { callbackTimeoutMs: 50 },
  )
  expect((await once(to, post('/slow', 'x'))).status).toBe(504)
  expect((await once(to, post('/', 'x'))).body).toBe('x')
  await until(() => errors.length === 2)
  expect(errors[0]).toMatchObject({ code: 'PHASE_TIMEOUT', phase: 'requestBodyFilter' })
})

test.each([
  ['a number', 5],
  ['an object', { chunk: 'x' }],
  ['more', { end: true, more: 1 }],
])('a body filter that returns %s is told so', async (_, value) => {
  const errors: (ProxyError | undefined)[] = []
  const { to } = await startProxy({
    upstreamPeer: await echoing('h1'),
    requestBodyFilter: () => value as never,
    logging: (_session, error) => void errors.push(error),
  })
  expect((await once(to, post('/', 'x'))).status).toBe(500)
  await until(() => errors.length === 1)
  expect(errors[0]).toMatchObject({ code: 'PHASE_RETURN', phase: 'requestBodyFilter' })
})

test('what a body filter throws with a status is answered', async () => {
  const { to } = await startProxy({
    upstreamPeer: await echoing('h1'),
    requestBodyFilter: () => {
      throw Object.assign(new Error('too spicy'), { statusCode: 422 })
    },
  })
  expect((await once(to, post('/', 'x'))).status).toBe(422)
})

test('a failing newCtx fails the request though only its body crosses', async () => {
  let calls = 0
  const { to } = await startProxy({
    newCtx: () => {
      throw new Error('no context')
    },
    upstreamPeer: await echoing('h1'),
    requestBodyFilter: () => void calls++,
  })
  expect((await once(to, post('/', 'x'))).status).toBe(500)
  expect(calls).toBe(0)
})

test('on a retry the body that was filtered once is sent again', async () => {
  const broken = await startRaw((socket) => socket.once('data', () => socket.destroy()))
  const good = await echoing('h1')
  let tries = 0
  let calls = 0
  const { to } = await startProxy({
    upstreamPeer: () => (tries++ === 0 ? new HttpPeer(broken.address) : good),
    requestBodyFilter: (_session, chunk) => {
      calls++
      return `<${chunk}>`
    },
    errorWhileProxy: () => 'retry',
  })
  const request = get('/', { 'content-length': '4' }, 'PUT')
  expect((await once(to, `${request}body`)).body).toBe('<body>')
  expect(calls).toBe(1)
})

describe('transformBody', () => {
  const encoded = (coding: string | undefined, body: Buffer) =>
    startOrigin((_seen, res) => {
      if (coding !== undefined) res.setHeader('content-encoding', coding)
      res.setHeader('accept-ranges', 'bytes')
      res.end(body)
    })

  async function transformed(origin: { address: string }, filter: (response: ResponseHeader) => void) {
    const errors: (ProxyError | undefined)[] = []
    const { to } = await startProxy({
      upstreamPeer: new HttpPeer(origin.address),
      responseFilter: (_session, response) => filter(response),
      logging: (_session, error) => void errors.push(error),
    })
    const reply = await once(to, get('/'))
    await until(() => errors.length === 1)
    return { reply, error: errors[0] }
  }

  test('undoes the coding', async () => {
    const origin = await encoded('gzip', gzipSync('plain'))
    const { reply } = await transformed(origin, (r) => r.transformBody({}, (whole) => `${whole} text`))
    expect(reply.body).toBe('plain text')
    for (const name of ['content-encoding', 'accept-ranges']) expect(reply.header(name)).toBeUndefined()
  })

  test('decode: false leaves it', async () => {
    const origin = await encoded('gzip', gzipSync('plain'))
    const { reply } = await transformed(origin, (r) => r.transformBody({ decode: false }, () => undefined))
    expect([reply.header('content-encoding'), reply.body]).toEqual([
      'gzip',
      gzipSync('plain').toString('latin1'),
    ])
  })

  test('a bomb does not get past maxBytes', async () => {
    const origin = await encoded('gzip', gzipSync(Buffer.alloc(10_000_000)))
    const { reply, error } = await transformed(origin, (r) =>
      r.transformBody({ maxBytes: 100_000 }, () => ''),
    )
    expect([reply.status, error?.code]).toEqual([502, 'BODY_TOO_LARGE'])
  })

  test('what is no such coding is the origin’s fault', async () => {
    const origin = await encoded('gzip', Buffer.from('plain'))
    const { reply, error } = await transformed(origin, (r) => r.transformBody({}, () => ''))
    expect([reply.status, error?.code]).toEqual([502, 'UPSTREAM_INVALID'])
  })

  test('a 206, wrong options and wrong results are told', async () => {
    const origin = await startOrigin((seen, res) => {
      res.statusCode = seen.url === '/206' ? 206 : 200
      res.end('x')
    })
    const part = await transformed(origin, (r) => {
      r.status = 206
      r.transformBody({}, () => '')
    })
    expect([part.reply.status, (part.error?.cause as { code?: string })?.code]).toEqual([
      500,
      'PARTIAL_CONTENT',
    ])
    const options = await transformed(origin, (r) => r.transformBody({ max: 1 } as object, () => ''))
    expect(options.error?.cause).toMatchObject({ code: 'INVALID_OPTIONS' })
    const result = await transformed(origin, (r) => r.transformBody({}, () => 5 as never))
    expect([result.reply.status, result.error?.code]).toEqual([500, 'PHASE_RETURN'])
  })
})

describe('answers that are made piece by piece', () => {
  async function answering(body: unknown, headers = {}) {
    const errors: (ProxyError | undefined)[] = []
    const { to } = await startProxy({
      upstreamPeer: new HttpPeer('127.0.0.1:1'),
      requestFilter: () => (body instanceof Response ? body : { status: 200, headers, body: body as never }),
      logging: (_session, error) => void errors.push(error),
    })
    return { to, errors }
  }
  async function* counting(count: number) {
    for (let index = 0; index < count; index++) yield `${index} `
  }

  test.each<[string, () => unknown]>([
    ['an async iterable', () => counting(3)],
    ['an iterable', () => ['0 ', Buffer.from('1 '), '2 ']],
    ['a Readable', () => Readable.from(counting(3))],
    ['a web stream', () => Readable.toWeb(Readable.from(['0 ', '1 ', '2 ']))],
    ['a Response of a stream', () => new Response(ReadableStream.from(slowly()) as never)],
  ])('%s', async (_, body) => {
    for (const version of VERSIONS) {
      const { to } = await answering(body())
      expect((await ask(version, to, '/')).body).toBe('0 1 2 ')
    }
  })

  async function* slowly() {
    for (let index = 0; index < 3; index++) {
      await sleep(2)
      yield Buffer.from(`${index} `)
    }
  }

  test('a Response that is there at once has its length', async () => {
    const { to } = await answering(new Response('there'))
    const reply = await once(to, get('/'))
    expect([reply.body, reply.header('content-length')]).toEqual(['there', '5'])
  })

  test('they come as they are made', async () => {
    const gate = deferred()
    async function* body() {
      yield 'first'
      await gate.promise
      yield 'second'
    }
    const { to } = await answering(body())
    const client = await Client.connect(to)
    client.write(get('/'))
    await event(client.socket, 'data')
    gate.resolve()
    expect((await client.reply())?.body).toBe('firstsecond')
  })

  test('a length that is given has to be right', async () => {
    const right = await answering(counting(2), { 'content-length': '4' })
    const reply = await once(right.to, get('/'))
    expect([reply.body, reply.header('content-length')]).toEqual(['0 1 ', '4'])
    for (const length of ['3', '5']) {
      const { to, errors } = await answering(counting(2), { 'content-length': length })
      await expect(once(to, get('/'))).rejects.toThrow()
      await until(() => errors.length === 1)
      expect(errors[0]?.code).toBe('INTERNAL')
    }
  })

  test('one that fails cuts the connection, and is told', async () => {
    const { to, errors } = await answering(
      (async function* () {
        yield 'x'
        throw new Error('broken')
      })(),
    )
    await expect(once(to, get('/'))).rejects.toThrow()
    await until(() => errors.length === 1)
    expect(errors[0]?.cause).toMatchObject({ message: 'broken' })
  })

  test('HEAD, and a client that leaves, end what makes it', async () => {
    let ended = 0
    const endless = () =>
      (async function* () {
        try {
          for (;;) yield 'x'.repeat(10_000)
        } finally {
          ended++
        }
      })()
    const { to, errors } = await startProxy({
      upstreamPeer: new HttpPeer('127.0.0.1:1'),
      requestFilter: (session) => {
        const body = endless()
        void body.next()
        session.respond({ status: 200, body })
      },
      logging: () => void logged++,
    }).then(({ to: address }) => ({ to: address, errors: 0 }))
    let logged = 0
    expect(errors).toBe(0)
    expect((await once(to, get('/', {}, 'HEAD'))).status).toBe(200)
    await until(() => ended === 1)
    const client = await Client.connect(to)
    client.write(get('/'))
    await event(client.socket, 'data')
    await client.reset()
    await until(() => ended === 2 && logged === 2)
  })
})

test('trailers: both phases, one behind the other', async () => {
  const origin = await startRaw((socket) => {
    socket.once('data', () => {
      socket.write(
        'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: a\r\n\r\n1\r\nx\r\n0\r\na: 1\r\nb: 2\r\n\r\n',
      )
    })
  })
  const { to } = await startProxy({
    upstreamPeer: new HttpPeer(origin.address),
    upstreamResponseTrailerFilter: (_session, trailers) => {
      trailers.set('a', `${trailers.get('a')}+`)
    },
    responseTrailerFilter: async (_session, trailers) => {
      trailers.delete('b')
      trailers.set('c', 'new')
    },
  })
  const client = await Client.connect(to)
  client.write(get('/', { te: 'trailers', connection: 'te, close' }))
  const text = await client.rest()
  expect(text).toMatch(/\r\n0\r\na: ?1\+\r\nc: ?new\r\n\r\n$/)
})

describe('back-pressure', () => {
  const MIB = 1024 * 1024

  test('a slow filter slows the sender: what is under way stays bounded', async () => {
    const gate = deferred()
    let seen = 0
    const { to } = await startProxy({
      upstreamPeer: await echoing('h1'),
      requestBodyFilter: async (_session, chunk) => {
        seen += chunk.length
        await gate.promise
        return null
      },
    })
    const client = await Client.connect(to)
    client.write(get('/', { 'content-length': String(64 * MIB) }, 'POST'))
    const piece = Buffer.alloc(MIB)
    for (let sent = 0; sent < 64; sent++) client.socket.write(piece)
    await until(() => seen > 0)
    // It stands still: the system's buffers are full, and nothing more is read.
    let before = -1
    await until(() => {
      const now = client.socket.bytesWritten - client.socket.writableLength
      const same = now === before
      before = now
      return same && seen > 0
    })
    expect(seen).toBeLessThanOrEqual(64 * 1024)
    gate.resolve()
    expect((await client.reply('POST'))?.status).toBe(200)
  })

  test('1 GiB through a filter, with flat memory and the same bytes', { timeout: 120_000 }, async () => {
    const SIZE = 256 * MIB
    const piece = Buffer.alloc(MIB, 'x')
    const origin = await startRaw((socket) => {
      socket.once('data', async () => {
        socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${SIZE}\r\n\r\n`)
        for (let sent = 0; sent < SIZE; sent += MIB) if (!socket.write(piece)) await event(socket, 'drain')
      })
    })
    const hash = createHash('sha1')
    const { to } = await startProxy({
      upstreamPeer: new HttpPeer(origin.address),
      responseBodyFilter: (_session, chunk) => void hash.update(chunk),
    })
    const client = await Client.connect(to)
    const own = createHash('sha1')
    let received = 0
    client.socket.removeAllListeners('data')
    const before = process.memoryUsage().rss
    client.write(get('/'))
    let peak = 0
    for await (const data of client.socket) {
      received += data.length
      own.update(data)
      peak = Math.max(peak, process.memoryUsage().rss)
      if (received >= SIZE && data.subarray(-5).toString() === '0\r\n\r\n') break
    }
    expect(received).toBeGreaterThan(SIZE)
    expect(hash.digest('hex')).toBe(
      (() => {
        const all = createHash('sha1')
        for (let sent = 0; sent < SIZE; sent += MIB) all.update(piece)
        return all.digest('hex')
      })(),
    )
    expect((peak - before) / MIB).toBeLessThan(96)
  })
})
