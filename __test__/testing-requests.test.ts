// What `inject` sends: methods as they are given, bodies of every kind, and what it says of those that are none.
import { Readable } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { HttpPeer, UsageError } from '../ts/index.js'
import { type InjectRequest, inject } from '../ts/testing/index.js'

const VERSIONS = ['h1', 'h2'] as const
const PAIRS = VERSIONS.flatMap((down) => VERSIONS.map((up) => [down, up] as const))
const gateway = { upstreamPeer: new HttpPeer('http://10.0.0.1') }
const logged = { ...gateway, logging: () => {} }
const echo = async (request: Request) => new Response(await request.text())

/** What an injection rejects with. */
async function refusal(request: object, phases: object = gateway): Promise<UsageError> {
  const error = await inject(phases as typeof gateway, request as InjectRequest).then(
    () => undefined,
    (error: unknown) => error,
  )
  expect(error).toBeInstanceOf(UsageError)
  return error as UsageError
}

describe('methods', () => {
  test.each(PAIRS)('go as they are given (%s, %s)', async (version, protocol) => {
    const seen: string[] = []
    const phases = {
      upstreamPeer: new HttpPeer('http://10.0.0.1', { protocol }),
      requestFilter: ({ request }: { request: { method: string } }) => void seen.push(request.method),
    }
    for (const method of [
      'get',
      'FOO',
      'connect',
      'PRIVATE',
      'Post',
      'M-SEARCH',
      "a!#$%&'*+-.^_`|~9",
      'head',
    ]) {
      for (const body of [undefined, 'four', Readable.from(['fo', 'ur'])]) {
        const r = await inject(phases, {
          version,
          method,
          ...(body && { body }),
          upstream: async (request) => ({
            headers: { 'x-method': request.method },
            body: `got ${await request.text()}`,
          }),
        })
        expect([r.response.status, r.error, seen.pop()]).toEqual([200, undefined, method])
        expect([r.upstreamRequest!.method, r.response.headers.get('x-method')]).toEqual([method, method])
        expect(r.response.text()).toBe(body === undefined ? 'got ' : 'got four')
        expect(r.upstreamRequest!.text()).toBe(body === undefined ? '' : 'four')
      }
    }
  })

  test('of several requests on one connection are each its own', async () => {
    const methods = ['FOO', 'GET', 'BAR']
    const peer = new HttpPeer('http://10.0.0.1')
    const r = await inject(
      {
        upstreamPeer: peer,
        async requestFilter(session) {
          for (const method of methods) {
            const answer = await session.subrequest('/sub', { method, peer })
            await answer.text()
          }
        },
      },
      { upstream: ({ method }) => new Response(method) },
    )
    expect(r.error).toBeUndefined()
    expect(r.upstreamRequests.map(({ method }) => method)).toEqual([...methods, 'GET'])
  })

  test('CONNECT has no tunnel here', async () => {
    expect((await refusal({ method: 'CONNECT' })).message).toContain('a method but CONNECT')
  })
})

describe('bodies', () => {
  test.each(VERSIONS)('one that cannot even be begun is a client that gave up (%s)', async (version) => {
    const broken = new Error('the disk is gone')
    const body = {
      [Symbol.iterator]() {
        throw broken
      },
    } as Iterable<string>
    const r = await inject(logged, { version, method: 'POST', body, upstream: echo })
    expect([r.threw, r.error!.source]).toEqual([broken, 'downstream'])
  })

  test.each(VERSIONS)('one without end does not outlast the time of it all (%s)', async (version) => {
    function* now(): Generator<string> {
      for (;;) yield ''
    }
    async function* soon() {
      yield* now()
    }
    const given = [now, soon, () => ReadableStream.from(now()), () => ({ [Symbol.iterator]: () => ({ next: () => ({ done: false, value: '' }) }) })] // biome-ignore format: short
    for (const body of given) {
      const request = { version, method: 'POST', body: body() as Iterable<string>, timeoutMs: 100 }
      const error = await refusal(request)
      expect([error.code, error.message]).toEqual([
        'INJECT_TIMEOUT',
        expect.stringContaining('the next piece of the body of the request'),
      ])
      const answers = [() => ({ body: body() }), () => new Response(ReadableStream.from(body() as Iterable<never>))] // biome-ignore format: short
      for (const upstream of answers)
        expect((await refusal({ version, upstream, timeoutMs: 100 })).code).toBe('INJECT_TIMEOUT')
    }
  })

  test.each(VERSIONS)('one that does not go on is what was waited for (%s)', async (version) => {
    async function* stuck() {
      yield 'a'
      await new Promise(() => {})
    }
    const error = await refusal({ version, method: 'POST', body: stuck(), upstream: echo, timeoutMs: 100 })
    expect(error.message).toContain('it waited for the next piece of the body of the request')
  })

  test.each(VERSIONS)('a form is sent with its type (%s)', async (version) => {
    const body = new URLSearchParams({ a: '1 2', b: 'ü' })
    const request = {
      version,
      method: 'POST',
      body,
      upstream: async (r: Request) =>
        Response.json(Object.fromEntries((await r.formData()).entries() as Iterable<[string, string]>)),
    }
    const r = await inject(gateway, request)
    expect(r.response.json()).toEqual({ a: '1 2', b: 'ü' })
    expect(r.upstreamRequest!.headers.get('content-length')).toBe(String(body.toString().length))
    const typed = await inject(gateway, {
      ...request,
      headers: { 'Content-Type': 'text/plain' },
      upstream: echo,
    })
    expect(typed.upstreamRequest!.headers.get('content-type')).toBe('text/plain')
  })

  test.each([
    ['an object', {}],
    ['a number', 5],
    ['a Blob', new Blob(['x'])],
    ['an ArrayBuffer', new ArrayBuffer(1)],
    ['a Map', new Map([['a', 'b']])],
    ['numbers of 16 bits', new Uint16Array([1])],
    ['a DataView', new DataView(new ArrayBuffer(1))],
    ['form data', new FormData()],
    ['a stream that is read by another', locked()],
    ['a stream that has ended', Readable.from(['x']).destroy()],
  ])('%s is none', async (_name, body) => {
    const error = await refusal({ method: 'POST', body })
    expect([error.code, error.problems]).toEqual([
      'INVALID_OPTIONS',
      [{ path: 'body', found: body, allowed: expect.stringContaining('URLSearchParams') }],
    ])
  })

  test.each(VERSIONS)('a piece that is none is told with its place (%s)', async (version) => {
    async function* later() {
      yield 'a'
      await new Promise((resolve) => setTimeout(resolve, 10))
      yield { not: 'bytes' }
    }
    const bodies: [unknown, string][] = [
      [[5], 'body[0]: found 5'],
      [['a', 5], 'body[1]: found 5'],
      [new Set([undefined]), 'body[0]: found undefined'],
      [Readable.from([new Date(0)]), 'body[0]: found an object (Date)'],
      [later(), 'body[1]: found an object (Object)'],
    ]
    for (const [body, said] of bodies) {
      const error = await refusal({ version, method: 'POST', body, upstream: echo })
      expect([error.code, error.message]).toEqual(['INVALID_OPTIONS', expect.stringContaining(said)])
    }
  })

  test.each(VERSIONS)('what one throws is told, and its client has left (%s)', async (version) => {
    const gone = new Error('the disk is gone')
    async function* at(count: number, ms: number) {
      for (let piece = 0; piece < count; piece++) yield 'some'
      if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms))
      throw gone
    }
    const broken = () => new ReadableStream({ start: (controller) => controller.error(gone) })
    const bodies = [() => at(0, 0), () => at(1, 0), () => at(3, 0), () => at(1, 20), broken]
    for (const body of bodies)
      for (let run = 0; run < 5; run++) {
        const r = await inject(logged, { version, method: 'POST', body: body(), upstream: echo })
        expect(r.threw).toBe(gone)
        expect([r.response.status, r.error?.code]).toEqual([0, 'CLIENT_ABORTED'])
        expect(r.phases.map(({ phase }) => phase)).toEqual(['logging'])
      }
    const fine = await inject(logged, { version, method: 'POST', body: ['a'], upstream: echo })
    expect(fine.threw).toBeUndefined()
  })

  test('longer than what is kept are told as that, whoever sent them', async () => {
    const most = 64 * 1024 * 1024
    function* long() {
      for (let sent = 0; sent <= most; sent += 1024 * 1024) yield Buffer.alloc(1024 * 1024)
    }
    const response = await refusal({ upstream: () => ({ body: long() }) })
    expect([response.code, response.message]).toEqual([
      'INJECT_LIMIT',
      expect.stringContaining('the body of the response is longer than 64 MiB'),
    ])
    const request = await refusal({ method: 'POST', body: long(), upstream: () => 200 })
    expect([request.code, request.message]).toEqual([
      'INJECT_LIMIT',
      expect.stringContaining('the body of a request to upstream is longer than 64 MiB'),
    ])
  })

  test('of what has been sent are not given before they have come whole', async () => {
    const seen: unknown[] = []
    const r = await inject(gateway, {
      method: 'POST',
      body: Readable.from(['first', 'rest']),
      async upstream(request, sent) {
        for (const read of [() => sent.text(), () => sent.bytes(), () => sent.json()])
          try {
            seen.push(read())
          } catch (error) {
            seen.push((error as UsageError).code)
          }
        const text = await request.text()
        seen.push(sent.text() === text)
        return 200
      },
    })
    expect(seen).toEqual(['CANNOT_READ_BODY', 'CANNOT_READ_BODY', 'CANNOT_READ_BODY', true])
    expect(r.upstreamRequest!.text()).toBe('firstrest')
    await inject(gateway, { upstream: (_request, sent) => new Response(sent.text()) })
  })
})

describe('upstream', () => {
  test.each([[503], ['x'], [[]], [new Response('x')], [{}], [null]])('cannot be %s', async (upstream) => {
    const error = await refusal({ upstream })
    expect([error.code, error.problems.map(({ path, found }) => [path, found])]).toEqual([
      'INVALID_OPTIONS',
      [['upstream', upstream]],
    ])
    expect(error.message).toMatch(/upstream: found .*, allowed: a function, or a list/)
  })

  test('is told which statuses there are', async () => {
    const said = async (answer: unknown) => (await refusal({ upstream: () => answer })).message
    expect(await said(99)).toBe('upstream gave the status 99, which is no integer from 200 to 599')
    expect(await said({ interims: [{ status: 101 }] })).toMatch(
      /an interim response with the status 101: it may be an integer from 100 to 199, and not 101/,
    )
    expect(await said({ interims: [null] })).toMatch(/an interim response with the status undefined/)
    expect(await said({ interims: 5 })).toBe('upstream gave interims: 5, not a list')
  })
})

function locked(): ReadableStream {
  const stream = new ReadableStream()
  stream.getReader()
  return stream
}
