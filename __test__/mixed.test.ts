import { expect, test } from 'vitest'
import { HttpPeer, type Session } from '../ts/index.js'
import { drive, get } from './support/client.js'
import { memory } from './support/memory.js'
import { startTagging } from './support/origin.js'
import { startProxy, until } from './support/proxy.js'

const TOTAL = 50_000
const IN_FLIGHT = 64

const PHASES = [
  'earlyRequestFilter',
  'requestFilter',
  'proxyUpstreamFilter',
  'upstreamPeer',
  'connectedToUpstream',
  'upstreamRequestFilter',
  'upstreamResponseFilter',
  'responseFilter',
] as const

/** Ways to misbehave, and the status of the answer; 200: only others may be hurt. */
const WAYS: [() => unknown, number][] = [
  [
    () => {
      throw new Error('thrown')
    },
    500,
  ],
  [
    () => {
      throw 'no error'
    },
    500,
  ],
  [() => Promise.reject(new Error('rejected')), 500],
  [() => ({ not: 'an answer' }), 500],
  [() => Promise.resolve('no answer'), 500],
  [() => new Promise(() => {}), 504],
]

test('50,000 requests of which 1 % misbehave: no other is hurt, memory is flat, every slot comes back', async () => {
  const origin = await startTagging()
  const peer = new HttpPeer(origin.address)
  const wrong: string[] = []
  const logged = new Map<string, number>()
  let sessions = 0

  /** Every phase: is it the request it should be? Then the bad ones misbehave in the phase that is theirs. */
  const step = (
    name: (typeof PHASES)[number],
    session: Session,
    ctx: { tag: string },
    head?: { headers: { get(name: string): string | undefined } },
  ): unknown => {
    const tag = session.request.headers.get('x-tag')
    if (tag !== ctx.tag || session.request.path !== `/${tag}`) wrong.push(`${name} saw ${tag} for ${ctx.tag}`)
    if (head !== undefined && head.headers.get('x-tag') !== tag) wrong.push(`${name} saw another's head`)
    const [, phase, way] = session.request.headers.get('x-bad')?.split(',') ?? []
    if (phase !== name) return undefined
    if (way === 'block') {
      const end = performance.now() + 10
      while (performance.now() < end) {
        // Nothing else can run.
      }
      return undefined
    }
    return WAYS[Number(way)]![0]()
  }
  const { to, environment, proxy, server } = await startProxy(
    {
      newCtx: (session: Session) => {
        sessions++
        return { tag: session.request.headers.get('x-tag')! }
      },
      earlyRequestFilter: (s, ctx) => step('earlyRequestFilter', s, ctx) as void,
      requestFilter: (s, ctx) => step('requestFilter', s, ctx) as void,
      proxyUpstreamFilter: async (s, ctx) => (await step('proxyUpstreamFilter', s, ctx)) as void,
      upstreamPeer: (s, ctx) => (step('upstreamPeer', s, ctx) ?? peer) as HttpPeer,
      connectedToUpstream: (s, _p, ctx) => step('connectedToUpstream', s, ctx) as void,
      upstreamRequestFilter: (s, head, ctx) => step('upstreamRequestFilter', s, ctx, head) as void,
      upstreamResponseFilter: (s, head, ctx) => step('upstreamResponseFilter', s, ctx, head) as void,
      responseFilter: async (s, head, ctx) => (await step('responseFilter', s, ctx, head)) as void,
      logging: (s, error, ctx) => {
        const tag = s.request.headers.get('x-tag')!
        if (tag !== ctx?.tag) wrong.push(`logging saw ${tag}`)
        const isBad = s.request.headers.has('x-bad')
        if (error !== undefined && !isBad) wrong.push(`${tag}: ${error.code} ${error.message}`)
        logged.set(tag, (logged.get(tag) ?? 0) + 1)
      },
    },
    { callbackTimeoutMs: 1_000 },
  )

  const bad = (index: number) => {
    if (index % 100 !== 50) return undefined
    const n = (index - 50) / 100
    const way = n % (WAYS.length + 1)
    return [index, PHASES[n % PHASES.length], way === WAYS.length ? 'block' : way] as const
  }
  const run = (prefix: string, count: number) =>
    drive(
      to,
      count,
      IN_FLIGHT,
      (index) => {
        const is = bad(index)
        return get(`/${prefix}${index}`, {
          'x-tag': `${prefix}${index}`,
          ...(is === undefined ? {} : { 'x-bad': is.join() }),
        })
      },
      (index, reply) => {
        const way = bad(index)?.[2]
        const status = way === undefined || way === 'block' ? 200 : WAYS[way]![1]
        const tag = `${prefix}${index}`
        if (reply?.status !== status) wrong.push(`${tag} got ${reply?.status}`)
        else if (status === 200 && (reply.body !== tag || reply.header('x-tag') !== tag))
          wrong.push(`${tag} got the answer of ${reply.body}`)
      },
    )
  const settle = async () => {
    // Words that nobody waits for, such as the end of a connection, come with the next batch.
    await until(() => {
      const { slots, queued } = environment.native.stats()
      return slots === 0 && queued === 0 && proxy.entry.sessions === 0
    })
    logged.clear()
  }

  await run('warm', 5_000)
  await settle()
  const before = await memory()
  sessions = 0
  await run('t', TOTAL)
  await until(() => logged.size === TOTAL)
  expect(wrong.slice(0, 5)).toEqual([])
  expect(sessions).toBe(TOTAL)
  expect([...logged.values()].filter((times) => times !== 1)).toEqual([])
  await settle()
  const stats = environment.native.stats()
  expect([stats.slots, stats.queued, environment.crossing.sessions]).toEqual([0, 0, 0])
  const after = await memory()
  expect(after.heap - before.heap).toBeLessThan(10)
  expect(after.rss - before.rss).toBeLessThan(48)
  await until(() => server.stats().services[0]?.connections === 0)
}, 120_000)
