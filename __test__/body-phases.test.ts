// The body phases and the trailer phases, with clients and origins of both versions.
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { HttpPeer, type ProxyError, type Session } from '../ts/index.js'
import { ask, echoing, PAIRS, throughPair } from './support/bodies.js'
import { Client, get, once, post } from './support/client.js'
import { startRaw } from './support/origin.js'
import { startProxy, until } from './support/proxy.js'

describe.each(PAIRS)('%s to %s', (down, up) => {
  const through = throughPair(down, up)

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

test.each(['upstreamResponseBodyFilter', 'responseBodyFilter', 'responseTrailerFilter'] as const)(
  '%s knows the response and its upstream though no phase has seen its head',
  async (name) => {
    const origin = await startRaw((socket) => {
      socket.on('data', () => {
        socket.write(
          'HTTP/1.1 203 Fine\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\n\r\n1\r\nx\r\n0\r\nb: 2\r\n\r\n',
        )
      })
    })
    const seen: unknown[] = []
    const note = ({ response, upstream }: Session) =>
      void seen.push([response?.status, response?.headers.get('x-a'), upstream?.address])
    const { to } = await startProxy({ upstreamPeer: new HttpPeer(origin.address), [name]: note })
    const client = await Client.connect(to)
    const request = get('/', { te: 'trailers', connection: 'te' })
    for (let round = 0; round < 2; round++) expect((await client.ask(request)).status).toBe(203)
    expect(seen.length).toBeGreaterThanOrEqual(2)
    for (const one of seen) expect(one).toEqual([203, '1', origin.address])
  },
)

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

const shrunk = () => {
  const Resizable = ArrayBuffer as unknown as new (size: number, options: object) => ArrayBuffer
  const buffer = new Resizable(10, { maxByteLength: 20 })
  const bytes = new Uint8Array(buffer, 0, 10)
  ;(buffer as unknown as { resize(size: number): void }).resize(5)
  return bytes
}
const transferred = () => {
  const bytes = new Uint8Array(10)
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] })
  return bytes
}

test.each([
  ['at once', transferred],
  ['later', async () => transferred()],
  ['of a buffer that has shrunk', shrunk],
])('bytes that were transferred to somebody else are an error, and no hang: %s', async (_, filter) => {
  const errors: (ProxyError | undefined)[] = []
  const { to } = await startProxy({
    upstreamPeer: await echoing('h1'),
    requestBodyFilter: filter,
    logging: (_session, error) => void errors.push(error),
  })
  expect((await once(to, post('/', 'body'))).status).toBe(500)
  await until(() => errors.length === 1)
  expect(errors[0]).toMatchObject({ code: 'PHASE_FAILED', phase: 'requestBodyFilter' })
  expect(errors[0]?.cause).toBeInstanceOf(TypeError)
})

test.each([[0], ['no'], [null], [undefined]])('filterBody = %j is refused', async (value) => {
  const errors: (ProxyError | undefined)[] = []
  const { to } = await startProxy({
    upstreamPeer: await echoing('h1'),
    responseFilter: (_session, response) => {
      response.filterBody = value as unknown as boolean
    },
    logging: (_session, error) => void errors.push(error),
  })
  expect((await once(to, get('/'))).status).toBe(500)
  await until(() => errors.length === 1)
  expect(String(errors[0]?.cause)).toContain('filterBody')
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
