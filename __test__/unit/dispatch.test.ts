import { expect, test } from 'vitest'
import { ProxyError } from '../../ts/errors.js'
import type { RequestHeader, ResponseHeader } from '../../ts/head.js'
import { HttpPeer } from '../../ts/peer.js'
import { Phase } from '../../ts/phases.js'
import type { Session } from '../../ts/session.js'
import { BODY, CLOSED, codeOf, END, settle, setUp } from './fake.js'

test('phases of one crossing run in order, with session first and context last', () => {
  const calls: unknown[] = []
  const peer = new HttpPeer('127.0.0.1:82')
  const { addon, table } = setUp({
    newCtx: () => calls.push('newCtx'),
    earlyRequestFilter: (session, ctx) => void calls.push(['early', session.request.path, ctx]),
    requestFilter: (_session, ctx) => void calls.push(['filter', ctx]),
    upstreamPeer: () => peer,
  })
  const phases = ['earlyRequestFilter', 'requestFilter', 'upstreamPeer'] as const
  expect(addon.send({ phases: [...phases], request: { target: '/a?b=1' } })).toEqual([
    { slot: 0, seq: 1, result: 'done', phase: Phase.upstreamPeer, value: 1, a: '', b: '' },
  ])
  expect(calls).toEqual(['newCtx', ['early', '/a', 1], ['filter', 1]])
  expect(table.specs).toHaveLength(1)
  expect(addon.send({ seq: 2, phases: ['upstreamPeer'] })[0]?.value).toBe(1)
  expect(table.specs).toHaveLength(1)
})

test('an answer ends the crossing: later phases of it do not run, edits are not sent', () => {
  let ran = 0
  const { addon } = setUp({
    requestFilter: (session) => session.respond({ status: 403, headers: { 'X-A': ['1', '2'] }, body: 'né' }),
    proxyUpstreamFilter: () => void ran++,
    upstreamResponseFilter: (_session, response) => response.headers.set('x', 'y'),
    responseFilter: () => 502,
  })
  expect(
    addon.send({ phases: ['requestFilter', 'proxyUpstreamFilter', 'upstreamPeer'], request: {} }),
  ).toEqual([
    {
      slot: 0,
      seq: 1,
      result: 'answered',
      phase: Phase.requestFilter,
      value: 403,
      a: 'X-A\x001\nX-A\x002\ncontent-type\0text/plain; charset=utf-8\n',
      b: 'né',
    },
  ])
  expect(ran).toBe(0)
  const phases = ['upstreamResponseFilter', 'responseFilter'] as const
  const [record] = addon.send({ slot: 1, phases: [...phases], request: {}, head: '\na:b\n', status: 200 })
  expect(record).toMatchObject({ result: 'answered', phase: Phase.responseFilter, value: 502, a: '', b: '' })
})

test('a second answer is refused, and so is one where none is allowed', () => {
  const codes: unknown[] = []
  const { addon } = setUp({
    requestFilter(session) {
      session.respond(200)
      codes.push(codeOf(() => session.respond(200)))
    },
    upstreamRequestFilter: (session) => void codes.push(codeOf(() => session.respond(200))),
    responseFilter: (session) => void codes.push(codeOf(() => session.respond(200))),
  })
  addon.send({ phases: ['requestFilter'], request: {} })
  addon.send({ seq: 2, phases: ['upstreamRequestFilter'], head: '/\nGET\na\n' })
  addon.send({ seq: 3, phases: ['responseFilter'], head: '\n', status: 200, flags: 2 })
  expect(codes).toEqual(['ALREADY_ANSWERED', 'CANNOT_ANSWER', 'RESPONSE_STARTED'])
})

test('edits are read back at once, shared by the phases of a crossing, and go back as a list', () => {
  const seen: unknown[] = []
  const { addon } = setUp({
    upstreamResponseFilter(_session, { headers }) {
      headers.set('X-A', ['1', '2'])
      headers.append('set-cookie', 'c=3')
      headers.delete('b')
    },
    responseFilter(session, response) {
      response.status = 418
      seen.push([...response.headers], response.headers.getAll('Set-Cookie'), response.headers.get('x-a'))
      seen.push(response.headers.has('b'), session.response?.status)
    },
  })
  const head = '\nset-cookie:a=1\nb:0\nset-cookie:b=2\n'
  const phases = ['upstreamResponseFilter', 'responseFilter'] as const
  const [record] = addon.send({ phases: [...phases], request: {}, head, status: 200 })
  const cookies = ['a=1', 'b=2', 'c=3']
  const pairs = cookies.map((cookie) => ['set-cookie', cookie])
  expect(seen).toEqual([[...pairs, ['x-a', '1'], ['x-a', '2']], cookies, '1, 2', false, 418])
  expect(record?.a).toBe('=X-A\x001\n+X-A\x002\n+set-cookie\0c=3\n-b\0\nS\x00418\n')
})

test('method, target and host can be changed, and bad values are refused by name', () => {
  const { addon } = setUp({
    upstreamRequestFilter(_session: Session, request: RequestHeader) {
      expect([request.method, request.target, request.host]).toEqual(['GET', '/x', 'a.example'])
      request.method = 'POST'
      request.target = '/y'
      request.headers.set('host', 'b.example')
      expect(request.host).toBe('b.example')
      expect(() => request.headers.set('x-bad', 'a\r\nb')).toThrow(/x-bad/)
      for (const run of [
        () => request.headers.set('b d', 'x'),
        () => request.headers.set('content-length', '1'),
        () => request.headers.append('x', 'π'),
        () => {
          request.target = 'no slash'
        },
        () => {
          request.method = 'CONNECT'
        },
      ])
        expect(codeOf(run)).toBe('INVALID_HEADER')
    },
  })
  const [record] = addon.send({
    phases: ['upstreamRequestFilter'],
    request: {},
    head: '/x\nGET\na.example\nhost:a.example\n',
  })
  expect(record?.a).toBe('M\0POST\nT\0/y\nH\0b.example\n')
})

test('a header object that is kept throws after its phase, also its headers', () => {
  const kept: (RequestHeader | ResponseHeader)[] = []
  const { addon } = setUp({
    upstreamResponseFilter: (_session, response) => void kept.push(response),
    responseFilter(_session, response) {
      expect(codeOf(() => kept[0]?.headers)).toBe('PHASE_ENDED')
      kept.push(response)
      kept[1]?.headers.get('a')
    },
  })
  const phases = ['upstreamResponseFilter', 'responseFilter'] as const
  addon.send({ phases: [...phases], request: {}, head: '\na:b\n', status: 200 })
  for (const head of kept) expect(codeOf(() => head.headers)).toBe('PHASE_ENDED')
})

test('a session is readable until logging has settled, then every access throws', async () => {
  const kept: { session: Session; request: Session['request']; headers: Session['request']['headers'] }[] = []
  let finish = () => {}
  const { addon, entry, crossing } = setUp({
    requestFilter: (session) =>
      void kept.push({ session, request: session.request, headers: session.request.headers }),
    async logging(session, error) {
      expect(error).toBeUndefined()
      await new Promise<void>((resolve) => {
        finish = resolve
      })
      expect(session.timings).toEqual({ start: 1000, totalMs: 5 })
      expect(session.bytes).toEqual({ received: 10, sent: 20 })
      expect(session.summary()).toBe('127.0.0.1 GET a.example/ 204 20B 5.0ms')
    },
  })
  addon.send({ phases: ['requestFilter'], request: { fields: 'x-forwarded-for:1\nx-forwarded-for:2\n' } })
  const { session, request, headers } = kept[0]!
  expect(headers.get('X-Forwarded-For')).toBe('1, 2')
  const numbers = [1000, Number.NaN, Number.NaN, 5, 10, 20]
  expect(addon.send({ kind: END, seq: 2, phases: ['logging'], status: 204, numbers })).toEqual([])
  expect(session.response?.status).toBe(204)
  finish()
  await settle()
  expect(addon.take()).toMatchObject([{ slot: 0, result: 'free' }])
  for (const name of [
    'id',
    'request',
    'response',
    'client',
    'connection',
    'upstream',
    'signal',
    'timings',
    'bytes',
  ] as const)
    expect(codeOf(() => session[name])).toBe('SESSION_ENDED')
  for (const run of [
    () => request.path,
    () => headers.get('a'),
    () => [...headers],
    () => session.respond(200),
  ])
    expect(codeOf(run)).toBe('SESSION_ENDED')
  expect([entry.sessions, crossing.sessions]).toEqual([0, 0])
})

test('the next request of a slot has a session of its own', () => {
  const kept: (Session & { mine?: number })[] = []
  const { addon } = setUp({ requestFilter: (session) => void kept.push(session) })
  addon.send({ phases: ['requestFilter'], request: { target: '/first' } })
  kept[0]!.mine = 1
  addon.send({ kind: END })
  addon.send({ phases: ['requestFilter'], request: { target: '/second' } })
  expect(kept[1]).not.toBe(kept[0])
  expect([kept[1]?.mine, kept[1]?.request.path]).toEqual([undefined, '/second'])
  expect(codeOf(() => kept[0]?.request)).toBe('SESSION_ENDED')
})

test('END as the first item makes the session, its context, and logs', () => {
  const seen: unknown[] = []
  const { addon } = setUp({
    newCtx: () => 7,
    logging: (session, error, ctx) =>
      void seen.push([session.request.target, error?.code, error?.status, ctx]),
  })
  const error = 'BAD_REQUEST\ndownstream\n0\n400\n\nno host'
  const records = addon.send({ kind: END, phases: ['logging'], request: {}, error, status: 400 })
  expect(records).toMatchObject([{ result: 'free' }])
  expect(seen).toEqual([['/', 'BAD_REQUEST', 400, 7]])
})

test('decisions go back; a retry that is not safe is refused', () => {
  const decisions = ['retry', 'fail', undefined, 'retry'] as const
  let next = 0
  const { addon } = setUp({ errorWhileProxy: () => decisions[next++] })
  const error = (retry: number) => `READ_TIMEOUT\nupstream\n${retry}\n504\n\nslow`
  const send = (seq: number, retry: number) =>
    addon.send({
      seq,
      phases: ['errorWhileProxy'],
      error: error(retry),
      ...(seq === 1 ? { request: {} } : {}),
    })[0]
  expect([send(1, 1)?.value, send(2, 0)?.value, send(3, 0)?.value]).toEqual([1, 2, 0])
  expect(send(4, 0)).toMatchObject({ result: 'thrown', value: 500, phase: Phase.errorWhileProxy })
})

test('a connection has one object for all its requests, until it closes', () => {
  const seen: Session['connection'][] = []
  const { addon } = setUp({ requestFilter: (session) => void seen.push(session.connection) })
  const meta = (n: number) => ['id', '1.1', 'abcd::1', '1', '::1', '2', 'conn-9', String(n)]
  addon.send({ phases: ['requestFilter'], request: { meta: meta(1) } }, { kind: END })
  addon.send({ phases: ['requestFilter'], request: { meta: meta(2) } }, { kind: END, flags: 4 })
  addon.send({ phases: ['requestFilter'], request: { meta: meta(1) } })
  expect(seen[0]).toBe(seen[1])
  expect(seen[0]?.requests).toBe(2)
  expect(seen[2]).not.toBe(seen[0])
  addon.send({ kind: END }, { kind: CLOSED, upstream: 'conn-9' })
  addon.send({ phases: ['requestFilter'], request: { meta: meta(1) } })
  expect(seen[3]).not.toBe(seen[2])
})

test('a look-up never finds an address in place of a field', () => {
  const seen: unknown[] = []
  const { addon } = setUp({
    requestFilter: ({ request, client }) =>
      void seen.push(request.headers.get('abcd'), client, request.headers.get('host')),
  })
  const meta = ['id', '1.1', 'abcd::1', '1', '::1', '2', 'c', '1', 'abcd::2 3', '']
  addon.send({ phases: ['requestFilter'], request: { meta, fields: 'host:h\n' } })
  expect(seen).toEqual([undefined, { host: 'abcd::2', port: 3 }, 'h'])
})

test('more records than there is room for go out early', () => {
  const { addon } = setUp({ requestFilter: () => {} })
  const items = Array.from({ length: 10 }, (_, slot) => ({
    slot,
    phases: ['requestFilter' as const],
    request: {},
  }))
  expect(addon.send(...items).map(({ slot }) => slot)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  expect(addon.finishes).toBe(3)
})

test('a large answer grows the output', () => {
  const body = 'x'.repeat(3_000_000)
  const { addon } = setUp({ requestFilter: () => ({ status: 200, body }) })
  expect(addon.send({ phases: ['requestFilter'], request: {} })[0]?.b.length).toBe(body.length)
})

test('a Response is answered with, after its body has been read', async () => {
  const { addon } = setUp({
    requestFilter: () =>
      new Response('hello', {
        status: 201,
        headers: [
          ['set-cookie', 'a=1'],
          ['set-cookie', 'b=2'],
        ],
      }),
  })
  expect(addon.send({ phases: ['requestFilter'], request: {} })).toEqual([])
  await settle()
  const [record] = addon.take()
  expect(record).toMatchObject({ result: 'answered', value: 201, b: 'hello' })
  expect(record?.a).toContain('set-cookie\0a=1\nset-cookie\0b=2\n')
})

test('log lines go to the logger of their server, by level', () => {
  const { addon, lines } = setUp({})
  const record = (level: string, server: number, message: string) => ({
    ...{ server, level, message, time: 1 },
    ...{ names: ['code'], values: ['A'] },
  })
  addon.logged([record('warn', 1, 'one'), record('error', 0, 'two'), record('warn', 2, 'four')])
  expect(lines).toEqual(['warn one', 'error two'])
})

test('the error of a phase is the very object it threw', () => {
  const mine = new ProxyError({ status: 429, headers: { 'retry-after': '1' } })
  const seen: unknown[] = []
  const { addon } = setUp({
    requestFilter() {
      throw mine
    },
    failToProxy: (_session, error) => void seen.push(error),
    logging: (_session, error) => void seen.push(error),
  })
  expect(addon.send({ phases: ['requestFilter'], request: {} })).toMatchObject([
    {
      result: 'thrown',
      value: 429,
      phase: Phase.requestFilter,
      a: 'retry-after\x001\n',
      b: 'PHASE_FAILED\nPHASE_FAILED',
    },
  ])
  const error = 'PHASE_FAILED\ninternal\n0\n429\nrequestFilter\nx'
  addon.send({ seq: 2, phases: ['failToProxy'], error })
  addon.send({ seq: 3, kind: END, phases: ['logging'], error })
  expect(seen).toEqual([mine, mine])
  expect(mine.phase).toBe('requestFilter')
})

test('a connection that closes does not end a body that has slot 0', async () => {
  const { addon } = setUp({ responseBodyFilter: async (_session, chunk: Buffer) => `${chunk}!` })
  addon.send({ slot: 1, request: {} })
  addon.send({ slot: 0, kind: BODY, seq: 5, phases: ['responseBodyFilter'], parent: 1, piece: 'piece' })
  expect(addon.send({ kind: CLOSED, seq: 0, upstream: 'c2' })).toEqual([])
  await settle()
  expect(addon.take()).toEqual([expect.objectContaining({ slot: 0, seq: 5, result: 'done', b: 'piece!' })])
})
