// The async context of a request: what is stored in its scope is seen by its phases and by no others.
import { AsyncLocalStorage } from 'node:async_hooks'
import { context, createContextKey, ROOT_CONTEXT } from '@opentelemetry/api'
import { AsyncHooksContextManager, AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type AnyPart, HttpPeer, type Phases, type ProxyError, type Session } from '../ts/index.js'
import { Client, drive, get, once, post } from './support/client.js'
import { startOrigin } from './support/origin.js'
import { deferred, startProxy, until } from './support/proxy.js'

interface Store {
  tag: string
  seen: string[]
}

const PHASES = [
  'earlyRequestFilter',
  'requestFilter',
  'proxyUpstreamFilter',
  'connectedToUpstream',
  'upstreamRequestFilter',
  'requestBodyFilter',
  'upstreamResponseFilter',
  'responseFilter',
  'upstreamResponseBodyFilter',
  'responseBodyFilter',
  'logging',
] as const

/** Phases that note what they find in the store, and whether it is their request's. */
function watching(
  storage: AsyncLocalStorage<Store>,
  isAsync: boolean,
  wrong: string[],
): Partial<Phases<string>> {
  const bag: Record<string, unknown> = {}
  for (const name of PHASES) {
    const look = (ctx: string) => {
      const store = storage.getStore()
      if (store?.tag !== ctx) wrong.push(`${name}: ${store?.tag} for ${ctx}`)
      else store.seen.push(name)
    }
    bag[name] = (...args: unknown[]) => {
      const ctx = args.at(-1) as string
      look(ctx)
      if (!isAsync) return undefined
      return new Promise<void>((resolve) => setImmediate(resolve)).then(() => look(ctx))
    }
  }
  return bag as Partial<Phases<string>>
}

describe.each([
  ['sync', false],
  ['async', true],
])('%s phases', (_name, isAsync) => {
  test.each([1, 2])('see the store of their own request, among many at once (%i)', async (parts) => {
    const origin = await startOrigin()
    const storage = new AsyncLocalStorage<Store>()
    const wrong: string[] = []
    const stores: Store[] = []
    const part = (own: object): AnyPart => ({
      newCtx: (session) => {
        const tag = session.request.headers.get('x-tag')!
        if (storage.getStore()?.tag !== tag) wrong.push('newCtx')
        return tag
      },
      ...watching(storage, isAsync, wrong),
      ...own,
    })
    const scope: AnyPart['scope'] = (run, session) => {
      const store = { tag: session.request.headers.get('x-tag')!, seen: [] }
      stores.push(store)
      storage.run(store, run)
    }
    const peer = new HttpPeer(origin.address)
    const upstreamPeer = () => {
      if (storage.getStore() === undefined) wrong.push('upstreamPeer')
      return peer
    }
    const given = [part({ scope }), part({})].slice(0, parts)
    given[parts - 1] = { ...given[parts - 1], upstreamPeer }
    const { to, environment } = await startProxy(given)
    const count = 400
    await drive(
      to,
      count,
      40,
      (index) => post('/', 'some body', { 'x-tag': `t${index}` }),
      (index, reply) => expect(reply?.header('x-tag')).toBe(`t${index}`),
    )
    await until(() => environment.crossing.sessions === 0)
    expect(wrong).toEqual([])
    expect(stores).toHaveLength(count)
    for (const { seen } of stores) expect(new Set(seen)).toEqual(new Set(PHASES))
    expect(storage.getStore()).toBeUndefined()
  })
})

test('a request without a scope beside one with it sees no store', async () => {
  const origin = await startOrigin()
  const storage = new AsyncLocalStorage<string>()
  const seen: (string | undefined)[] = []
  const upstreamPeer = new HttpPeer(origin.address)
  const scoped = await startProxy({
    scope: (run) => storage.run('mine', run),
    requestFilter: async () => {
      await new Promise((resolve) => setImmediate(resolve))
    },
    upstreamPeer,
  })
  const plain = await startProxy({ requestFilter: () => void seen.push(storage.getStore()), upstreamPeer })
  await Promise.all(Array.from({ length: 50 }, (_, at) => once((at % 2 === 0 ? scoped : plain).to, get('/'))))
  expect(seen).toEqual(Array(25).fill(undefined))
})

test('a scope whose promise rejects costs a line in the log, and not the process', async () => {
  const { to, lines } = await startProxy({
    upstreamPeer: new HttpPeer((await startOrigin()).address),
    requestFilter: () => {},
    scope: async (run) => {
      run()
      throw new Error('too late')
    },
  } as Phases<undefined>)
  expect((await once(to, get('/'))).status).toBe(200)
  await until(() => lines.length > 0)
  expect(lines).toEqual([expect.stringMatching(/^error scope failed: Error: too late/)])
})

test('scopes nest in order, and each part sees what all of them stored', async () => {
  const origin = await startOrigin()
  const outer = new AsyncLocalStorage<string>()
  const inner = new AsyncLocalStorage<string>()
  const order: unknown[] = []
  const { to } = await startProxy([
    {
      scope: (run) => {
        order.push(['outer', inner.getStore()])
        outer.run('o', run)
      },
      logging: () => void order.push(['logging', outer.getStore(), inner.getStore()]),
    },
    {
      scope: (run) => {
        order.push(['inner', outer.getStore()])
        inner.run('i', run)
      },
      upstreamPeer: new HttpPeer(origin.address),
    },
  ])
  await once(to, get('/'))
  await until(() => order.length === 3)
  expect(order).toEqual([
    ['outer', undefined],
    ['inner', 'o'],
    ['logging', 'o', 'i'],
  ])
})

test('what changes bodies, makes answers and hears of aborts runs in it too', async () => {
  const origin = await startOrigin()
  const storage = new AsyncLocalStorage<string>()
  const seen: Record<string, string | undefined> = {}
  const waiting = deferred()
  const note = (name: string) => {
    seen[name] = storage.getStore()
  }
  const { to } = await startProxy({
    scope: (run, session) => storage.run(session.request.path, run),
    requestFilter: (session) => {
      if (session.request.path === '/own')
        return {
          status: 200,
          body: (async function* () {
            note('source')
            yield 'own'
          })(),
        }
      if (session.request.path !== '/wait') return
      session.signal.addEventListener('abort', () => note('abort'))
      waiting.resolve()
      return new Promise(() => {})
    },
    responseFilter: (_session, response) =>
      response.transformBody({}, () => {
        note('transform')
      }),
    upstreamPeer: new HttpPeer(origin.address),
  })
  expect((await once(to, get('/own'))).body).toBe('own')
  await once(to, get('/change'))
  const client = await Client.connect(to)
  client.write(get('/wait'))
  await waiting.promise
  await client.end()
  await until(() => 'abort' in seen)
  expect(seen).toEqual({ source: '/own', transform: '/change', abort: '/wait' })
})

test.each([
  [
    'throws',
    () => {
      throw new Error('no')
    },
  ],
  ['does not call run', () => {}],
  [
    'calls it twice',
    (run: () => void) => {
      run()
      run()
    },
  ],
  [
    'calls it later',
    (run: () => void) =>
      void setImmediate(() => {
        try {
          run()
        } catch {}
      }),
  ],
])('a scope that %s fails its request, by its name', async (_name, scope) => {
  let ran = false
  const logged = deferred<ProxyError | undefined>()
  const { to } = await startProxy({
    scope,
    requestFilter: () => {
      ran = true
      return 204
    },
    upstreamPeer: new HttpPeer('127.0.0.1:1'),
    logging: (_session, error) => logged.resolve(error),
  })
  expect((await once(to, get('/'))).status).toBe(500)
  expect(ran).toBe(false)
  const error = await logged.promise
  expect(error).toMatchObject({ code: 'PHASE_FAILED', phase: 'scope', source: 'internal' })
  if (error?.cause !== undefined) {
    expect(error.cause).toEqual(new Error('no'))
    expect(error.message).toMatch(/^scope: Error: no/)
  }
})

test.each(['scope', 'newCtx'])('a %s that throws is named wherever a request crosses first', async (name) => {
  const origin = await startOrigin()
  for (const phase of ['requestBodyFilter', 'upstreamResponseFilter', 'responseFilter', 'logging']) {
    const { to, lines } = await startProxy({
      [name]: () => {
        throw new Error('no')
      },
      upstreamPeer: new HttpPeer(origin.address),
      [phase]: () => {},
    })
    expect((await once(to, post('/', 'x'))).status).toBe(phase === 'logging' ? 200 : 500)
    await until(() => lines.length > 0)
    expect(lines[0]).toMatch(phase === 'logging' ? `${name} failed: Error: no` : `${name}: Error: no`)
  }
})

test('what a scope may not do is said by its name', async () => {
  let thrown: unknown
  const { to } = await startProxy({
    scope: (run, session) => {
      try {
        session.respond(204)
      } catch (error) {
        thrown = error
      }
      run()
    },
    requestFilter: () => 200,
    upstreamPeer: new HttpPeer('127.0.0.1:1'),
  })
  expect((await once(to, get('/'))).status).toBe(200)
  expect(thrown).toMatchObject({
    code: 'CANNOT_ANSWER',
    message: expect.stringContaining('scope may not answer'),
  })
})

test.each([
  ['AsyncLocalStorageContextManager', AsyncLocalStorageContextManager],
  ['AsyncHooksContextManager', AsyncHooksContextManager],
])('the context of OpenTelemetry is carried by its %s', async (_name, Manager) => {
  const manager = new Manager()
  manager.enable()
  context.setGlobalContextManager(manager)
  onTestFinished(() => context.disable())
  const origin = await startOrigin()
  const key = createContextKey('tag')
  const wrong: unknown[] = []
  const look = (name: string, session: Session) => {
    const tag = context.active().getValue(key)
    if (tag !== session.request.headers.get('x-tag')) wrong.push([name, tag])
  }
  const { to, environment } = await startProxy({
    scope: (run, session) =>
      context.with(ROOT_CONTEXT.setValue(key, session.request.headers.get('x-tag')), run),
    async requestFilter(session) {
      look('before', session)
      await new Promise((resolve) => setImmediate(resolve))
      look('after', session)
    },
    upstreamRequestFilter: (session) => look('upstreamRequestFilter', session),
    responseBodyFilter: (session) => look('responseBodyFilter', session),
    logging: (session) => look('logging', session),
    upstreamPeer: new HttpPeer(origin.address),
  })
  await drive(
    to,
    200,
    20,
    (index) => get('/', { 'x-tag': `t${index}` }),
    (index, reply) => expect(reply?.header('x-tag')).toBe(`t${index}`),
  )
  await until(() => environment.crossing.sessions === 0)
  expect(wrong).toEqual([])
  expect(context.active()).toBe(ROOT_CONTEXT)
})
