// Bodies of answers that nobody takes: whatever makes them hears of it.
import { createReadStream, type ReadStream } from 'node:fs'
import { Readable } from 'node:stream'
import { describe, expect, test } from 'vitest'
import type { Handler } from '../ts/index.js'
import { HttpPeer } from '../ts/index.js'
import { startApp } from './support/app.js'
import { Client, get, once } from './support/client.js'
import { deferred, startProxy, until } from './support/proxy.js'

/** Bodies of every kind, and whether they were given back. */
const KINDS: [string, () => { body: unknown; isFreed: () => boolean }][] = [
  [
    'a file',
    () => {
      const body: ReadStream = createReadStream(import.meta.filename)
      return { body, isFreed: () => body.closed }
    },
  ],
  [
    'a Readable',
    () => {
      const body = new Readable({ read() {} })
      return { body, isFreed: () => body.destroyed }
    },
  ],
  [
    'a web stream',
    () => {
      let isFreed = false
      const cancel = () => {
        isFreed = true
      }
      return { body: new ReadableStream({ cancel }), isFreed: () => isFreed }
    },
  ],
  [
    'an iterator',
    () => {
      let isFreed = false
      const body = {
        [Symbol.asyncIterator]: () => ({
          next: () => new Promise(() => {}),
          async return() {
            isFreed = true
          },
        }),
      }
      return { body, isFreed: () => isFreed }
    },
  ],
]

const WRONG: [string, (body: unknown) => unknown][] = [
  ['a wrong field', (body) => ({ status: 200, headers: { 'a b': 'c' }, body })],
  ['a wrong value', (body) => ({ status: 200, headers: { a: 'b\nc' }, body })],
  ['a wrong status', (body) => ({ status: 99, body })],
  ['a wrong length', (body) => ({ status: 200, headers: { 'content-length': 'x' }, body })],
  [
    'two lengths',
    (body) => ({
      status: 200,
      headers: [
        ['content-length', '1'],
        ['Content-Length', '2'],
      ],
      body,
    }),
  ],
  ['a property that there is not', (body) => ({ status: 200, foo: 1, body })],
  ['headers that are none', (body) => ({ status: 200, headers: 7, body })],
]

describe.each(KINDS)('%s', (_, make) => {
  test('of an answer that comes when the client has left', async () => {
    const [asked, gate, given] = [deferred(), deferred(), make()]
    const { to } = await startApp(async (request, info) => {
      asked.resolve()
      await new Promise((resolve) => info.signal.addEventListener('abort', resolve))
      gate.resolve()
      void request
      return { status: 200, body: given.body as never }
    })
    const client = await Client.connect(to)
    client.write(get('/'))
    await asked.promise
    client.socket.destroy()
    await gate.promise
    await until(given.isFreed)
  })

  test('of an answer that comes after its time', async () => {
    const given = make()
    const late: Handler = async (_request, { signal }) => {
      await new Promise((resolve) => signal.addEventListener('abort', resolve))
      return { status: 200, body: given.body as never }
    }
    const { to } = await startApp(late, { callbackTimeoutMs: 20 })
    expect((await once(to, get('/'))).status).toBe(504)
    await until(given.isFreed)
  })

  test.each(WRONG)('of an answer that is refused: %s', async (_, answer) => {
    const given = make()
    const { to } = await startApp(() => answer(given.body) as never)
    expect((await once(to, get('/'))).status).toBe(500)
    await until(given.isFreed)
  })

  test('of an answer without a body', async () => {
    for (const [status, length] of [
      [204, undefined],
      [205, '0'],
      [304, '3'],
    ] as const) {
      const given = make()
      const headers = { 'content-length': '3' }
      const { to } = await startApp(() => ({ status, headers, body: given.body as never }))
      const reply = await once(to, get('/'))
      expect([reply.status, reply.header('content-length')]).toEqual([status, length])
      await until(given.isFreed)
    }
  })

  test('of what a phase that may not answer returns', async () => {
    const given = make()
    const { to } = await startProxy({
      upstreamPeer: new HttpPeer('127.0.0.1:1'),
      failToConnect: () => ({ status: 200, body: given.body }) as never,
    })
    expect((await once(to, get('/'))).status).toBe(500)
    await until(given.isFreed)
  })

  test('of a second answer, and of a first whose phase fails then', async () => {
    const [first, second] = [make(), make()]
    const codes: unknown[] = []
    const { to } = await startProxy({
      upstreamPeer: new HttpPeer('127.0.0.1:1'),
      requestFilter(session) {
        session.respond({ status: 200, body: first.body as never })
        try {
          session.respond({ status: 200, body: second.body as never })
        } catch (error) {
          codes.push((error as { code: string }).code)
        }
        throw new Error('on purpose')
      },
    })
    expect((await once(to, get('/'))).status).toBe(500)
    expect(codes).toEqual(['ALREADY_ANSWERED'])
    await until(() => first.isFreed() && second.isFreed())
  })

  test('of an answer that is given twice over', async () => {
    const [first, second] = [make(), make()]
    const { to } = await startProxy({
      upstreamPeer: new HttpPeer('127.0.0.1:1'),
      async requestFilter(session) {
        session.respond({ status: 200, body: first.body as never })
        return { status: 200, body: second.body as never }
      },
    })
    expect((await once(to, get('/'))).status).toBe(500)
    await until(() => first.isFreed() && second.isFreed())
  })

  test('given to respond() after the request', async () => {
    const [over, given] = [deferred(), make()]
    let code: unknown
    const { to, environment } = await startProxy({
      upstreamPeer: new HttpPeer('127.0.0.1:1'),
      requestFilter(session) {
        void over.promise.then(() => {
          try {
            session.respond({ status: 200, body: given.body as never })
          } catch (error) {
            code = (error as { code: string }).code
          }
        })
        return 200
      },
    })
    expect((await once(to, get('/'))).status).toBe(200)
    await until(() => environment.crossing.sessions === 0)
    over.resolve()
    await until(() => code !== undefined)
    expect(code).toBe('SESSION_ENDED')
    await until(given.isFreed)
  })
})

test('of a Response that comes late, too, whether or not somebody has begun with it', async () => {
  const freed: string[] = []
  const stream = (name: string) => new ReadableStream({ cancel: () => void freed.push(name) })
  const given = [
    new Response(stream('untouched')),
    (() => {
      const response = new Response(stream('taken'))
      response.body?.getReader()
      return response
    })(),
    new Response(stream('last')),
  ]
  const { to } = await startApp(
    async (_request, { signal }) => {
      await new Promise((resolve) => signal.addEventListener('abort', resolve))
      return given.shift() as Response
    },
    { callbackTimeoutMs: 20 },
  )
  for (let count = 0; count < 3; count++) expect((await once(to, get('/'))).status).toBe(504)
  await until(() => freed.length === 2)
  expect(freed).toEqual(['untouched', 'last'])
})

test('a stream that fails when it is not taken any more ends nothing', async () => {
  const made: Readable[] = []
  const { to } = await startApp(
    async (_request, { signal }) => {
      await new Promise((resolve) => signal.addEventListener('abort', resolve))
      const body = made.length === 0 ? createReadStream('/there/is/no/such/file') : new Readable()
      if (made.length === 1) body.destroy(new Error('on purpose'))
      made.push(body)
      return { status: 200, body }
    },
    { callbackTimeoutMs: 20 },
  )
  for (let count = 0; count < 2; count++) expect((await once(to, get('/'))).status).toBe(504)
  await until(() => made.length === 2 && made.every((body) => body.closed))
})

test('of a Response that is still being read when the client leaves', async () => {
  const [asked, freed] = [deferred(), deferred()]
  const { to } = await startApp(() => {
    let count = 0
    return new Response(
      new ReadableStream({
        async pull(controller) {
          if (++count === 1) return controller.enqueue(new Uint8Array(1))
          asked.resolve()
          await new Promise(() => {})
        },
        cancel: () => freed.resolve(),
      }),
    )
  })
  const client = await Client.connect(to)
  client.write(get('/'))
  await asked.promise
  client.socket.destroy()
  await freed.promise
})
