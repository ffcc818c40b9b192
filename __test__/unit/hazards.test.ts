import { expect, test, vi } from 'vitest'
import type { ProxyError } from '../../ts/errors.js'
import { Phase } from '../../ts/phases.js'
import type { Session } from '../../ts/session.js'
import { ABORT, END, settle, setUp } from './fake.js'

test('a throw is told with its code and phase, and hurts no other item of the batch', () => {
  const boom = new Error('boom')
  let cause: unknown
  const { addon } = setUp({
    requestFilter({ request }) {
      if (request.path === '/bad') throw boom
    },
    logging: (_session, error) => {
      cause = error?.cause
    },
  })
  const records = addon.send(
    { slot: 0, phases: ['requestFilter'], request: { target: '/bad' } },
    { slot: 1, phases: ['requestFilter'], request: { target: '/good' } },
  )
  expect(records).toMatchObject([
    { slot: 0, result: 'thrown', phase: Phase.requestFilter, value: 0, a: '' },
    { slot: 1, result: 'done' },
  ])
  expect(records[0]?.b).toMatch(/^PHASE_FAILED\nrequestFilter: Error: boom \(at .*hazards\.test\.ts/)
  addon.send({
    seq: 2,
    kind: END,
    phases: ['logging'],
    error: 'PHASE_FAILED\ninternal\n0\n500\nrequestFilter\nboom',
  })
  expect(cause).toBe(boom)
})

test.each([
  ['a string', 'nope'],
  ['null', null],
  ['undefined', undefined],
  ['a revoked proxy', revoked()],
  ['an object whose getters throw', Object.defineProperty({}, 'statusCode', { get: () => fail() })],
])('a throw of %s is a PHASE_FAILED', (_name, thrown) => {
  const { addon, lines } = setUp({
    requestFilter() {
      throw thrown
    },
  })
  const [record] = addon.send({ phases: ['requestFilter'], request: {} })
  expect(record).toMatchObject({ result: 'thrown', value: 0 })
  expect(record?.b).toMatch(/^PHASE_FAILED\nrequestFilter: /)
  expect(lines).toEqual([])
})

test('an error with a statusCode is answered with it', () => {
  const { addon } = setUp({
    requestFilter() {
      throw Object.assign(new Error('secret'), { statusCode: 404 })
    },
  })
  expect(addon.send({ phases: ['requestFilter'], request: {} })).toMatchObject([
    { result: 'thrown', value: 404, a: '' },
  ])
})

test('a rejection is told as a throw is', async () => {
  const { addon } = setUp({
    async requestFilter() {
      await null
      throw new Error('later')
    },
  })
  expect(addon.send({ phases: ['requestFilter'], request: {} })).toEqual([])
  await settle()
  expect(addon.take()).toMatchObject([{ result: 'thrown', phase: Phase.requestFilter }])
})

test.each([
  'earlyRequestFilter',
  'requestFilter',
  'upstreamPeer',
  'failToConnect',
  'connectedToUpstream',
] as const)('a wrong return of %s is an error that names it', (phase) => {
  const { addon } = setUp({ [phase]: () => true } as object)
  const error = 'CONNECT_REFUSED\nupstream\n1\n502\n\nno'
  const [record] = addon.send({ phases: [phase], request: {}, error })
  expect(record).toMatchObject({ result: 'thrown', phase: Phase[phase] })
  expect(record?.b).toMatch(new RegExp(`^PHASE_RETURN\n${phase} returned true; it may return `))
})

test('a promise from newCtx is refused, and its rejection is not left behind', async () => {
  const { addon } = setUp({ newCtx: () => Promise.reject(new Error('x')), requestFilter: () => {} })
  const [record] = addon.send({ phases: ['requestFilter'], request: {} })
  expect(record).toMatchObject({ result: 'thrown', phase: Phase.newCtx })
  expect(record?.b).toMatch(/^PHASE_RETURN\nnewCtx/)
  await settle()
})

test('a then that throws is a throw; one that calls back twice counts once', async () => {
  const { addon } = setUp({
    requestFilter: () => ({
      // biome-ignore lint/suspicious/noThenProperty: the hazard itself
      get then(): never {
        throw new Error('then')
      },
    }),
    proxyUpstreamFilter: () => ({
      // biome-ignore lint/suspicious/noThenProperty: the hazard itself
      then(ok: (value: undefined) => void, bad: (error: Error) => void) {
        ok(undefined)
        bad(new Error('again'))
        ok(undefined)
      },
    }),
  } as object)
  expect(addon.send({ phases: ['requestFilter'], request: {} })).toMatchObject([{ result: 'thrown' }])
  addon.send({ slot: 1, phases: ['proxyUpstreamFilter'], request: {} })
  await settle()
  expect(addon.take()).toMatchObject([{ slot: 1, result: 'done' }])
})

test('a phase that never settles: ABORT fires the signal, no further phase runs, the slot comes back', async () => {
  let kept: Session | undefined
  let later = 0
  let finish = () => {}
  const { addon, crossing } = setUp({
    async requestFilter(session) {
      kept = session
      await new Promise<void>((resolve) => {
        finish = resolve
      })
    },
    proxyUpstreamFilter: () => void later++,
    failToProxy: (session) => session.respond(504),
  })
  addon.send({ phases: ['requestFilter', 'proxyUpstreamFilter'], request: {} })
  const { signal } = kept!
  expect(addon.send({ kind: ABORT, seq: 1, flags: 2 })).toEqual([])
  expect(signal.aborted).toBe(true)
  expect(signal.reason as ProxyError).toMatchObject({
    code: 'PHASE_TIMEOUT',
    message: 'requestFilter did not settle in time',
  })
  const error = 'PHASE_TIMEOUT\ninternal\n0\n504\nrequestFilter\nslow'
  expect(addon.send({ seq: 2, phases: ['failToProxy'], error })).toMatchObject([
    { result: 'answered', value: 504, seq: 2 },
  ])
  finish()
  await settle()
  expect(addon.take()).toEqual([])
  expect([later, crossing.late]).toEqual([0, 1])
  expect(addon.send({ kind: END, seq: 3 })).toMatchObject([{ result: 'free', slot: 0 }])
  expect(crossing.sessions).toBe(0)
})

test('a late settle does not touch the next request of its slot', async () => {
  const finish: (() => void)[] = []
  const { addon, crossing } = setUp({
    requestFilter: () => new Promise<void>((resolve) => void finish.push(resolve)),
  })
  addon.send({ phases: ['requestFilter'], request: {} })
  addon.send({ kind: ABORT, flags: 1 }, { kind: END, seq: 2 })
  addon.send({ phases: ['requestFilter'], request: {} })
  finish[0]?.()
  await settle()
  expect(addon.take()).toEqual([])
  expect(crossing.late).toBe(1)
  finish[1]?.()
  await settle()
  expect(addon.take()).toMatchObject([{ result: 'done', seq: 1 }])
})

test('a client that leaves aborts the signal also if it is asked for later', () => {
  const { addon } = setUp({
    requestFilter: () => new Promise<void>(() => {}),
    logging({ signal }) {
      expect(signal.reason).toMatchObject({ code: 'CLIENT_ABORTED', source: 'downstream', status: 499 })
    },
  })
  addon.send({ phases: ['requestFilter'], request: {} })
  expect(addon.send({ kind: ABORT, flags: 1 }, { kind: END, seq: 2, phases: ['logging'] })).toMatchObject([
    { result: 'free' },
  ])
})

test('phases after an await report when they start waiting, in one flush for all that settled', async () => {
  let finish = () => {}
  const { addon } = setUp({
    requestFilter: async () => {},
    proxyUpstreamFilter: () =>
      new Promise<void>((resolve) => {
        finish = resolve
      }),
  })
  const phases = ['requestFilter', 'proxyUpstreamFilter'] as const
  addon.send({ phases: [...phases], request: {} }, { slot: 1, phases: ['requestFilter'], request: {} })
  const before = addon.finishes
  await settle()
  expect(addon.take()).toMatchObject([
    { slot: 0, result: 'progress', phase: Phase.proxyUpstreamFilter },
    { slot: 1, result: 'done' },
  ])
  expect(addon.finishes).toBe(before + 1)
  finish()
  await settle()
  expect(addon.take()).toMatchObject([{ slot: 0, result: 'done' }])
})

test('logging that throws, rejects or never settles is logged, and the slot comes back', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  const ways = [
    () => {
      throw new Error('sync')
    },
    () => Promise.reject(new Error('async')),
    () => new Promise<void>(() => {}),
  ]
  let way = 0
  const { addon, lines, crossing } = setUp({ logging: () => ways[way++]?.() }, { callbackTimeoutMs: 100 })
  const end = { kind: END, phases: ['logging' as const], request: {} }
  const records = addon.send({ slot: 0, ...end }, { slot: 1, ...end }, { slot: 2, ...end })
  await settle()
  vi.advanceTimersByTime(100)
  vi.useRealTimers()
  expect([...records, ...addon.take()].map(({ slot, result }) => [slot, result])).toEqual([
    [0, 'free'],
    [1, 'free'],
    [2, 'free'],
  ])
  expect(lines).toHaveLength(3)
  expect(lines[0]).toMatch(/^error logging failed: Error: sync/)
  expect(crossing.sessions).toBe(0)
})

test('an unknown slot or proxy is told, not waited for', () => {
  const { addon } = setUp({ requestFilter: () => {} })
  expect(addon.send({ slot: 9, phases: ['requestFilter'] })).toMatchObject([{ slot: 9, result: 'thrown' }])
  expect(addon.send({ slot: 9, kind: END })).toMatchObject([{ slot: 9, result: 'free' }])
  expect(addon.send({ slot: 9, proxy: 5, phases: ['requestFilter'], request: {} })).toMatchObject([
    { result: 'thrown' },
  ])
})

test('a listener of the signal may look at its session', () => {
  let seen: unknown
  const { addon } = setUp({
    requestFilter: (session) => {
      session.signal.addEventListener('abort', () => {
        seen = session.request.path
      })
      return new Promise<void>(() => {})
    },
  })
  addon.send({ phases: ['requestFilter'], request: { target: '/x' } })
  addon.send({ kind: ABORT, flags: 1 })
  expect(seen).toBe('/x')
})

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}

function fail(): never {
  throw new Error('getter')
}
