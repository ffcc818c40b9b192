import { expect, expectTypeOf, test } from 'vitest'
import {
  type Answer,
  type AnyPart,
  type CloseReport,
  definePart,
  definePhases,
  type ErrorCode,
  HttpPeer,
  HttpProxy,
  type Logger,
  type Phases,
  ProxyError,
  type ProxyHttp,
  type ProxyPart,
  type RequestHeader,
  type ResponseHeader,
  Server,
  type Session,
} from '../ts/index.js'

const primary = new HttpPeer('http://10.0.0.1', { connectTimeoutMs: 100, host: 'peer' })
const fallback = new HttpPeer('10.0.0.2:8080', { host: 'api.example' })

test('the first proxy of the documentation', async () => {
  interface Ctx {
    tries: number
  }
  class Gateway implements ProxyHttp<Ctx> {
    newCtx() {
      return { tries: 0 }
    }
    requestFilter(session: Session) {
      if (session.request.path.startsWith('/internal')) session.respond(403)
    }
    upstreamPeer(_s: Session, ctx: Ctx) {
      return ctx.tries === 0 ? primary : fallback
    }
    failToConnect(_s: Session, _peer: HttpPeer, _e: ProxyError, ctx: Ctx) {
      return ctx.tries++ === 0 ? 'retry' : 'fail'
    }
    upstreamRequestFilter(_s: Session, request: RequestHeader) {
      request.headers.set('x-via', 'millrace')
    }
    logging(session: Session, error: ProxyError | undefined) {
      expectTypeOf(session.summary()).toEqualTypeOf<string>()
      expectTypeOf(error?.code).toEqualTypeOf<ErrorCode | undefined>()
    }
  }
  await using server = new Server({ graceMs: 30_000 })
  const proxy = server.addService(new HttpProxy(new Gateway(), { threads: 4, workStealing: true }))
  expectTypeOf(proxy).toEqualTypeOf<HttpProxy>()
  const http = proxy.addTcp('127.0.0.1:0')
  await server.start()
  expectTypeOf(http.url).toEqualTypeOf<string>()
  expectTypeOf(http.address.port).toEqualTypeOf<number>()
})

test('definePhases infers the context from newCtx', () => {
  const phases = definePhases({
    newCtx: () => ({ started: 1 }),
    upstreamPeer: primary,
    requestFilter(session, ctx) {
      expectTypeOf(session).toEqualTypeOf<Session>()
      expectTypeOf(ctx).toEqualTypeOf<{ started: number }>()
      return 204
    },
    async responseFilter(_session, response, ctx) {
      expectTypeOf(response).toEqualTypeOf<ResponseHeader>()
      expectTypeOf(ctx.started).toEqualTypeOf<number>()
    },
  })
  expectTypeOf(phases).toEqualTypeOf<ProxyHttp<{ started: number }>>()
  new HttpProxy(phases)
  const plain = definePhases({ upstreamPeer: () => primary, logging: (_s, error) => void error })
  expectTypeOf(plain).toEqualTypeOf<ProxyHttp>()
  new HttpProxy(plain)
  new HttpProxy({ upstreamPeer: primary, requestFilter: (session) => session.respond(200) })
})

test('a context needs newCtx, and no context must not have one', () => {
  // @ts-expect-error newCtx is missing
  const missing: ProxyHttp<{ a: 1 }> = { upstreamPeer: primary }
  const none: ProxyHttp = { upstreamPeer: primary }
  // @ts-expect-error upstreamPeer is required
  const bare: ProxyHttp = {}
  void [missing, none, bare]
})

test('phases may return what they may, and nothing else', () => {
  expectTypeOf<{ upstreamPeer: HttpPeer; requestFilter(): 403 }>().toExtend<Phases<undefined>>()
  expectTypeOf<{ upstreamPeer: HttpPeer; requestFilter(): Promise<Response> }>().toExtend<Phases<undefined>>()
  expectTypeOf<{ upstreamPeer: HttpPeer; requestFilter(): true }>().not.toExtend<Phases<undefined>>()
  expectTypeOf<{ upstreamPeer: HttpPeer; failToConnect(): 'again' }>().not.toExtend<Phases<undefined>>()
  expectTypeOf<{ upstreamPeer(): string }>().not.toExtend<Phases<undefined>>()
})

test('answers, errors and loggers', () => {
  expectTypeOf<{ status: number; headers: { a: string[] }; body: Uint8Array }>().toExtend<Answer>()
  expectTypeOf<{ status: number; headers: [string, string][] }>().toExtend<Answer>()
  expectTypeOf<{ status: number; headers: Headers }>().toExtend<Answer>()
  expectTypeOf<{ status: string }>().not.toExtend<Answer>()
  expectTypeOf(console).toExtend<Logger>()
  const error = new ProxyError({ status: 429, headers: { 'retry-after': '1' }, message: 'slow down' })
  expectTypeOf(error).toExtend<Error>()
  expectTypeOf(error.source).toEqualTypeOf<'upstream' | 'downstream' | 'internal'>()
  new Server({ logger: console })
  new Server({ logger: false })
})

test('each part of a composition is typed by its own context', () => {
  class Auth implements ProxyPart<{ user: string }> {
    newCtx() {
      return { user: '' }
    }
    requestFilter(session: Session, ctx: { user: string }) {
      if (ctx.user === '') session.respond(401)
    }
  }
  const cors = definePart({
    newCtx: () => ({ origin: '*' }),
    responseFilter(_session, response, ctx) {
      expectTypeOf(response).toEqualTypeOf<ResponseHeader>()
      expectTypeOf(ctx).toEqualTypeOf<{ origin: string }>()
    },
  })
  expectTypeOf(cors).toEqualTypeOf<ProxyPart<{ origin: string }>>()
  const plain = definePart({
    logging: (_session, _error, ctx) => void expectTypeOf(ctx).toEqualTypeOf<undefined>(),
  })
  expectTypeOf<typeof plain>().toExtend<ProxyPart>()
  const gateway = definePhases({ upstreamPeer: primary })
  new HttpProxy([new Auth(), cors, plain, gateway])
  new HttpProxy([new Auth(), cors, plain, gateway] as const, { threads: 1 })
  expectTypeOf<ProxyHttp<{ a: 1 }>>().toExtend<AnyPart>()
  // @ts-expect-error newCtx is missing
  const missing: ProxyPart<{ a: 1 }> = {}
  // @ts-expect-error no phases
  new HttpProxy([1, gateway])
  void missing
})

test('a scope is given a function to run, and the session', () => {
  definePhases({
    upstreamPeer: primary,
    scope(run, session) {
      expectTypeOf(run).toEqualTypeOf<() => void>()
      expectTypeOf(session).toEqualTypeOf<Session>()
      run()
    },
  })
})

test('the session is read-only', () => {
  const look = (session: Session) => {
    // @ts-expect-error as received
    session.request.method = 'POST'
    expectTypeOf(session.request.version).toEqualTypeOf<'1.0' | '1.1' | '2'>()
    expectTypeOf(session.response?.headers.get('a')).toEqualTypeOf<string | undefined>()
    expectTypeOf(session.connection.data).toEqualTypeOf<Map<unknown, unknown>>()
    expectTypeOf(session.upstream?.peer).toEqualTypeOf<HttpPeer | undefined>()
    expectTypeOf(session.signal).toEqualTypeOf<AbortSignal>()
    expectTypeOf(session.subrequest('/')).toEqualTypeOf<Promise<Response>>()
    expectTypeOf(session.subrequest('/', { detached: true })).toEqualTypeOf<void>()
    expectTypeOf(session.parent).toEqualTypeOf<Session | undefined>()
    session.sendEarlyHints(['</a>'] as const)
    expectTypeOf(session.timings.connectMs).toEqualTypeOf<number | undefined>()
  }
  void look
})

test('closing', () => {
  const close = (server: Server) => server.close({ graceMs: 0 })
  expectTypeOf(close).returns.toEqualTypeOf<Promise<CloseReport>>()
  const run = (server: Server) => server.run()
  expectTypeOf(run).returns.toEqualTypeOf<Promise<void>>()
})

test('filters of phases have the types of their phases', () => {
  const phases = definePhases({
    newCtx: () => ({ count: 1 }),
    upstreamPeer: primary,
    requestFilter: {
      match: { path: ['/a', /^\/b/], header: { a: true, b: ['1'] } },
      handler(session, ctx) {
        expectTypeOf(session).toEqualTypeOf<Session>()
        expectTypeOf(ctx).toEqualTypeOf<{ count: number }>()
      },
    },
    upstreamRequestFilter: { match: { scheme: 'http' }, handler: (_s, { headers }) => headers.set('a', 'b') },
    responseFilter(_session, response, ctx) {
      expectTypeOf(response).toEqualTypeOf<ResponseHeader>()
      expectTypeOf(ctx).toEqualTypeOf<{ count: number }>()
    },
  })
  class Gateway implements ProxyHttp {
    readonly count = 1
    upstreamPeer = primary
    requestFilter = { match: { path: '/a' }, handler: (session: Session) => session.respond(this.count) }
  }
  new HttpProxy([phases, definePart({ logging: { match: {}, handler: () => undefined } })])
  new HttpProxy(new Gateway())
  // @ts-expect-error a match is needed
  definePhases({ upstreamPeer: primary, requestFilter: { handler: () => undefined } })
  // @ts-expect-error a request always has a peer
  definePhases({ upstreamPeer: { match: {}, handler: () => primary } })
})

test('phases need no peer where values say what becomes of requests', () => {
  new HttpProxy(
    {},
    { routes: [{ match: { path: '/a' }, upstreamPeer: primary }], requestHeaders: { remove: ['a'] } },
  )
  new HttpProxy({}, { respond: { status: 200, body: 'a' } })
  new HttpProxy({ logging: () => undefined }, { redirect: { to: '/a', status: 308 } })
  // @ts-expect-error nothing says where requests go
  expect(() => new HttpProxy({}, { requestHeaders: {} })).toThrow()
  // @ts-expect-error a status that does not redirect
  expect(() => new HttpProxy({}, { redirect: { to: '/a', status: 200 } })).toThrow()
})
