// gRPC through the proxy: grpc-go's published client and server of its interoperability tests, and
// origins and clients on Node's HTTP/2 for what those do not show.
import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type AnyPhases, HttpPeer, type HttpPeerOptions, type ProxyError, type Session } from '../ts/index.js'
import { runExample } from './support/example.js'
import { end, GoTools, type InteropServer } from './support/go.js'
import { call, message, messageAfter, session } from './support/grpc.js'
import { DEAD } from './support/origin.js'
import { startProxy, until } from './support/proxy.js'
import { ca, startTls, startTlsOrigin } from './support/tls.js'

const go = await GoTools.build()
const withGo = describe.skipIf(go.missing !== undefined)

const SERVICE = '/grpc.testing.TestService'

// Left out are those that need an account with a cloud (compute_engine_creds, service_account_creds,
// jwt_token_creds, per_rpc_creds, oauth2_auth_token, google_default_credentials,
// compute_engine_channel_credentials), and pick_first_unary, see below.
const CASES = [
  'empty_unary',
  'large_unary',
  'client_streaming',
  'server_streaming',
  'ping_pong',
  'empty_stream',
  'timeout_on_sleeping_server',
  'cancel_after_begin',
  'cancel_after_first_response',
  'status_code_and_message',
  'special_status_message',
  'custom_metadata',
  'unimplemented_method',
  'unimplemented_service',
  'orca_per_rpc',
  'orca_oob',
  'rpc_soak',
  'channel_soak',
]
/** In these the client ends a stream before its time, or leaves with one of them open. */
const CANCELS = [
  'timeout_on_sleeping_server',
  'cancel_after_begin',
  'cancel_after_first_response',
  'orca_per_rpc',
  'orca_oob',
]

function argsOf(testCase: string): string[] {
  if (testCase.startsWith('orca'))
    return ['-service_config_json={"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}']
  if (testCase.endsWith('soak'))
    return [
      ...['-soak_iterations', '40', '-soak_num_threads', '4', '-soak_overall_timeout_seconds', '60'],
      ...['-soak_per_iteration_max_acceptable_latency_ms', '30000'],
    ]
  return []
}

/** Phases that look at all there is to look at. */
const CURIOUS: Partial<AnyPhases> = {
  requestBodyFilter: () => {},
  upstreamResponseBodyFilter: () => {},
  responseBodyFilter: () => {},
  responseTrailerFilter: () => {},
}

/** A proxy to an origin of gRPC, with what its phases saw. */
async function proxied(peer: HttpPeer, isTls = false, more: Partial<AnyPhases> = {}) {
  const logged: { path: string; version: string; code: string | undefined }[] = []
  const phases: AnyPhases = {
    ...more,
    upstreamPeer: () => peer,
    logging: ({ request }: Session, error?: ProxyError) =>
      void logged.push({ path: request.path, version: request.version, code: error?.code }),
  }
  const { to } = isTls ? await startTls(undefined, phases) : await startProxy(phases)
  return { port: to.port, url: `http://127.0.0.1:${to.port}`, logged }
}

describe.each([
  { how: 'in the clear', isTls: false, phases: {} },
  { how: 'over TLS', isTls: true, phases: {} },
  { how: 'with phases for bodies and trailers', isTls: false, phases: CURIOUS },
])('$how', ({ isTls, phases }) => {
  withGo(go.named('the interoperability tests of grpc-go'), () => {
    let server: InteropServer
    beforeAll(async () => {
      server = await go.interopServer(isTls)
    })
    afterAll(() => end(server.child))

    const origin = () =>
      isTls
        ? new HttpPeer(`https://localhost:${server.port}`, { protocol: 'h2', ca })
        : new HttpPeer(`127.0.0.1:${server.port}`, { protocol: 'h2' })

    test.each(CASES)('%s', async (testCase) => {
      const { port, logged } = await proxied(origin(), isTls, phases)
      expect(await go.interop(testCase, port, isTls, argsOf(testCase))).toMatchObject({ code: 0 })
      if (CANCELS.includes(testCase)) return
      await until(() => logged.length > 0)
      for (const one of logged)
        expect(one).toEqual({ path: expect.stringMatching(/^\/grpc\./), version: '2', code: undefined })
    })

    test('pick_first_unary fails without a proxy as well: the server does not say who it is', async () => {
      const { code, output } = await go.interop('pick_first_unary', server.port, isTls)
      expect([code, output]).toEqual([1, expect.stringContaining('got empty server ID')])
    })
  })
})

withGo(go.named('in front of the server of grpc-go'), () => {
  let server: InteropServer
  beforeAll(async () => {
    server = await go.interopServer(false)
  })
  afterAll(() => end(server.child))
  const origin = (options: HttpPeerOptions = {}) =>
    new HttpPeer(`127.0.0.1:${server.port}`, { protocol: 'h2', ...options })

  test.each([
    ['stays one HEADERS frame', {}],
    ['does so with phases for bodies and trailers', CURIOUS],
  ])('an answer that is all trailers %s, and others keep their trailers', async (_, phases) => {
    const { url } = await proxied(origin(), false, phases)
    const client = session(url)
    const { head, isAll, body } = await call(client, '/grpc.testing.Nobody/Knows')
    expect([isAll, head[':status'], head['grpc-status'], body.length]).toEqual([true, 200, '12', 0])
    expect(Object.keys(head).sort()).toEqual([
      ':status',
      'content-type',
      'date',
      'grpc-message',
      'grpc-status',
    ])
    const known = await call(client, `${SERVICE}/EmptyCall`)
    expect([known.isAll, known.head['grpc-status'], known.body]).toEqual([false, undefined, message()])
    expect(known.trailers['grpc-status']).toBe('0')
  })

  test('phases see the status of a call in its trailers, or in the head that is all trailers', async () => {
    const seen: [where: string, status: string | undefined][] = []
    const { port } = await proxied(origin(), false, {
      responseFilter: (_, { headers }) => void seen.push(['head', headers.get('grpc-status')]),
      responseTrailerFilter: (_, trailers) => void seen.push(['trailers', trailers.get('grpc-status')]),
    })
    expect(await go.interop('empty_unary', port, false)).toMatchObject({ code: 0 })
    expect(seen.splice(0)).toEqual([
      ['head', undefined],
      ['trailers', '0'],
    ])
    expect(await go.interop('status_code_and_message', port, false)).toMatchObject({ code: 0 })
    expect(seen).toEqual([
      ['head', '2'],
      ['head', '2'],
    ])
  })

  test('a stream may be idle: pings become rare before a server of gRPC minds them', async () => {
    const { url, logged } = await proxied(origin({ h2PingIntervalMs: 100 }))
    const left = await call(session(url), `${SERVICE}/StreamingOutputCall`, { sent: messageAfter(4_000) })
    expect([left.reset, left.trailers['grpc-status']]).toEqual([0, '0'])
    await until(() => logged.length === 1)
    expect(logged).toMatchObject([{ code: undefined }])
  })

  test('a deadline that the server ends is a reset, which clients take for what it is', async () => {
    const { url, logged } = await proxied(origin())
    const late = { sent: messageAfter(60_000), headers: { 'grpc-timeout': '100m' } }
    const { head, reset } = await call(session(url), `${SERVICE}/StreamingOutputCall`, late)
    expect([head, reset]).toEqual([{}, constants.NGHTTP2_CANCEL])
    await until(() => logged.length === 1)
    expect(logged).toMatchObject([{ code: 'UPSTREAM_CLOSED' }])
  })

  test('a peer that is spoken to in HTTP/1.1 is unavailable', async () => {
    const { port, logged } = await proxied(new HttpPeer(`127.0.0.1:${server.port}`))
    const { output } = await go.interop('empty_unary', port, false)
    expect(output).toContain(
      'code = Unavailable desc = unexpected HTTP status code received from server: 502',
    )
    await until(() => logged.length > 0)
    expect(logged[0]!.code).toMatch(/^UPSTREAM_/)
  })

  test('examples/grpc.ts lets in who has the token', async () => {
    const { at, secure, child, ended } = await runExample('grpc', `http://127.0.0.1:${server.port}`)
    const port = Number(at.split(':')[1])
    const refused = await go.interop('empty_unary', port, false)
    expect(refused.output).toContain('code = Unauthenticated desc = a token is needed')
    const token = ['-additional_metadata', 'authorization:Bearer secret']
    for (const testCase of ['empty_unary', 'ping_pong'])
      expect(await go.interop(testCase, port, false, token)).toMatchObject({ code: 0 })
    const client = session(`https://${secure}`, { rejectUnauthorized: false })
    const headers = { authorization: 'Bearer secret' }
    const { trailers } = await call(client, `${SERVICE}/EmptyCall`, { headers })
    expect(trailers['grpc-status']).toBe('0')
    client.destroy()
    child.kill('SIGTERM')
    expect(await ended).toEqual([0, null])
  })
})

withGo(go.named('the client of grpc-go'), () => {
  test.each([
    [400, 'Internal'],
    [401, 'Unauthenticated'],
    [403, 'PermissionDenied'],
    [404, 'Unimplemented'],
    [408, 'Unknown'],
    [429, 'Unavailable'],
    [500, 'Unknown'],
    [502, 'Unavailable'],
    [503, 'Unavailable'],
    [504, 'Unavailable'],
  ])('takes the status %i for %s', async (status, code) => {
    const { to } = await startProxy({ upstreamPeer: new HttpPeer(DEAD), requestFilter: () => status })
    const { output } = await go.interop('empty_unary', to.port, false)
    expect(output).toContain(
      `code = ${code} desc = unexpected HTTP status code received from server: ${status}`,
    )
  })

  test('takes an origin that is not there for Unavailable', async () => {
    const { port, logged } = await proxied(new HttpPeer(DEAD, { protocol: 'h2' }))
    const { output } = await go.interop('empty_unary', port, false)
    expect(output).toContain(
      'code = Unavailable desc = unexpected HTTP status code received from server: 502',
    )
    await until(() => logged.length > 0)
    expect(logged).toMatchObject([{ code: 'CONNECT_REFUSED' }])
  })

  test('takes an answer of a phase that speaks gRPC as it is meant', async () => {
    const headers = {
      'content-type': 'application/grpc',
      'grpc-status': '8',
      'grpc-message': 'come back later',
    }
    const requestFilter = () => ({ status: 200, headers })
    const { http, to } = await startProxy({ upstreamPeer: new HttpPeer(DEAD), requestFilter })
    const { output } = await go.interop('empty_unary', to.port, false)
    expect(output).toContain('code = ResourceExhausted desc = come back later')
    expect((await call(session(http.url), `${SERVICE}/EmptyCall`)).isAll).toBe(true)
  })

  test('gives up at its deadline, and the origin is told', async () => {
    const { port, calls, logged } = await endless(false)
    const soak = ['-soak_iterations', '1', '-soak_overall_timeout_seconds', '1', '-soak_max_failures', '1']
    await go.interop('rpc_soak', port, false, soak)
    await until(() => calls[0]!.stream.closed && logged.length === 1)
    const { stream, headers } = calls[0]!
    expect([headers[':path'], headers.te]).toEqual([`${SERVICE}/UnaryCall`, 'trailers'])
    expect(headers['grpc-timeout']).toMatch(/^\d+[mun]$/)
    expect([stream.aborted, stream.rstCode]).toEqual([true, constants.NGHTTP2_CANCEL])
    expect(logged).toMatchObject([{ code: 'CLIENT_ABORTED' }])
  })

  test('cancels in the middle, and the origin is told', async () => {
    const { port, calls, logged } = await endless(true)
    expect(await go.interop('cancel_after_first_response', port, false)).toMatchObject({ code: 0 })
    await until(() => calls[0]!.stream.closed && logged.length === 1)
    const { stream } = calls[0]!
    expect([stream.aborted, stream.rstCode]).toEqual([true, constants.NGHTTP2_CANCEL])
    expect(logged).toMatchObject([{ code: 'CLIENT_ABORTED' }])
  })
})

/** An origin that never ends a call; if it is to, it begins with a message. */
async function endless(isAnswering: boolean) {
  const calls: { headers: IncomingHttpHeaders; stream: ServerHttp2Stream }[] = []
  const { port } = await startTlsOrigin('clear', ({ headers }, { stream }) => {
    stream.on('error', () => {})
    stream.resume()
    calls.push({ headers, stream })
    if (!isAnswering) return
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' })
    stream.write(message())
  })
  return { calls, ...(await proxied(new HttpPeer(`127.0.0.1:${port}`, { protocol: 'h2' }))) }
}

test.each([
  ['is reset by the origin', (stream: ServerHttp2Stream) => stream.destroy(new Error('enough'))],
  ['ends with the origin’s connection', (stream: ServerHttp2Stream) => stream.session!.destroy()],
])('a stream that %s is reset, and never ends as if it were whole', async (_, end) => {
  const { url, calls, logged } = await endless(true)
  const called = await call(session(url), `${SERVICE}/FullDuplexCall`, {
    onData: () => end(calls[0]!.stream),
  })
  expect([called.head[':status'], called.body, called.trailers]).toEqual([200, message(), {}])
  expect(called.reset).toBe(constants.NGHTTP2_INTERNAL_ERROR)
  await until(() => logged.length === 1)
  expect(logged).toMatchObject([{ code: 'UPSTREAM_CLOSED' }])
})
