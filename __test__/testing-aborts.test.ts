// Clients that leave, origins that cut, and times that run out, as `inject` tells of them.
import { expect, test } from 'vitest'
import { definePhases, HttpPeer, type Session } from '../ts/index.js'
import { inject } from '../ts/testing/index.js'
import { deferred } from './support/proxy.js'

const VERSIONS = ['h1', 'h2'] as const
const peer = new HttpPeer('http://10.0.0.1', { readTimeoutMs: 100 })
const patient = new HttpPeer('http://10.0.0.1')

test.each(VERSIONS)('a client that leaves while a phase runs is told to it (%s)', async (version) => {
  const client = new AbortController()
  const fired = deferred<unknown>()
  const phases = definePhases({
    upstreamPeer: patient,
    async requestFilter(session: Session) {
      session.signal.addEventListener('abort', () => fired.resolve(session.signal.reason))
      client.abort()
      await fired.promise
    },
    logging: () => {},
  })
  const r = await inject(phases, { version, signal: client.signal })
  expect(await fired.promise).toMatchObject({ code: 'CLIENT_ABORTED' })
  expect(r.error).toMatchObject({ code: 'CLIENT_ABORTED', source: 'downstream', status: 499 })
  expect([r.response.status, r.response.complete, r.upstreamRequest]).toEqual([0, false, undefined])
  expect(r.phases.map(({ phase }) => phase)).toContain('logging')
})

test.each(VERSIONS)(
  'a client that leaves while upstream is at work ends its request too (%s)',
  async (version) => {
    for (const protocol of ['h1', 'h2'] as const) {
      const client = new AbortController()
      const left = deferred()
      const r = await inject(
        { upstreamPeer: new HttpPeer('http://10.0.0.1', { protocol }) },
        {
          version,
          signal: client.signal,
          upstream: async ({ signal }) => {
            signal.addEventListener('abort', () => left.resolve())
            client.abort()
            await left.promise
            return 200
          },
        },
      )
      await left.promise
      expect([r.error!.code, r.response.status, r.upstreamRequests.length]).toEqual(['CLIENT_ABORTED', 0, 1])
    }
  },
)

test.each(VERSIONS)(
  'a client that leaves in the middle of the response has what came (%s)',
  async (version) => {
    const client = new AbortController()
    const cancelled = deferred()
    async function* endless() {
      try {
        for (let at = 0; ; at++) {
          yield `${at} `
          if (at === 20) client.abort()
          await new Promise((resolve) => setTimeout(resolve, 2))
        }
      } finally {
        cancelled.resolve()
      }
    }
    const r = await inject(
      { upstreamPeer: patient },
      { version, signal: client.signal, upstream: () => ({ body: endless() }) },
    )
    await cancelled.promise
    expect([r.response.status, r.response.complete]).toEqual([200, false])
    expect(r.response.text()).toMatch(/^0 1 2 /)
    expect(r.error!.code).toBe('CLIENT_ABORTED')
  },
)

test.each(VERSIONS)(
  'a client whose signal has fired leaves as soon as it has asked (%s)',
  async (version) => {
    for (const body of [undefined, 'whole', endless()])
      for (let run = 0; run < 10; run++) {
        const r = await inject(
          { upstreamPeer: patient, logging: () => {} },
          { version, method: 'POST', ...(body && { body }), signal: AbortSignal.abort(), upstream: never },
        )
        expect([r.response.status, r.error?.code]).toEqual([0, 'CLIENT_ABORTED'])
        expect(r.phases.map(({ phase }) => phase)).toEqual(['logging'])
      }
  },
)

test.each(VERSIONS)('what comes for a client that has left is not told (%s)', async (version) => {
  for (const body of ['hello', undefined])
    for (let run = 0; run < 25; run++) {
      const r = await inject(
        { upstreamPeer: patient, newCtx: () => ({}), logging: () => {} },
        {
          version,
          method: 'POST',
          ...(body && { body }),
          signal: AbortSignal.abort(),
          upstream: async (request) => {
            await request.text()
            return new Response('hi', { status: 201 })
          },
        },
      )
      expect([r.response.status, r.error?.code]).toEqual([0, 'CLIENT_ABORTED'])
    }
})

test.each(VERSIONS)('a client that leaves in a phase, or in upstream, gets nothing (%s)', async (version) => {
  for (const place of ['requestFilter', 'upstreamRequestFilter', 'upstream'])
    for (let run = 0; run < 25; run++) {
      const client = new AbortController()
      const at = (here: string) => {
        if (here === place) client.abort()
      }
      const r = await inject(
        {
          upstreamPeer: () => patient,
          requestFilter: () => at('requestFilter'),
          upstreamRequestFilter: () => at('upstreamRequestFilter'),
        },
        {
          version,
          method: 'POST',
          body: 'hello',
          signal: client.signal,
          upstream() {
            at('upstream')
            return new Response('hi', { status: 201 })
          },
        },
      )
      expect([place, r.response.status, [...r.response.headers], r.error?.code]).toEqual([
        place,
        0,
        [],
        'CLIENT_ABORTED',
      ])
    }
})

async function* endless() {
  for (;;) yield await new Promise<string>((resolve) => setTimeout(resolve, 5, 'more'))
}

const never = () => new Promise<never>(() => {})

test.each(VERSIONS)('a body of the request that fails is a client that gave up (%s)', async (version) => {
  async function* broken() {
    yield 'some'
    await new Promise((resolve) => setTimeout(resolve, 20))
    throw new Error('the disk is gone')
  }
  const r = await inject(
    { upstreamPeer: patient },
    {
      version,
      method: 'POST',
      body: broken(),
      upstream: async (request) => new Response(await request.text()),
    },
  )
  expect(r.error!.source).toBe('downstream')
  expect([r.upstreamRequest!.complete, r.response.complete]).toEqual([false, r.response.status !== 0])
})

test.each(VERSIONS)('an origin that cuts its answer cuts the client’s (%s)', async (version) => {
  for (const protocol of ['h1', 'h2'] as const) {
    async function* half() {
      yield 'half'
      await new Promise((resolve) => setTimeout(resolve, 20))
      throw new Error('out of memory')
    }
    const r = await inject(
      { upstreamPeer: new HttpPeer('http://10.0.0.1', { protocol }) },
      { version, upstream: () => ({ headers: { 'content-length': '100' }, body: half() }) },
    )
    expect([r.response.status, r.response.complete, r.response.text()]).toEqual([200, false, 'half'])
    expect(r.error).toMatchObject({ code: 'UPSTREAM_CLOSED', source: 'upstream' })
    expect(r.upstreamRequest!.threw).toMatchObject({ message: 'out of memory' })
  }
})

test('an origin that does not answer runs into the time of its peer', async () => {
  const r = await inject({ upstreamPeer: peer }, { upstream: () => new Promise(() => {}) })
  expect([r.error!.code, r.response.status]).toEqual(['READ_TIMEOUT', 504])
})

test('an origin that is wrong about its length is found out', async () => {
  const r = await inject(
    { upstreamPeer: peer },
    { upstream: () => ({ headers: { 'content-length': '9' }, body: 'four' }) },
  )
  expect([r.response.complete, r.error!.code]).toEqual([false, 'READ_TIMEOUT'])
})

test('limits hold as for any client', async () => {
  const large = await inject(
    { upstreamPeer: patient },
    { method: 'POST', body: 'x'.repeat(100) },
    { maxRequestBodyBytes: 10 },
  )
  expect([large.response.status, large.error!.code]).toEqual([413, 'BODY_TOO_LARGE'])
  const head = await inject({ upstreamPeer: patient }, { headers: { a: 'x'.repeat(70_000) } })
  expect([head.response.status, head.error!.code, head.upstreamRequest]).toEqual([
    431,
    'HEADER_TOO_LARGE',
    undefined,
  ])
  const expired = await inject(
    { upstreamPeer: patient },
    { upstream: () => new Promise(() => {}) },
    { requestTimeoutMs: 50 },
  )
  expect([expired.response.status, expired.error!.code]).toEqual([504, 'REQUEST_EXPIRED'])
  const framing = await inject(
    { upstreamPeer: patient },
    { method: 'POST', headers: { 'content-length': '1', 'transfer-encoding': 'chunked' }, body: 'x' },
  )
  expect([framing.response.status, framing.error!.code]).toEqual([400, 'BAD_REQUEST'])
})

test('large bodies go both ways, over both versions', async () => {
  const body = Buffer.alloc(2_000_000, 'millrace ')
  for (const version of VERSIONS)
    for (const protocol of ['h1', 'h2'] as const) {
      const upstreamPeer = new HttpPeer('http://10.0.0.1', { protocol })
      const r = await inject(
        { upstreamPeer },
        { version, method: 'POST', body, upstream: ({ body }) => ({ body: body! }) },
      )
      expect(r.response.bytes().equals(body)).toBe(true)
      expect(r.upstreamRequest!.bytes().equals(body)).toBe(true)
    }
})

test('HEAD, and statuses without a body, have none', async () => {
  const head = await inject({ upstreamPeer: patient }, { method: 'HEAD', upstream: () => ({ body: 'four' }) })
  expect([head.response.status, head.response.headers.get('content-length'), head.response.text()]).toEqual([
    200,
    '4',
    '',
  ])
  for (const status of [204, 304]) {
    const r = await inject({ upstreamPeer: patient }, { upstream: () => ({ status, body: 'ignored' }) })
    expect([r.response.status, r.response.text(), r.response.complete, r.error]).toEqual([
      status,
      '',
      true,
      undefined,
    ])
  }
})

test('a client that waits for 100 sends its body then, or not at all', async () => {
  const request = { method: 'POST', headers: { expect: '100-continue' }, body: 'late' }
  const passed = await inject(
    { upstreamPeer: patient },
    { ...request, upstream: async (r) => new Response(await r.text()) },
  )
  expect([passed.response.text(), passed.response.interims.map(({ status }) => status)]).toEqual([
    'late',
    [100],
  ])
  const refused = await inject({ upstreamPeer: patient, requestFilter: () => 403 }, request)
  expect([refused.response.status, refused.response.interims]).toEqual([403, []])
})

test('a request for an upgrade is answered by upstream like any other', async () => {
  const r = await inject(
    { upstreamPeer: patient },
    {
      headers: { connection: 'upgrade', upgrade: 'websocket', 'sec-websocket-version': '13' },
      upstream: () => 426,
    },
  )
  expect(r.response.status).toBe(426)
  expect(r.upstreamRequest!.headers.get('upgrade')).toBe('websocket')
})

test.each(VERSIONS)('an answer waits for the whole request, or does not (%s)', async (version) => {
  for (const early of [false, true]) {
    const order: string[] = []
    const answered = deferred()
    const phases = definePhases({
      upstreamPeer: patient,
      responseFilter() {
        order.push('answer')
        answered.resolve()
      },
    })
    async function* body() {
      yield 'first'
      // The rest comes when there is an answer, or when it can be seen that there is none.
      await (early ? answered.promise : new Promise((resolve) => setTimeout(resolve, 30)))
      order.push('rest')
      yield 'rest'
    }
    const r = await inject(phases, {
      version,
      method: 'POST',
      body: body(),
      upstream: () => ({ body: 'ok', early }),
    })
    expect([r.response.text(), order]).toEqual(['ok', early ? ['answer', 'rest'] : ['rest', 'answer']])
    if (!early) expect(r.upstreamRequest!.text()).toBe('firstrest')
  }
})
