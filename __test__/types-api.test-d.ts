// The types of every exported name: what is taken, what is given, and what the compiler refuses.
import type { Duplex, Readable } from 'node:stream'
import { expectTypeOf, test } from 'vitest'
import {
  type ActingOptions,
  type Address,
  type AddServiceOptions,
  type AdmissionOptions,
  type Answer,
  type AnyPart,
  type AnyPhases,
  type Awaitable,
  type BackgroundContext,
  type BackgroundFunction,
  BackgroundService,
  type BackgroundServiceOptions,
  type BackgroundWork,
  type BodyEnd,
  type BodyResult,
  type BodySource,
  type Certificate,
  type ClientAuth,
  type CloseReport,
  type ConnectionCheck,
  type ConnectionFilterOptions,
  type ConnectionHandler,
  type ConnectionStats,
  type ConnectionView,
  type Connector,
  type ConnectorBody,
  type ConnectorOptions,
  type ConnectorRequest,
  type ConnectProxy,
  type Decision,
  type DemoOrigin,
  type DemoOriginOptions,
  type DownstreamOptions,
  definePart,
  definePhases,
  type Endpoint,
  type Ends,
  ERROR_CODES,
  type ErrorCode,
  type ErrorPhase,
  type ErrorSource,
  type Filterable,
  type FilteredPhase,
  type ForwardingOptions,
  type Handler,
  type HandlerInfo,
  type HeaderChanges,
  type HeaderEdit,
  type HeaderInput,
  type HeaderView,
  type Http2Options,
  HttpApp,
  type HttpAppOptions,
  HttpPeer,
  type HttpPeerOptions,
  HttpProxy,
  type HttpProxyOptions,
  type IncomingConnection,
  type InterimResponse,
  type JavaScriptStats,
  type ListeningOptions,
  type LogFields,
  type Logger,
  type LogLevel,
  type LogRecord,
  type OptionProblem,
  type PeerTlsOptions,
  type Pem,
  type PHASES,
  type PhaseName,
  type Phases,
  type PoolStats,
  ProxyError,
  type ProxyErrorOptions,
  type ProxyHttp,
  type ProxyPart,
  type ProxyProtocolOptions,
  type ReadBodyOptions,
  type Redirect,
  type RequestHeader,
  type RequestMatch,
  type RequestStats,
  type RequestView,
  type ResponseHeader,
  type ResponseView,
  type Rewrite,
  type Route,
  type RouteValues,
  type SelfSigned,
  Server,
  type ServerEvents,
  type ServerOptions,
  type ServerState,
  type ServerStats,
  type Service,
  type ServiceState,
  type ServiceStats,
  type Session,
  type SocketOptions,
  type SocketOwner,
  type StreamTransform,
  type SubrequestOptions,
  selfSigned,
  TcpApp,
  type TcpAppOptions,
  type TcpConnection,
  type TcpKeepalive,
  TcpPeer,
  type TcpPeerOptions,
  TcpProxy,
  type TcpProxyOptions,
  type TcpServiceOptions,
  type ThreadPlace,
  type ThreadStats,
  type Timings,
  type TlsEndpoint,
  type TlsOptions,
  type TlsView,
  type TrafficStats,
  type Transform,
  type TransformOptions,
  type UnixSocketOptions,
  type UpgradeOptions,
  type UpstreamView,
  type UsageCode,
  type UsageError,
  type WithCtx,
  type WithoutCtx,
} from '../ts/index.js'
import {
  type CtxOf,
  type CtxsOf,
  type Inject,
  type InjectBody,
  type Injected,
  type InjectedInterim,
  type InjectedResponse,
  type InjectedSubrequest,
  type InjectRequest,
  type InjectTls,
  inject,
  type LogLine,
  type Message,
  type PhaseCall,
  type PhaseOutcome,
  type RawHeaders,
  type UpstreamAnswer,
  type UpstreamHandler,
  type UpstreamInterim,
  type UpstreamRequest,
} from '../ts/testing/index.js'

const peer = new HttpPeer('http://10.0.0.1')
/** Never called: what is in it is only compiled. */
const compiled = (_call: () => unknown) => {}

test('server and services', () => {
  expectTypeOf<ServerOptions>().toEqualTypeOf<{
    graceMs?: number
    shutdownDelayMs?: number
    upgradeSocket?: string
    upgrade?: boolean
    upgradeTimeoutMs?: number
    logger?: Logger | false
    onLog?: (records: readonly LogRecord[]) => void
    logLevel?: LogLevel
    batchJsThread?: boolean
  }>()
  expectTypeOf<ServerOptions>().toExtend<UpgradeOptions>()
  expectTypeOf<Server['addService']>().toBeCallableWith(new HttpProxy({ upstreamPeer: peer }))
  expectTypeOf<Server['close']>().returns.toEqualTypeOf<Promise<CloseReport>>()
  expectTypeOf<CloseReport>().toEqualTypeOf<{ readonly requests: Ends; readonly connections: Ends }>()
  expectTypeOf<Ends>().toEqualTypeOf<{ readonly finished: number; readonly cut: number }>()
  expectTypeOf<Server['stats']>().returns.toEqualTypeOf<ServerStats>()
  expectTypeOf<ServerStats['services']>().toEqualTypeOf<readonly ServiceStats[]>()
  expectTypeOf<ServerStats['javascript']>().toEqualTypeOf<JavaScriptStats>()
  expectTypeOf<ServiceStats['threads']>().toEqualTypeOf<readonly ThreadStats[] | undefined>()
  expectTypeOf<ServerStats>().toExtend<ConnectionStats>()
  expectTypeOf<ServiceStats['requests']>().toEqualTypeOf<RequestStats>()
  expectTypeOf<ServiceStats['pool']>().toEqualTypeOf<PoolStats>()
  expectTypeOf<ServiceStats['traffic']>().toEqualTypeOf<TrafficStats | undefined>()
  expectTypeOf<RequestStats['errors']>().toEqualTypeOf<Readonly<Partial<Record<ErrorCode, number>>>>()
  expectTypeOf<LogRecord>().toEqualTypeOf<{
    readonly time: number
    readonly level: LogLevel
    readonly message: string
    readonly fields: LogFields
  }>()
  expectTypeOf<ServiceStats['pool']>().toExtend<Record<'open' | 'idle' | 'reused' | 'created', number>>()
  expectTypeOf<Server>().toExtend<AsyncDisposable>()
  expectTypeOf<HttpProxy>().toExtend<Service>()
  expectTypeOf<DemoOrigin>().toExtend<Service>()
  expectTypeOf<ConstructorParameters<typeof DemoOrigin>>().toEqualTypeOf<
    [options?: DemoOriginOptions | undefined]
  >()
  expectTypeOf<HttpProxy['addTcp']>().parameters.toEqualTypeOf<
    [address: string, options?: SocketOptions | undefined]
  >()
  expectTypeOf<HttpProxy['addTcp']>().returns.toEqualTypeOf<Endpoint>()
  expectTypeOf<HttpProxy['addTls']>().parameters.toEqualTypeOf<
    [address: string, tls: TlsOptions, options?: SocketOptions | undefined]
  >()
  expectTypeOf<HttpProxy['addTls']>().returns.toEqualTypeOf<TlsEndpoint>()
  expectTypeOf<Endpoint['address']>().toEqualTypeOf<Address>()
  expectTypeOf<Address>().toEqualTypeOf<{ readonly host: string; readonly port: number }>()
  expectTypeOf<TlsEndpoint['updateCertificates']>()
    .parameter(0)
    .toEqualTypeOf<Certificate | readonly Certificate[]>()
  expectTypeOf<HttpProxy['addUnix']>().parameters.toEqualTypeOf<
    [path: string, options?: UnixSocketOptions | undefined]
  >()
  expectTypeOf<HttpProxy['addUnix']>().returns.toEqualTypeOf<Endpoint>()
  expectTypeOf<Endpoint['close']>().toEqualTypeOf<() => Promise<void>>()
  expectTypeOf<UnixSocketOptions['owner']>().toEqualTypeOf<SocketOwner | undefined>()
  expectTypeOf<SocketOwner>().toEqualTypeOf<{ uid?: number; gid?: number }>()
  expectTypeOf<SocketOptions>().toExtend<AdmissionOptions>()
  expectTypeOf<UnixSocketOptions>().toExtend<AdmissionOptions>()
  expectTypeOf<AdmissionOptions['proxyProtocol']>().toEqualTypeOf<ProxyProtocolOptions | undefined>()
  expectTypeOf<AdmissionOptions['connectionFilter']>().toEqualTypeOf<
    ConnectionFilterOptions | ConnectionCheck | undefined
  >()
  expectTypeOf<ConnectionCheck>().toEqualTypeOf<
    (connection: IncomingConnection) => boolean | PromiseLike<boolean>
  >()
  expectTypeOf<IncomingConnection>().toEqualTypeOf<{ readonly client: Address; readonly server: Address }>()
  compiled(() => {
    // @ts-expect-error who is believed has to be said
    new HttpProxy({ upstreamPeer: peer }).addTcp('127.0.0.1:0', { proxyProtocol: {} })
    // @ts-expect-error a Unix socket has no port to share
    new HttpProxy({ upstreamPeer: peer }).addUnix('/a', { reusePort: true })
    // @ts-expect-error a check says true or false
    new HttpProxy({ upstreamPeer: peer }).addTcp('127.0.0.1:0', { connectionFilter: () => 'yes' })
  })
  expectTypeOf<SocketOptions['tcpKeepalive']>().toEqualTypeOf<TcpKeepalive | undefined>()
  compiled(() => {
    // @ts-expect-error a service is made by a class of millrace
    new Server().addService({ name: 'x' })
    // @ts-expect-error no such option
    new Server({ grace: 1 })
    // @ts-expect-error a port alone is no address
    new HttpProxy({ upstreamPeer: peer }).addTcp(8080)
    // @ts-expect-error TLS needs its options
    new HttpProxy({ upstreamPeer: peer }).addTls('127.0.0.1:0')
    // @ts-expect-error abstract
    ;new (null as unknown as typeof Service)()
  })
})

test('options of a proxy and of peers', () => {
  expectTypeOf<HttpProxyOptions>().toExtend<RouteValues>()
  expectTypeOf<HttpProxyOptions['http2']>().toEqualTypeOf<Http2Options | undefined>()
  expectTypeOf<HttpProxyOptions['forwarding']>().toEqualTypeOf<ForwardingOptions | undefined>()
  expectTypeOf<HttpProxyOptions['routes']>().toEqualTypeOf<readonly Route[] | undefined>()
  expectTypeOf<Route['match']>().toEqualTypeOf<RequestMatch | undefined>()
  expectTypeOf<Route>().toExtend<RouteValues>()
  expectTypeOf<{ routes: Route[] }>().toExtend<ActingOptions>()
  expectTypeOf<{ redirect: '/' }>().toExtend<ActingOptions>()
  expectTypeOf<{ requestHeaders: HeaderChanges }>().not.toExtend<ActingOptions>()
  expectTypeOf<RouteValues['redirect']>().toEqualTypeOf<Redirect | undefined>()
  expectTypeOf<{ to: string; status: 308 }>().toExtend<Redirect>()
  expectTypeOf<{ to: string; status: 200 }>().not.toExtend<Redirect>()
  expectTypeOf<'/x' | { prefix: '/a'; to: '/b' } | { pattern: RegExp; to: '' }>().toExtend<Rewrite>()
  expectTypeOf<{ pattern: string; to: '' }>().not.toExtend<Rewrite>()
  expectTypeOf<HttpPeerOptions>().toExtend<PeerTlsOptions>()
  expectTypeOf<HttpPeerOptions['protocol']>().toEqualTypeOf<'h1' | 'h2' | 'auto' | undefined>()
  expectTypeOf<HttpPeerOptions['connectProxy']>().toEqualTypeOf<ConnectProxy | undefined>()
  expectTypeOf<HttpPeer['address']>().toEqualTypeOf<string>()
  expectTypeOf<TlsOptions['clientAuth']>().toEqualTypeOf<ClientAuth | undefined>()
  expectTypeOf<ClientAuth['mode']>().toEqualTypeOf<'request' | 'require'>()
  expectTypeOf<Certificate['cert']>().toEqualTypeOf<Pem>()
  expectTypeOf<Pem>().toEqualTypeOf<string | Uint8Array>()
  expectTypeOf(selfSigned).toEqualTypeOf<(...names: string[]) => SelfSigned>()
  expectTypeOf<SelfSigned>().toEqualTypeOf<{ cert: string; key: string }>()
  compiled(() => {
    // @ts-expect-error no such protocol
    new HttpPeer('http://10.0.0.1', { protocol: 'h3' })
    // @ts-expect-error misspelt
    new HttpPeer('http://10.0.0.1', { conectTimeoutMs: 1 })
    // @ts-expect-error read-only
    peer.address = 'x'
    // @ts-expect-error a number
    new HttpProxy({ upstreamPeer: peer }, { threads: '4' })
    // @ts-expect-error misspelt
    new HttpProxy({ upstreamPeer: peer }, { maxRetry: 1 })
    // @ts-expect-error phases are needed
    new HttpProxy()
    // @ts-expect-error a string is no peer
    new HttpProxy({ upstreamPeer: 'http://10.0.0.1' })
  })
})

test('phases are typed by their context', () => {
  interface Ctx {
    user: string
  }
  expectTypeOf<ProxyHttp<Ctx>>().toExtend<WithCtx<Ctx>>()
  expectTypeOf<ProxyPart<Ctx>>().toExtend<WithCtx<Ctx>>()
  expectTypeOf<ProxyHttp>().toExtend<WithoutCtx>()
  expectTypeOf<ProxyHttp<Ctx>>().toExtend<AnyPhases>()
  expectTypeOf<ProxyPart<Ctx>>().toExtend<AnyPart>()
  expectTypeOf<WithoutCtx<Ctx>['newCtx']>().toEqualTypeOf<((session: Session) => Ctx) | undefined>()
  expectTypeOf<NonNullable<Phases<Ctx>['requestFilter']>>().toEqualTypeOf<
    (session: Session, ctx: Ctx) => Awaitable<Answer | void>
  >()
  expectTypeOf<NonNullable<Phases<Ctx>['failToConnect']>>().returns.toEqualTypeOf<
    Awaitable<Decision | void>
  >()
  expectTypeOf<NonNullable<Phases<Ctx>['errorWhileProxy']>>().parameters.toEqualTypeOf<
    [session: Session, peer: HttpPeer, error: ProxyError, ctx: Ctx]
  >()
  expectTypeOf<NonNullable<Phases<Ctx>['responseBodyFilter']>>().parameters.toEqualTypeOf<
    [session: Session, chunk: Buffer, end: boolean, ctx: Ctx]
  >()
  expectTypeOf<BodyEnd | string | null | undefined | Uint8Array>().toExtend<BodyResult>()
  expectTypeOf<{ end: false }>().not.toExtend<BodyResult>()
  expectTypeOf<NonNullable<Phases<Ctx>['interimResponseFilter']>>()
    .parameter(1)
    .toEqualTypeOf<InterimResponse>()
  expectTypeOf<NonNullable<Phases<Ctx>['responseTrailerFilter']>>().parameter(1).toEqualTypeOf<HeaderEdit>()
  expectTypeOf<NonNullable<Phases<Ctx>['upstreamRequestFilter']>>()
    .parameter(1)
    .toEqualTypeOf<RequestHeader>()
  expectTypeOf<NonNullable<Phases<Ctx>['upstreamResponseFilter']>>()
    .parameter(1)
    .toEqualTypeOf<ResponseHeader>()
  expectTypeOf<FilteredPhase<() => void>>().toEqualTypeOf<{ match: RequestMatch; handler: () => void }>()
  expectTypeOf<{ match: object; handler(session: Session, ctx: Ctx): 403 }>().toExtend<
    NonNullable<Filterable<Phases<Ctx>>['requestFilter']>
  >()
  expectTypeOf<(typeof PHASES)[number]>().toEqualTypeOf<PhaseName>()
  expectTypeOf<Exclude<keyof Phases<unknown>, PhaseName>>().toEqualTypeOf<
    'suppressErrorLog' | 'requestSummary' | 'scope'
  >()
  compiled(() => {
    // @ts-expect-error the context of newCtx is another
    const wrong: ProxyHttp<Ctx> = { newCtx: () => ({ user: 1 }), upstreamPeer: peer }
    // @ts-expect-error newCtx may not be async
    const late: ProxyHttp<Ctx> = { newCtx: async () => ({ user: '' }), upstreamPeer: peer }
    definePhases({
      newCtx: () => ({ user: '' }),
      upstreamPeer: peer,
      // @ts-expect-error there is no such member of the context
      requestFilter: (_session, ctx) => void ctx.name,
    })
    // @ts-expect-error an answer is not for logging
    definePhases({ upstreamPeer: peer, logging: () => 200 })
    // @ts-expect-error a string is no answer
    definePart({ requestFilter: () => 'no' })
    // @ts-expect-error a body phase does not answer
    definePart({ responseBodyFilter: () => 200 })
    return [wrong, late]
  })
})

test('the session and what it gives', () => {
  expectTypeOf<Session['request']>().toEqualTypeOf<RequestView>()
  expectTypeOf<Session['response']>().toEqualTypeOf<ResponseView | undefined>()
  expectTypeOf<Session['connection']>().toEqualTypeOf<ConnectionView>()
  expectTypeOf<Session['tls']>().toEqualTypeOf<TlsView | undefined>()
  expectTypeOf<Session['upstream']>().toEqualTypeOf<UpstreamView | undefined>()
  expectTypeOf<Session['timings']>().toEqualTypeOf<Timings>()
  expectTypeOf<Session['client']>().toEqualTypeOf<Address>()
  expectTypeOf<Session['readBody']>().parameters.toEqualTypeOf<[options?: ReadBodyOptions | undefined]>()
  expectTypeOf<Session['readBody']>().returns.toEqualTypeOf<Promise<Buffer>>()
  expectTypeOf<Session['respond']>().parameters.toEqualTypeOf<[answer: Answer]>()
  expectTypeOf<RequestView['headers']>().toEqualTypeOf<HeaderView>()
  expectTypeOf<RequestHeader['headers']>().toEqualTypeOf<HeaderEdit>()
  expectTypeOf<HeaderEdit>().toExtend<HeaderView>()
  expectTypeOf<HeaderView>().toExtend<Iterable<[string, string]>>()
  expectTypeOf<HeaderView>().not.toExtend<HeaderEdit>()
  expectTypeOf<
    Record<string, string> | [string, string][] | Headers | Map<string, string>
  >().toExtend<HeaderInput>()
  expectTypeOf<Record<string, number>>().not.toExtend<HeaderInput>()
  expectTypeOf<
    Readable | ReadableStream<string> | AsyncGenerator<Uint8Array> | string[]
  >().toExtend<BodySource>()
  expectTypeOf<{ status: number; body: BodySource }>().toExtend<Answer>()
  expectTypeOf<ResponseHeader['body']>().toEqualTypeOf<StreamTransform | undefined>()
  expectTypeOf<(whole: Buffer) => string>().toExtend<Transform>()
  expectTypeOf<(whole: Buffer) => Promise<Uint8Array | undefined>>().toExtend<Transform>()
  expectTypeOf<ResponseHeader['transformBody']>().parameter(0).toEqualTypeOf<TransformOptions>()
  expectTypeOf<{ peer: HttpPeer; detached: true; host: 'a' }>().toExtend<SubrequestOptions>()
  compiled(() => {
    const { request, upstream } = null as unknown as Session
    // @ts-expect-error fields as received
    request.headers.set('a', 'b')
    // @ts-expect-error there may be none
    upstream.peer
    // @ts-expect-error not a status
    ;(null as unknown as Session).respond('no')
  })
})

test('apps', () => {
  expectTypeOf<(request: Request) => Response>().toExtend<Handler>()
  expectTypeOf<(request: Request, info: HandlerInfo) => Promise<Answer>>().toExtend<Handler>()
  expectTypeOf<() => string>().not.toExtend<Handler>()
  expectTypeOf<HandlerInfo['connection']>().toEqualTypeOf<ConnectionView>()
  expectTypeOf<DownstreamOptions | TcpServiceOptions>().toExtend<ListeningOptions>()
  expectTypeOf<HttpAppOptions>().toExtend<DownstreamOptions>()
  expectTypeOf<HttpProxyOptions>().toExtend<DownstreamOptions>()
  expectTypeOf<(connection: Duplex) => void>().toExtend<ConnectionHandler>()
  expectTypeOf<TcpConnection>().toExtend<Duplex>()
  expectTypeOf<TcpAppOptions | TcpProxyOptions>().toExtend<TcpServiceOptions>()
  expectTypeOf<Connector['fetch']>().parameters.toEqualTypeOf<
    [peer: HttpPeer, request?: Request | ConnectorRequest | undefined]
  >()
  expectTypeOf<Connector['fetch']>().returns.toEqualTypeOf<Promise<Response>>()
  expectTypeOf<{ threads: 1; maxConcurrentRequests: 5 }>().toExtend<ConnectorOptions>()
  expectTypeOf<
    string | Blob | FormData | URLSearchParams | ReadableStream<Uint8Array>
  >().toExtend<ConnectorBody>()
  expectTypeOf<{ sni: 'a'; connectTimeoutMs: 1 }>().toExtend<TcpPeerOptions>()
  compiled(() => {
    new HttpApp({ fetch: () => new Response('') })
    new TcpProxy('a:1')
    new TcpProxy(new TcpPeer('a:1'))
    new TcpApp((connection) => connection.pipe(connection))
    new TcpApp(async (connection) => void connection.resume())
    definePhases({ scope: (run, session) => (session.id === '' ? undefined : run()), upstreamPeer: peer })
    new TcpApp((connection) => connection.end('x'))
    new TcpApp(async (connection) => connection.end('x'))
    new TcpApp(() => {})
    // @ts-expect-error a connection, and no socket
    new TcpApp((connection: string) => connection)
    // @ts-expect-error an app has no upstream
    new HttpApp(() => 200, { maxRetries: 1 })
    // @ts-expect-error a peer of connections speaks no HTTP
    new TcpPeer('a:1', { protocol: 'h2' })
  })
})

test('background services, dependencies and events', () => {
  expectTypeOf<BackgroundService>().toExtend<Service>()
  expectTypeOf<ConstructorParameters<typeof BackgroundService>>().toEqualTypeOf<
    [name: string, work: BackgroundFunction | BackgroundWork, options?: BackgroundServiceOptions | undefined]
  >()
  expectTypeOf<BackgroundServiceOptions['onFailure']>().toEqualTypeOf<
    'close' | 'restart' | 'continue' | undefined
  >()
  expectTypeOf<AddServiceOptions>().toEqualTypeOf<{ dependsOn?: readonly Service[] }>()
  expectTypeOf<Parameters<BackgroundFunction>[0]>().toEqualTypeOf<BackgroundContext & { ready(): void }>()
  expectTypeOf<Service['state']>().toEqualTypeOf<ServiceState>()
  expectTypeOf<Server['state']>().toEqualTypeOf<ServerState>()
  compiled(() => {
    const server = new Server()
    const work = server.addService(
      new BackgroundService('a', ({ signal, ready }) => {
        expectTypeOf(signal).toEqualTypeOf<AbortSignal>()
        ready()
      }),
      {
        dependsOn: [
          new BackgroundService('b', {
            async start({ signal }) {
              expectTypeOf(signal).toEqualTypeOf<AbortSignal>()
            },
          }),
        ],
      },
    )
    expectTypeOf(work).toEqualTypeOf<BackgroundService>()
    server.on('state', (state) => expectTypeOf(state).toEqualTypeOf<ServerState>())
    server.on('service', (...given) => expectTypeOf(given).toEqualTypeOf<ServerEvents['service']>())
    server.on('error', (error, service) => {
      expectTypeOf(error).toEqualTypeOf<UsageError>()
      expectTypeOf(service).toEqualTypeOf<Service>()
    })
    // @ts-expect-error what is to be ready is said in start or by ready()
    new BackgroundService('c', { ready() {} })
  })
})

test('errors', () => {
  expectTypeOf(ERROR_CODES).toEqualTypeOf<readonly ErrorCode[]>()
  expectTypeOf<'CONNECT_REFUSED' | 'PHASE_FAILED'>().toExtend<ErrorCode>()
  expectTypeOf<'ECONNREFUSED'>().not.toExtend<ErrorCode>()
  expectTypeOf<ProxyError['source']>().toEqualTypeOf<ErrorSource>()
  expectTypeOf<ProxyError['phase']>().toEqualTypeOf<ErrorPhase | undefined>()
  expectTypeOf<ErrorPhase>().toEqualTypeOf<PhaseName | 'scope' | 'handler'>()
  expectTypeOf<ConstructorParameters<typeof ProxyError>>().toEqualTypeOf<
    [options?: ProxyErrorOptions | undefined]
  >()
  expectTypeOf<UsageError['code']>().toEqualTypeOf<UsageCode>()
  expectTypeOf<UsageError['problems']>().toEqualTypeOf<readonly OptionProblem[]>()
  expectTypeOf<OptionProblem>().toEqualTypeOf<{
    readonly path: string
    readonly found: unknown
    readonly allowed: string
    readonly other?: string
    readonly platform?: string
  }>()
  expectTypeOf<UsageError>().toExtend<Error>()
  expectTypeOf<UsageError>().not.toExtend<ProxyError>()
  compiled(() => {
    // @ts-expect-error no such code
    new ProxyError({ code: 'TEAPOT' })
    // @ts-expect-error a message alone says no status
    new ProxyError('slow down')
    // @ts-expect-error read-only
    new ProxyError().code = 'INTERNAL'
  })
})

test('inject tells the context that the phases have', () => {
  const phases = definePhases({ newCtx: () => ({ user: 'ann' }), upstreamPeer: peer })
  const part = definePart({ newCtx: () => 5, requestFilter: () => {} })
  class Gateway implements ProxyHttp<Date> {
    upstreamPeer = peer
    newCtx() {
      return new Date()
    }
  }
  const given = {
    phases: () => inject(phases),
    bag: () => inject({ upstreamPeer: peer }, {}, { threads: 1 }),
    class: () => inject(new Gateway()),
    parts: () => inject([part, phases]),
    proxy: () => inject(new HttpProxy(phases)),
    told: () => inject<{ user: string }>(new HttpProxy(phases)),
  }
  expectTypeOf(given.phases).returns.resolves.toEqualTypeOf<Injected<{ user: string }>>()
  expectTypeOf(given.bag).returns.resolves.toEqualTypeOf<Injected<undefined>>()
  expectTypeOf(given.class).returns.resolves.toEqualTypeOf<Injected<Date>>()
  expectTypeOf(given.parts).returns.resolves.toEqualTypeOf<Injected<[number, { user: string }]>>()
  expectTypeOf(given.proxy).returns.resolves.toEqualTypeOf<Injected<unknown>>()
  expectTypeOf(given.told).returns.resolves.toEqualTypeOf<Injected<{ user: string }>>()
  expectTypeOf(inject).toEqualTypeOf<Inject>()
  expectTypeOf<CtxOf<ProxyHttp<1>>>().toEqualTypeOf<1>()
  expectTypeOf<CtxOf<ProxyHttp>>().toEqualTypeOf<undefined>()
  expectTypeOf<CtxsOf<readonly [ProxyPart<1>, ProxyHttp]>>().toEqualTypeOf<[1, undefined]>()
})

test('what inject takes and gives', () => {
  expectTypeOf<Injected['response']>().toEqualTypeOf<InjectedResponse>()
  expectTypeOf<Injected['phases']>().toEqualTypeOf<readonly PhaseCall[]>()
  expectTypeOf<Injected['skipped']>().toEqualTypeOf<readonly PhaseName[]>()
  expectTypeOf<Injected['error']>().toEqualTypeOf<ProxyError | undefined>()
  expectTypeOf<Injected['peer']>().toEqualTypeOf<HttpPeer | undefined>()
  expectTypeOf<Injected['upstreamRequest']>().toEqualTypeOf<UpstreamRequest | undefined>()
  expectTypeOf<Injected['upstreamRequests']>().toEqualTypeOf<readonly UpstreamRequest[]>()
  expectTypeOf<Injected['subrequests']>().toEqualTypeOf<readonly InjectedSubrequest[]>()
  expectTypeOf<Injected['log']>().toEqualTypeOf<readonly LogLine[]>()
  expectTypeOf<PhaseCall['outcome']>().toEqualTypeOf<PhaseOutcome>()
  expectTypeOf<InjectedResponse>().toExtend<Message>()
  expectTypeOf<UpstreamRequest>().toExtend<Message>()
  expectTypeOf<Message['rawHeaders']>().toEqualTypeOf<RawHeaders>()
  expectTypeOf<Message['text']>().returns.toEqualTypeOf<string>()
  expectTypeOf<Message['json']>().returns.toEqualTypeOf<unknown>()
  expectTypeOf<InjectedResponse['interims']>().toEqualTypeOf<readonly InjectedInterim[]>()
  expectTypeOf<InjectRequest['body']>().toEqualTypeOf<InjectBody | undefined>()
  expectTypeOf<URLSearchParams | string[]>().toExtend<InjectBody>()
  expectTypeOf<InjectRequest['tls']>().toEqualTypeOf<boolean | InjectTls | undefined>()
  expectTypeOf<200 | Response | { body: string; interims: UpstreamInterim[] }>().toExtend<UpstreamAnswer>()
  expectTypeOf<(request: Request) => Promise<Response>>().toExtend<UpstreamHandler>()
  expectTypeOf<() => string>().not.toExtend<UpstreamHandler>()
  compiled(() => {
    // @ts-expect-error misspelt
    inject({ upstreamPeer: peer }, { path: '/' })
    // @ts-expect-error no such version
    inject({ upstreamPeer: peer }, { version: 'h3' })
    // @ts-expect-error no peer
    inject({})
    // @ts-expect-error an HttpProxy has its options
    inject(new HttpProxy({ upstreamPeer: peer }), {}, { threads: 1 })
    // @ts-expect-error there may be none
    inject({ upstreamPeer: peer }).then(({ upstreamRequest }) => upstreamRequest.method)
  })
})

test('a module in the place of phases, and what its function gets', () => {
  const module = new URL('file:///gateway.js')
  expectTypeOf(new HttpProxy(module, { jsThreads: 4, jsBlockedTimeoutMs: 0 })).toEqualTypeOf<HttpProxy>()
  expectTypeOf<ThreadPlace>().toEqualTypeOf<{ readonly index: number; readonly count: number }>()
  expectTypeOf(new HttpProxy(module).reload({ graceMs: 1 })).toEqualTypeOf<Promise<void>>()
  const proxy = new HttpProxy({ upstreamPeer: new HttpPeer('127.0.0.1:1') })
  expectTypeOf(proxy.replace([{ upstreamPeer: new HttpPeer('127.0.0.1:1') }])).toEqualTypeOf<void>()
  // @ts-expect-error a module is not loaded by its name
  new HttpProxy('./gateway.js')
  // @ts-expect-error nor are phases replaced by one
  proxy.replace(module)
})
