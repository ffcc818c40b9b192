// What `inject` tells of each phase, and of what goes wrong.
import { describe, expect, test, vi } from 'vitest'
import {
  type AnyPhases,
  definePhases,
  HttpPeer,
  type HttpProxyOptions,
  PHASES,
  type PhaseName,
  ProxyError,
  UsageError,
} from '../ts/index.js'
import { type Injected, type InjectRequest, inject, type PhaseCall } from '../ts/testing/index.js'

const peer = new HttpPeer('http://10.0.0.1', { connectTimeoutMs: 50 })
const refused = () => {
  throw Object.assign(new Error('nobody listens'), { code: 'ECONNREFUSED' })
}
const cut = () => {
  throw new Error('cut')
}

/** A request that comes to a phase, and how the world has to be for that. */
const WAYS: Record<PhaseName, InjectRequest> = {
  newCtx: {},
  earlyRequestFilter: {},
  requestFilter: {},
  proxyUpstreamFilter: {},
  upstreamPeer: {},
  failToConnect: { connect: refused },
  connectedToUpstream: {},
  upstreamRequestFilter: {},
  requestBodyFilter: { method: 'POST', body: 'body' },
  upstreamResponseFilter: {},
  responseFilter: {},
  upstreamResponseBodyFilter: { upstream: () => new Response('body') },
  responseBodyFilter: { upstream: () => new Response('body') },
  upstreamResponseTrailerFilter: { upstream: () => ({ body: 'x', trailers: { a: '1' } }) },
  responseTrailerFilter: {
    headers: { te: 'trailers' },
    upstream: () => ({ body: 'x', trailers: { a: '1' } }),
  },
  errorWhileProxy: { upstream: cut },
  failToProxy: { upstream: cut },
  logging: {},
  interimResponseFilter: { upstream: () => ({ interims: [{ status: 103 }] }) },
}

const withPhase = (name: PhaseName, call: (...args: unknown[]) => unknown) =>
  ({
    upstreamPeer: peer,
    ...(name === 'newCtx' ? { responseFilter: () => {} } : {}),
    [name]: call,
  }) as unknown as AnyPhases
const run = (name: PhaseName, call: (...args: unknown[]) => unknown, options?: HttpProxyOptions) =>
  inject(withPhase(name, call), WAYS[name], options) as Promise<Injected>
const callsOf = ({ phases }: Injected, name: PhaseName) => phases.filter(({ phase }) => phase === name)

describe.each(PHASES)('%s', (name) => {
  const value = name === 'upstreamPeer' ? peer : undefined
  const outcome = name === 'upstreamPeer' ? 'peer' : 'next'

  test('is told of when it is called', async () => {
    for (const call of name === 'newCtx' ? [() => value] : [() => value, async () => value]) {
      const called = vi.fn(call)
      const r = await run(name, called)
      expect(callsOf(r, name).length).toBe(called.mock.calls.length)
      expect(called, String(r.error)).toHaveBeenCalled()
      expect(r.phases[0]).toMatchObject({ phase: name, part: 0, attempt: 1, outcome })
      expect(r.phases[0]!.returned).toBe(value)
      expect(r.skipped).toEqual([])
    }
  })

  test('is told of when it throws, and so is what comes of it', async () => {
    const thrown = new Error('thrown')
    const calls = [
      () => {
        throw thrown
      },
      ...(name === 'newCtx' ? [] : [() => Promise.reject(thrown)]),
    ]
    for (const call of calls) {
      const r = await run(name, call)
      expect(callsOf(r, name)[0]).toMatchObject({ outcome: 'threw', threw: thrown })
      if (name === 'logging') {
        expect(r.error).toBeUndefined()
        expect(r.log).toMatchObject([{ level: 'error', line: expect.stringContaining('thrown') }])
      } else if (name === 'failToProxy') {
        // The failure that it was called for stays the one that is told.
        expect(r.error!.code).toBe('UPSTREAM_CLOSED')
        expect(r.response.status).toBe(502)
      } else {
        expect(r.error).toMatchObject({ code: 'PHASE_FAILED', phase: name, cause: thrown })
        // 200 where the head was gone; then not all of it came.
        expect([500, 200]).toContain(r.response.status)
        expect(r.response.complete).toBe(r.response.status === 500)
      }
    }
  })
})

test('newCtx is called for those requests that a phase is called for, as in production', async () => {
  const newCtx = vi.fn(() => ({}))
  const without = await inject({ upstreamPeer: peer, newCtx })
  expect([without.response.status, without.phases, without.skipped]).toEqual([200, [], ['newCtx']])
  const logging = vi.fn()
  const filtered = definePhases({
    upstreamPeer: peer,
    newCtx,
    logging: { match: { path: '/logged' }, handler: logging },
  })
  for (const phases of [filtered, [filtered]] as const) {
    const other = await inject(phases as typeof filtered, { target: '/other' })
    expect([other.phases, other.skipped]).toEqual([[], ['newCtx', 'logging']])
    expect([newCtx.mock.calls.length, logging.mock.calls.length]).toEqual([0, 0])
  }
  const logged = await inject(filtered, { target: '/logged' })
  expect(logged.phases.map(({ phase }) => phase)).toEqual(['newCtx', 'logging'])
})

test('phases are in the order in which they are called', async () => {
  const all = Object.fromEntries(
    PHASES.map((name) => [name, () => (name === 'upstreamPeer' ? peer : undefined)]),
  )
  const r = await inject(all as unknown as AnyPhases, {
    method: 'POST',
    headers: { te: 'trailers' },
    body: 'body',
    upstream: async (request) => {
      await request.text()
      return { body: 'body', trailers: { a: '1' }, interims: [{ status: 103 }] }
    },
  })
  const names = r.phases.map(({ phase }) => phase).filter((name) => !/Body/.test(name))
  expect(names).toEqual([
    'newCtx',
    'earlyRequestFilter',
    'requestFilter',
    'proxyUpstreamFilter',
    'upstreamPeer',
    'connectedToUpstream',
    'upstreamRequestFilter',
    'interimResponseFilter',
    'upstreamResponseFilter',
    'responseFilter',
    'upstreamResponseTrailerFilter',
    'responseTrailerFilter',
    'logging',
  ])
  expect(r.skipped).toEqual(['failToConnect', 'errorWhileProxy', 'failToProxy'])
  expect(r.response.trailers.get('a')).toBe('1')
})

test.each([
  ['its value', () => ({ status: 401, body: 'who are you?' })],
  ['the value of its promise', async () => new Response('who are you?', { status: 401 })],
  [
    'session.respond',
    (session: { respond(answer: object): void }) => session.respond({ status: 401, body: 'who are you?' }),
  ],
] as const)('an early answer by %s is told as one', async (_how, requestFilter) => {
  const phases = definePhases({
    requestFilter: requestFilter as () => 401,
    upstreamPeer: () => peer,
    responseFilter: () => {},
    logging: () => {},
  })
  const r = await inject(phases)
  expect([r.response.status, r.response.text()]).toEqual([401, 'who are you?'])
  expect(r.phases.map(({ phase, outcome }) => [phase, outcome])).toEqual([
    ['requestFilter', 'answered'],
    ['logging', 'next'],
  ])
  expect(r.skipped).toEqual(['upstreamPeer', 'responseFilter'])
  expect([r.peer, r.upstreamRequest, r.error]).toEqual([undefined, undefined, undefined])
})

test('an answer in the place of the origin’s, and one to a failure, are told as such', async () => {
  const replaced = await inject(
    definePhases({
      upstreamPeer: peer,
      upstreamResponseFilter: () => {},
      responseFilter: (_s, { status }) => (status === 500 ? 503 : undefined),
    }),
    { upstream: () => 500 },
  )
  expect(replaced.response.status).toBe(503)
  expect(replaced.phases.map(({ outcome }) => outcome)).toEqual(['next', 'answered'])
  const page = await inject(
    definePhases({ upstreamPeer: peer, failToProxy: (_s, error) => ({ status: 502, body: error.code }) }),
    { connect: refused },
  )
  expect([page.response.text(), page.error!.code]).toEqual(['CONNECT_REFUSED', 'CONNECT_REFUSED'])
  expect(page.phases).toMatchObject([{ phase: 'failToProxy', outcome: 'answered' }])
})

test('what a ProxyError of a phase says is answered', async () => {
  const error = new ProxyError({ status: 429, headers: { 'retry-after': '1' }, message: 'slowly' })
  const r = await run('requestFilter', () => {
    throw error
  })
  expect(r.error).toBe(error)
  expect([r.response.status, r.response.headers.get('retry-after')]).toEqual([429, '1'])
  expect(r.response.text()).toContain('slowly')
})

test.each([
  ['ECONNREFUSED', 'CONNECT_REFUSED', 502],
  ['CONNECT_REFUSED', 'CONNECT_REFUSED', 502],
  ['ETIMEDOUT', 'CONNECT_TIMEOUT', 504],
  ['ENOTFOUND', 'DNS_FAILED', 502],
  ['TLS_FAILED', 'TLS_FAILED', 502],
  ['CERT_HAS_EXPIRED', 'TLS_FAILED', 502],
  ['EHOSTUNREACH', 'CONNECT_FAILED', 502],
  [undefined, 'CONNECT_FAILED', 502],
])('a connection that fails with %s is %s', async (code, expected, status) => {
  for (const protocol of ['h1', 'h2'] as const) {
    const r = await inject(
      { upstreamPeer: new HttpPeer('http://10.0.0.1', { protocol }) },
      { connect: () => Promise.reject(Object.assign(new Error('the reason'), { code })) },
    )
    expect([r.error!.code, r.response.status, r.upstreamRequest]).toEqual([expected, status, undefined])
    expect(r.error!.message).toContain('the reason')
    expect(r.error!.canRetry).toBe(true)
  }
})

test('a connection that is never made runs into the time of its peer', async () => {
  const r = await inject({ upstreamPeer: peer }, { connect: () => new Promise(() => {}) })
  expect([r.error!.code, r.response.status]).toEqual(['CONNECT_TIMEOUT', 504])
})

test('retries lead to the next peer, and each try is told', async () => {
  const second = new HttpPeer('10.0.0.2:80')
  const phases = definePhases({
    newCtx: () => ({ tries: 0 }),
    upstreamPeer: (_s, ctx) => (ctx.tries++ === 0 ? peer : second),
    failToConnect: () => 'retry',
    errorWhileProxy: (_s, _peer, error) => (error.canRetry ? 'retry' : 'fail'),
  })
  const asked: unknown[] = []
  const r = await inject(phases, {
    connect(to, number) {
      asked.push([to, number])
      if (number === 1) refused()
    },
    upstream: [cut, () => new Response('at last')],
  })
  expect(r.response.text()).toBe('at last')
  expect(r.ctx.tries).toBe(3)
  expect(asked).toEqual([[peer, 1], [second, 2], [second, 3]]) // biome-ignore format: short
  expect(r.phases.map(({ phase, attempt, outcome }) => `${attempt} ${phase} ${outcome}`)).toEqual([
    '1 newCtx next',
    '1 upstreamPeer peer',
    '1 failToConnect retry',
    '2 upstreamPeer peer',
    '2 errorWhileProxy retry',
    '3 upstreamPeer peer',
  ])
  expect(r.upstreamRequests.map(({ number, peer, threw }) => [number, peer, threw !== undefined])).toEqual([
    [1, second, true],
    [2, second, false],
  ])
  expect(r.upstreamRequest).toBe(r.upstreamRequests[1])
  expect(r.peer).toBe(second)
})

test('what may have been carried out is not tried again', async () => {
  const phases = definePhases({ upstreamPeer: peer, errorWhileProxy: () => 'retry' })
  const r = await inject(phases, { method: 'POST', body: 'x', upstream: cut })
  expect([r.error!.code, r.upstreamRequests.length]).toEqual(['RETRY_UNSAFE', 1])
  expect(r.phases).toMatchObject([{ phase: 'errorWhileProxy', outcome: 'retry' }])
})

describe('body phases', () => {
  const pieces = (calls: readonly PhaseCall[]) =>
    calls.map(({ chunk, end, outcome }) => `${chunk}|${end ? 'end' : 'more'}|${outcome}`)

  test('are told with each piece and what became of it', async () => {
    const phases = definePhases({
      upstreamPeer: peer,
      requestBodyFilter: (_s, chunk) => chunk.toString().toUpperCase(),
      responseBodyFilter: (_s, chunk, end) => (end ? undefined : chunk.includes('secret') ? null : undefined),
    })
    async function* slowly() {
      yield 'one'
      await new Promise((resolve) => setTimeout(resolve, 20))
      yield 'secret'
      await new Promise((resolve) => setTimeout(resolve, 20))
      yield 'two'
    }
    const r = await inject(phases, {
      method: 'POST',
      body: 'hello',
      upstream: async (request) => ({ headers: { 'x-got': await request.text() }, body: slowly() }),
    })
    expect([r.upstreamRequest!.text(), r.response.headers.get('x-got')]).toEqual(['HELLO', 'HELLO'])
    expect(r.response.text()).toBe('onetwo')
    const request = r.phases.filter(({ phase }) => phase === 'requestBodyFilter')
    expect(pieces(request)[0]).toMatch(/^hello\|(?:end|more)\|replaced$/)
    const response = pieces(r.phases.filter(({ phase }) => phase === 'responseBodyFilter'))
    expect(response).toContain('secret|more|dropped')
    expect(response.at(-1)).toMatch(/\|end\|next$/)
  })

  test('may end the body, or throw in the middle of it', async () => {
    const ended = await inject(
      definePhases({
        upstreamPeer: peer,
        responseBodyFilter: () => ({ chunk: 'short', end: true }) as const,
      }),
      { upstream: () => new Response('something long') },
    )
    expect([ended.response.text(), ended.phases[0]!.outcome]).toEqual(['short', 'ended'])
    const thrown = await run('responseBodyFilter', () => Promise.reject(new Error('no')))
    expect([thrown.response.complete, thrown.error!.code]).toEqual([false, 'PHASE_FAILED'])
  })

  test('do not lose the piece when the phase keeps or changes it', async () => {
    const r = await run('responseBodyFilter', (_s, chunk) => {
      ;(chunk as Buffer).fill(0)
      return 'kept'
    })
    expect(r.phases[0]!.chunk!.toString()).toBe('body')
    expect(r.response.text()).toContain('kept')
  })
})

test('a transformed body is whole', async () => {
  const phases = definePhases({
    upstreamPeer: peer,
    responseFilter: (_s, response) => void response.transformBody({}, (body) => `<${body}>`),
  })
  const r = await inject(phases, { upstream: () => new Response('x'.repeat(100_000)) })
  expect(r.response.text()).toBe(`<${'x'.repeat(100_000)}>`)
})

test('interim responses may be changed and dropped', async () => {
  const r = await inject(
    definePhases({
      upstreamPeer: peer,
      interimResponseFilter: (_s, { headers }) =>
        headers.has('x-drop') ? null : void headers.set('x-a', '1'),
    }),
    { upstream: () => ({ interims: [{ status: 103, headers: { 'x-drop': '1' } }, { status: 103 }] }) },
  )
  expect(r.phases.map(({ outcome }) => outcome)).toEqual(['dropped', 'next'])
  expect(r.response.interims.map(({ headers }) => headers.get('x-a'))).toEqual(['1'])
})

test('what a phase must not return is PHASE_RETURN', async () => {
  const r = await run('upstreamPeer', () => 'http://10.0.0.1')
  expect(r.phases[0]).toMatchObject({ outcome: 'refused', returned: 'http://10.0.0.1' })
  expect(r.error!.code).toBe('PHASE_RETURN')
  const ctx = await run('newCtx', async () => ({}))
  expect(ctx.error!.code).toBe('PHASE_RETURN')
  expect(ctx.phases[0]!.outcome).toBe('refused')
})

test.each(PHASES)(
  '%s: the outcome is `refused` where the request failed with PHASE_RETURN, and only there',
  async (name) => {
    const values = [
      undefined,
      null,
      Symbol('x'),
      'retry',
      'x',
      204,
      {},
      { end: true },
      { end: true, more: 1 },
      peer,
    ]
    for (const value of values)
      for (const call of [() => value, async () => value]) {
        const r = await run(name, call)
        const outcomes = callsOf(r, name).map(({ outcome }) => outcome)
        // What failToProxy returns is logged, and the request has failed before.
        const isRefused = [r.error?.code, ...r.log.map(({ line }) => line)].some((one) =>
          /PHASE_RETURN|failToProxy returned/.test(one ?? ''),
        )
        expect([String(value), outcomes.includes('refused'), r.error?.code]).toEqual([
          String(value),
          isRefused,
          r.error?.code,
        ])
      }
  },
)

test('a phase that never settles runs into callbackTimeoutMs, or into the time of inject', async () => {
  const never = () => new Promise(() => {})
  const slow = await run('requestFilter', never, { callbackTimeoutMs: 50 })
  expect([slow.error!.code, slow.phases[0]!.outcome]).toEqual(['PHASE_TIMEOUT', 'unsettled'])
  const late = inject(withPhase('requestFilter', never), { timeoutMs: 100 })
  const error = (await late.catch((error: unknown) => error)) as UsageError
  expect(error).toBeInstanceOf(UsageError)
  expect([error.code, error.message]).toEqual([
    'INJECT_TIMEOUT',
    'the request did not end in 100 ms: it waited for requestFilter, whose promise has not settled',
  ])
  const upstream = inject(
    withPhase('requestFilter', () => {}),
    { timeoutMs: 100, upstream: () => new Promise(() => {}) },
  )
  await expect(upstream).rejects.toThrow('it waited for the response')
})

test('logging is waited for', async () => {
  let done = false
  const r = await run('logging', async () => {
    await new Promise((resolve) => setTimeout(resolve, 50))
    done = true
  })
  expect([done, r.phases[0]!.outcome]).toEqual([true, 'next'])
})

test('a thenable is asked once', async () => {
  let asked = 0
  const lazy = {
    // biome-ignore lint/suspicious/noThenProperty: that is what it is about
    then(resolve: (value: unknown) => void) {
      asked++
      resolve(204)
    },
  }
  const r = await run('requestFilter', () => lazy)
  expect([r.response.status, r.phases[0]!.outcome, asked]).toEqual([204, 'answered', 1])
})
