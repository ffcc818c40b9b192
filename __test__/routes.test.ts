// Values in the place of phases, and filters of phases: what they do, and that nothing crosses for them.
import { describe, expect, test, vi } from 'vitest'
import {
  type AnyPart,
  type AnyPhases,
  definePhases,
  HttpPeer,
  type HttpProxyOptions,
  type Route,
  type Session,
} from '../ts/index.js'
import { Client, get, once, post } from './support/client.js'
import { startOrigin } from './support/origin.js'
import { type Running, startProxy, until } from './support/proxy.js'

/** How many items have crossed while `run` ran; those about connections that closed aside. */
async function crossings({ environment, to }: Running, run: (client: Client) => Promise<unknown>) {
  const client = await Client.connect(to)
  const before = environment.native.stats().items
  await run(client)
  const after = environment.native.stats().items
  await client.end()
  return after - before
}

describe('a gateway without a line of JavaScript', async () => {
  const start = async (options: HttpProxyOptions, phases: AnyPart = {}) => {
    const [one, two] = [await startOrigin(), await startOrigin()]
    const peers = { one: new HttpPeer(one.address), two: new HttpPeer(two.address) }
    const routes = (options.routes ?? []) as Route[]
    return {
      one,
      two,
      peers,
      start: (more: Route[]) => startProxy(phases, { ...options, routes: [...routes, ...more] }),
    }
  }

  test('routes lead to their peers, answer and redirect, and nothing crosses', async () => {
    const { one, two, peers, start: run } = await start({ requestHeaders: { set: { 'x-level': 'proxy' } } })
    const running = await run([
      { match: { path: '/health' }, respond: { status: 200, body: 'fine', headers: { 'x-own': 'a' } } },
      { match: { path: ['/old', '/older'] }, redirect: { to: '/new', status: 308 } },
      { match: { host: '*.two.example', method: ['GET', 'HEAD'] }, upstreamPeer: peers.two },
      {
        match: { path: '/api/*', header: { 'x-beta': true } },
        upstreamPeer: peers.two,
        rewrite: '/beta/{*}',
        requestHeaders: { set: { 'x-level': 'route' }, append: { 'x-many': ['1', '2'] }, remove: ['x-gone'] },
        responseHeaders: { set: { 'x-route': 'beta' } },
      },
      { match: { path: '/api/*' }, upstreamPeer: peers.one, rewrite: { prefix: '/api', to: '/v1' } },
      {
        match: { path: /^\/u\/\d+$/ },
        upstreamPeer: peers.one,
        rewrite: { pattern: /^\/u\/(?<id>\d+)$/, to: '/users/$<id>' },
      },
    ])
    const crossed = await crossings(running, async (client) => {
      const health = await client.ask(get('/health'))
      expect([health.status, health.body, health.header('x-own')]).toEqual([200, 'fine', 'a'])
      const old = await client.ask(get('/older?q=1'))
      expect([old.status, old.header('location')]).toEqual([308, '/new?q=1'])
      expect((await client.ask(get('/x', { host: 'A.two.example:81' }))).status).toBe(200)
      const beta = await client.ask(get('/api/a?b', { 'x-beta': '', 'x-gone': '1', 'x-level': 'spoofed' }))
      expect(beta.header('x-route')).toBe('beta')
      await client.ask(get('/api/a?b'))
      await client.ask(get('/u/7?b'))
      const none = await client.ask(get('/nowhere'))
      expect([none.status, none.body]).toEqual([404, '404 Not Found\n'])
      expect((await client.ask(get('/api%2fx'))).status).toBe(400)
    })
    expect(two.seen.map(({ url }) => url)).toEqual(['/x', '/beta/a?b'])
    expect(one.seen.map(({ url }) => url)).toEqual(['/v1/a?b', '/users/7?b'])
    const [, beta] = two.seen
    const many = beta!.headers.filter(([name]) => name.toLowerCase() === 'x-many').map(([, value]) => value)
    expect([many, beta!.header('x-gone'), beta!.header('x-level')]).toEqual([['1', '2'], undefined, 'route'])
    expect(one.seen[0]!.header('x-level')).toBe('proxy')
    expect(crossed).toBe(0)
  })

  test('everything can be answered or redirected by the proxy itself', async () => {
    const everywhere = await startProxy(
      {},
      { redirect: 'https://{host}{path}', responseHeaders: { set: { 'x-all': '1' } } },
    )
    const moved = await once(everywhere.to, get('/a?b', { host: 'a.example:80' }))
    expect([moved.status, moved.header('location'), moved.header('x-all')]).toEqual([
      302,
      'https://a.example/a?b',
      '1',
    ])
    const closed = await startProxy({}, { respond: 503 })
    expect((await once(closed.to, get('/'))).status).toBe(503)
  })

  test('rewrite on the proxy itself is for requests that are on no route', async () => {
    const { one, peers } = await start({})
    const options: HttpProxyOptions = { rewrite: '/all{path}', routes: [{ match: { path: '/as/*' } }] }
    const { to } = await startProxy({ upstreamPeer: peers.one }, options)
    for (const path of ['/x?q', '/as/it/is', '/y/../as']) await once(to, get(path))
    expect(one.seen.map(({ url }) => url)).toEqual(['/all/x?q', '/as/it/is', '/as'])
  })

  test('an encoded slash is kept where that is allowed', async () => {
    const { one, peers } = await start({})
    const options: HttpProxyOptions = {
      encodedSlashes: 'keep',
      routes: [{ match: { path: '/packages/:name' }, upstreamPeer: peers.one, rewrite: '/p/{name}' }],
    }
    const { to } = await startProxy({}, options)
    expect((await once(to, get('/packages/@a%2fb'))).status).toBe(200)
    expect((await once(to, get('/packages/@a%2f..%2fb'))).status).toBe(400)
    expect(one.seen.map(({ url }) => url)).toEqual(['/p/@a%2fb'])
  })
})

describe('routes and phases', () => {
  test('a route has the phases of the proxy unless it has its own, and its peer is in the place of theirs', async () => {
    const [one, two] = [await startOrigin(), await startOrigin()]
    const calls: string[] = []
    const note = (name: string) => (session: Session) => void calls.push(`${name} ${session.request.path}`)
    const running = await startProxy(
      { requestFilter: note('main'), upstreamPeer: new HttpPeer(one.address), logging: note('log') },
      {
        routes: [
          {
            match: { path: '/own/*' },
            phases: definePhases({
              newCtx: () => ({ seen: 'own' }),
              requestFilter: note('own'),
              upstreamPeer: () => new HttpPeer(two.address),
              upstreamRequestFilter: (_s, { headers }, ctx) => headers.set('x-seen', ctx.seen),
            }),
          },
          { match: { path: '/two' }, upstreamPeer: new HttpPeer(two.address) },
          { match: { path: '/quiet/*' }, phases: {}, upstreamPeer: new HttpPeer(one.address) },
        ],
      },
    )
    for (const path of ['/own/a', '/two', '/else'])
      expect((await once(running.to, get(path))).status).toBe(200)
    await until(() => calls.length === 5)
    expect(calls).toEqual(['own /own/a', 'main /two', 'log /two', 'main /else', 'log /else'])
    expect([two.seen.map(({ url }) => url), one.seen.map(({ url }) => url)]).toEqual([
      ['/own/a', '/two'],
      ['/else'],
    ])
    expect(two.seen[0]!.header('x-seen')).toBe('own')
    const crossed = await crossings(running, async (client) => {
      for (let i = 0; i < 10; i++) await client.ask(post('/quiet/x', 'body'))
    })
    expect([crossed, one.seen.length]).toEqual([0, 11])
  })

  test('session.upstream has the peer of the route', async () => {
    const origin = await startOrigin()
    const peer = new HttpPeer(origin.address)
    let seen: unknown
    const { to } = await startProxy(
      {
        upstreamPeer: new HttpPeer('127.0.0.1:1'),
        responseFilter({ upstream }) {
          seen = upstream?.peer
        },
      },
      { routes: [{ match: { path: '/a' }, upstreamPeer: peer }] },
    )
    expect((await once(to, get('/a'))).status).toBe(200)
    expect(seen).toBe(peer)
  })

  test('answers by value run no phase but logging', async () => {
    const calls: string[] = []
    const { to } = await startProxy(
      {
        requestFilter: () => void calls.push('requestFilter'),
        upstreamPeer() {
          calls.push('upstreamPeer')
          return new HttpPeer('127.0.0.1:1')
        },
        logging: ({ response, request }) => void calls.push(`${request.path} ${response?.status}`),
      },
      { routes: [{ match: { path: '/x' }, respond: 204 }] },
    )
    expect((await once(to, get('/x'))).status).toBe(204)
    await until(() => calls.length > 0)
    expect(calls).toEqual(['/x 204'])
  })

  test('phases see what the values have made, and have the last word', async () => {
    const origin = await startOrigin()
    const { to } = await startProxy(
      {
        upstreamPeer: new HttpPeer(origin.address),
        upstreamRequestFilter(session, request) {
          request.headers.set(
            'x-saw',
            `${session.request.target} ${request.target} ${request.headers.get('x-value')}`,
          )
          request.headers.delete('x-value')
        },
        responseFilter: (_s, { headers }) => headers.set('x-value', `${headers.get('x-value')}, phase`),
      },
      {
        requestHeaders: { set: { 'x-value': '1' } },
        responseHeaders: { set: { 'x-value': 'value' } },
        routes: [{ match: { path: '/a/*' }, rewrite: '/b/{*}' }],
      },
    )
    const reply = await once(to, get('/a/x?q'))
    expect(reply.header('x-value')).toBe('value, phase')
    expect([origin.seen[0]!.header('x-saw'), origin.seen[0]!.header('x-value')]).toEqual([
      '/a/x?q /b/x?q 1',
      undefined,
    ])
  })
})

describe('filters of phases', () => {
  test('only requests that a phase is for cross for it', async () => {
    const origin = await startOrigin()
    const calls: string[] = []
    const note = (name: string) => (session: Session) => void calls.push(`${name} ${session.request.path}`)
    const match = { path: '/api/*' }
    const running = await startProxy({
      upstreamPeer: new HttpPeer(origin.address),
      earlyRequestFilter: { match, handler: note('early') },
      requestFilter: { match: { ...match, method: 'POST' }, handler: note('request') },
      proxyUpstreamFilter: { match, handler: note('proxy') },
      connectedToUpstream: { match, handler: note('connected') },
      upstreamRequestFilter: { match, handler: note('upstream') },
      requestBodyFilter: { match, handler: note('body') },
      upstreamResponseFilter: { match, handler: note('response') },
      responseFilter: { match: { path: '/api/b' }, handler: note('last') },
      upstreamResponseBodyFilter: { match, handler: note('first') },
      responseBodyFilter: { match, handler: note('second') },
      upstreamResponseTrailerFilter: { match, handler: note('trailers') },
      responseTrailerFilter: { match, handler: note('trailers') },
      interimResponseFilter: { match, handler: note('interim') },
      failToConnect: { match, handler: note('fail') },
      errorWhileProxy: { match, handler: note('error') },
      failToProxy: { match, handler: note('page') },
      logging: { match, handler: note('log') },
    })
    const crossed = await crossings(running, async (client) => {
      for (let i = 0; i < 10; i++) {
        expect((await client.ask(get('/'))).status).toBe(200)
        expect((await client.ask(post('/apis/api', 'body'))).status).toBe(200)
      }
    })
    expect([crossed, calls]).toEqual([0, []])
    await once(running.to, post('/x/../api/a', 'body'))
    await until(() => calls.some((call) => call.startsWith('log')))
    const order = [
      'early',
      'request',
      'proxy',
      'connected',
      'upstream',
      'body',
      'response',
      'first',
      'second',
      'log',
    ]
    expect([...new Set(calls.map((call) => call.split(' ')[0]))]).toEqual(order)
    calls.length = 0
    await once(running.to, get('/api/b'))
    await until(() => calls.some((call) => call.startsWith('log')))
    expect(calls.slice(0, 6).map((call) => call.split(' ')[0])).toEqual([
      'early', 'proxy', 'connected', 'upstream', 'response', 'last',
    ]) // biome-ignore format: one list
  })

  test('where requests fail, only those that a phase is for cross for it', async () => {
    const calls: string[] = []
    const note = (name: string) => () => void calls.push(name)
    const match = { path: '/api/*' }
    const running = await startProxy({
      upstreamPeer: new HttpPeer('127.0.0.1:1'),
      failToConnect: { match, handler: note('connect') },
      errorWhileProxy: { match, handler: note('while') },
      failToProxy: { match, handler: note('page') },
      logging: { match, handler: note('log') },
    })
    const crossed = await crossings(running, async (client) => {
      for (let i = 0; i < 5; i++) expect((await client.ask(get('/x'))).status).toBe(502)
    })
    expect([crossed, calls]).toEqual([0, []])
    expect((await once(running.to, get('/api/x'))).status).toBe(502)
    await until(() => calls.includes('log'))
    expect(calls).toEqual(['connect', 'page', 'log'])
  })

  test('one that is refused before anybody looked is logged whatever the filter', async () => {
    const calls: string[] = []
    const match = { path: '/api/*' }
    const { to } = await startProxy({
      upstreamPeer: new HttpPeer('127.0.0.1:1'),
      requestFilter: { match, handler: () => void calls.push('request') },
      failToProxy: { match, handler: () => void calls.push('page') },
      logging: {
        match,
        handler: (session, error) => void calls.push(`${session.request.path} ${error?.code}`),
      },
    })
    expect((await once(to, get('/a%2fb'))).status).toBe(400)
    await until(() => calls.length > 0)
    expect(calls).toEqual(['/a%2fb BAD_REQUEST'])
  })

  test('`this` is the object with the phases, and the handler is looked up at each call', async () => {
    class Gateway {
      readonly #peer = new HttpPeer('127.0.0.1:1')
      count = 0
      requestFilter = {
        match: { path: '/a' },
        handler(this: Gateway, session: Session) {
          session.respond({ status: 200, body: `${++this.count}` })
        },
      }
      upstreamPeer() {
        return this.#peer
      }
      failToProxy(session: Session) {
        session.respond({ status: 500, body: `${this.#peer.address} ${this.count}` })
      }
    }
    const gateway = new Gateway()
    const { to } = await startProxy(gateway as unknown as AnyPhases)
    expect((await once(to, get('/a'))).body).toBe('1')
    expect((await once(to, get('/b'))).body).toBe('127.0.0.1:1 1')
    const spy = vi
      .spyOn(gateway.requestFilter, 'handler')
      .mockImplementation((session) => session.respond(418))
    expect((await once(to, get('/a'))).status).toBe(418)
    expect((await once(to, get('/b'))).status).toBe(500)
    expect(spy).toHaveBeenCalledTimes(1)
  })

  test('each part of a proxy has its own filters', async () => {
    const origin = await startOrigin()
    const calls: string[] = []
    const part = (name: string, path: string): AnyPart => ({
      requestFilter: { match: { path }, handler: () => void calls.push(`${name} in`) },
      responseBodyFilter: {
        match: { path },
        handler: (_s, chunk) => void calls.push(`${name} body ${chunk.length > 0}`),
      },
      responseFilter: { match: { path }, handler: () => void calls.push(`${name} out`) },
      logging: { match: { path }, handler: () => void calls.push(`${name} log`) },
    })
    const running = await startProxy([
      part('a', '/a/*'),
      part('ab', '/:which/b'),
      { upstreamPeer: new HttpPeer(origin.address) },
    ])
    const asked = async (path: string, last: number) => {
      calls.length = 0
      await once(running.to, get(path))
      await until(() => calls.filter((call) => call.endsWith('log')).length === last)
      return calls
        .filter((call) => !call.includes('body'))
        .concat(calls.some((c) => c.startsWith('a body')) ? 'a body' : [])
    }
    expect(await asked('/a/c', 1)).toEqual(['a in', 'a out', 'a log', 'a body'])
    expect(await asked('/x/b', 1)).toEqual(['ab in', 'ab out', 'ab log'])
    expect(await asked('/a/b', 2)).toEqual(['a in', 'ab in', 'ab out', 'a out', 'ab log', 'a log', 'a body'])
    calls.length = 0
    const crossed = await crossings(running, (client) => client.ask(get('/c')))
    expect([crossed, calls]).toEqual([0, []])
  })

  test('the phases of a route have filters too', async () => {
    const origin = await startOrigin()
    const calls: string[] = []
    const handler = (session: Session) => void calls.push(session.request.path)
    const running = await startProxy(
      { upstreamPeer: new HttpPeer(origin.address), requestFilter: { match: { path: '/main' }, handler } },
      {
        routes: [
          {
            match: { path: '/own/*' },
            upstreamPeer: new HttpPeer(origin.address),
            phases: { requestFilter: { match: { header: { 'x-a': ['1', '2'] } }, handler } },
          },
          { match: { path: '/plain/*' }, phases: {}, upstreamPeer: new HttpPeer(origin.address) },
        ],
      },
    )
    const crossed = await crossings(running, async (client) => {
      for (const path of ['/own/x', '/plain/x', '/else']) await client.ask(get(path))
      await client.ask(get('/own/x', { 'x-a': '3' }))
    })
    expect([crossed, calls]).toEqual([0, []])
    await once(running.to, get('/own/y', { 'x-a': '2' }))
    await once(running.to, get('/main'))
    expect(calls).toEqual(['/own/y', '/main'])
  })
})
