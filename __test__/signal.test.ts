import { once as onceOf } from 'node:events'
import { connect as connectH2 } from 'node:http2'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type AnyPhases, HttpPeer, type ProxyError, type Server, type Session } from '../ts/index.js'
import { startApp } from './support/app.js'
import { Client, get, once, post } from './support/client.js'
import { startOrigin, startRaw } from './support/origin.js'
import { deferred, startProxy, until } from './support/proxy.js'

/** How a client leaves. */
const WAYS = [
  ['a FIN', (client: Client) => client.end()],
  ['a RST', (client: Client) => client.reset()],
] as const

/** Phases that note when the signal fires, why, and what was logged. */
function watched() {
  const reason = deferred<ProxyError>()
  const logged = deferred<ProxyError | undefined>()
  const entered = deferred<Session>()
  const phases: AnyPhases = {
    upstreamPeer: new HttpPeer('127.0.0.1:1'),
    requestFilter(session) {
      entered.resolve(session)
      session.signal.addEventListener('abort', () => reason.resolve(session.signal.reason))
      return new Promise<void>((_resolve, reject) => {
        session.signal.addEventListener('abort', () => reject(session.signal.reason))
      })
    },
    logging: (_s, error) => logged.resolve(error),
  }
  return { phases, reason: reason.promise, logged: logged.promise, entered: entered.promise }
}

test.each(WAYS)(
  'a client that leaves by %s during an async requestFilter of a POST',
  async (_name, leave) => {
    const { phases, reason, logged, entered } = watched()
    const { to, environment, lines } = await startProxy(phases)
    const client = await Client.connect(to)
    // Its whole body has come, and nobody reads it while the filter runs.
    client.write(post('/', 'x'.repeat(5_000)))
    await entered
    await leave(client)
    expect(await reason).toMatchObject({ code: 'CLIENT_ABORTED', source: 'downstream', status: 499 })
    expect(await logged).toMatchObject({ code: 'CLIENT_ABORTED', status: 499 })
    await until(() => environment.native.stats().slots === 0)
    await until(() => lines.length > 0)
    expect(lines).toEqual([expect.stringMatching(/^info 499 POST \//)])
  },
)

test('a client that leaves before its POST is whole', async () => {
  const { phases, reason, logged, entered } = watched()
  const { to } = await startProxy(phases)
  const client = await Client.connect(to)
  client.write(get('/', { 'content-length': '1000' }, 'POST'))
  client.write('x')
  await entered
  await client.end()
  expect((await reason).code).toBe('CLIENT_ABORTED')
  expect((await logged)?.code).toBe('CLIENT_ABORTED')
})

test('a client that leaves after one pipelined byte', async () => {
  const { phases, reason, logged, entered } = watched()
  const { to } = await startProxy(phases)
  const client = await Client.connect(to)
  client.write(`${get('/')}G`)
  await entered
  await client.end()
  expect((await reason).code).toBe('CLIENT_ABORTED')
  expect((await logged)?.code).toBe('CLIENT_ABORTED')
})

test.each(WAYS)('a client that leaves by %s during a stalled upload', async (_name, leave) => {
  // The origin takes the head and waits for a body that does not come.
  const got = deferred()
  const origin = await startRaw((socket) => socket.once('data', () => got.resolve()))
  const fired = deferred<ProxyError>()
  const logged = deferred<ProxyError | undefined>()
  const { to } = await startProxy({
    upstreamPeer: new HttpPeer(origin.address),
    earlyRequestFilter({ signal }) {
      signal.addEventListener('abort', () => fired.resolve(signal.reason))
    },
    logging: (_s, error) => logged.resolve(error),
  })
  const client = await Client.connect(to)
  client.write(get('/', { 'content-length': '1000' }, 'POST'))
  client.write('some')
  await got.promise
  await leave(client)
  expect((await fired.promise).code).toBe('CLIENT_ABORTED')
  expect((await logged.promise)?.code).toBe('CLIENT_ABORTED')
  await until(() => origin.sockets.size === 0)
})

test('a client that leaves while the origin is silent', async () => {
  const got = deferred()
  const origin = await startRaw((socket) => socket.once('data', () => got.resolve()))
  const fired = deferred<ProxyError>()
  const logged = deferred<ProxyError | undefined>()
  const { to } = await startProxy({
    upstreamPeer: new HttpPeer(origin.address),
    requestFilter({ signal }) {
      signal.addEventListener('abort', () => fired.resolve(signal.reason))
    },
    logging: (_s, error) => logged.resolve(error),
  })
  const client = await Client.connect(to)
  client.write(get('/'))
  await got.promise
  await client.end()
  expect((await fired.promise).code).toBe('CLIENT_ABORTED')
  expect((await logged.promise)?.code).toBe('CLIENT_ABORTED')
  await until(() => origin.sockets.size === 0)
})

test('a client that leaves is told of also where there is no logging', async () => {
  const got = deferred()
  const origin = await startRaw((socket) => socket.once('data', () => got.resolve()))
  const fired = deferred<ProxyError>()
  const { to } = await startProxy({
    upstreamPeer: new HttpPeer(origin.address),
    requestFilter({ signal }) {
      signal.addEventListener('abort', () => fired.resolve(signal.reason))
    },
  })
  const client = await Client.connect(to)
  client.write(get('/'))
  await got.promise
  await client.end()
  expect(await fired.promise).toMatchObject({ code: 'CLIENT_ABORTED', source: 'downstream' })
})

test('a client that leaves during an async responseFilter', async () => {
  const origin = await startOrigin()
  const entered = deferred()
  const { phases, logged } = watched()
  const fired = deferred<ProxyError>()
  const { to } = await startProxy({
    upstreamPeer: new HttpPeer(origin.address),
    responseFilter({ signal }) {
      entered.resolve()
      signal.addEventListener('abort', () => fired.resolve(signal.reason))
      return new Promise<void>(() => {})
    },
    logging: phases.logging!,
  })
  const client = await Client.connect(to)
  client.write(get('/'))
  await entered.promise
  await client.end()
  expect((await fired.promise).code).toBe('CLIENT_ABORTED')
  expect((await logged)?.code).toBe('CLIENT_ABORTED')
})

test('with halfClose a client that has ended its side gets its answer', async () => {
  const go = deferred()
  const entered = deferred()
  const { to } = await startProxy(
    {
      upstreamPeer: new HttpPeer('127.0.0.1:1'),
      async requestFilter(session) {
        entered.resolve()
        await go.promise
        if (session.signal.aborted) throw new Error('aborted')
        return { status: 200, body: 'late' }
      },
    },
    { halfClose: true },
  )
  const client = await Client.connect(to)
  client.write(get('/'))
  client.socket.end()
  await entered.promise
  go.resolve()
  expect(await client.reply()).toMatchObject({ status: 200, body: 'late' })
})

test('the deadline of a phase fires the signal, and the client gets a 504', async () => {
  const { phases, reason, logged } = watched()
  const { to } = await startProxy(phases, { callbackTimeoutMs: 50 })
  const client = await Client.connect(to)
  client.write(get('/'))
  expect((await client.reply())?.status).toBe(504)
  expect(await reason).toMatchObject({
    code: 'PHASE_TIMEOUT',
    message: expect.stringMatching('requestFilter'),
  })
  expect(await logged).toMatchObject({ code: 'PHASE_TIMEOUT', phase: 'requestFilter', status: 504 })
  await client.end()
})

test('a request that ends well leaves its signal alone', async () => {
  const origin = await startOrigin()
  const signals: AbortSignal[] = []
  const logged = deferred()
  const { to } = await startProxy({
    upstreamPeer: new HttpPeer(origin.address),
    requestFilter: ({ signal }) => void signals.push(signal),
    logging: () => logged.resolve(),
  })
  const client = await Client.connect(to)
  await client.ask(get('/'))
  await client.end()
  await logged.promise
  await until(() => signals.length === 1)
  expect(signals[0]?.aborted).toBe(false)
})

test('a fetch that is aborted by the signal is a client that left, not a phase that failed', async () => {
  const entered = deferred()
  const slow = await startRaw((socket) => socket.once('data', () => entered.resolve()))
  const logged = deferred<ProxyError | undefined>()
  const { to, lines } = await startProxy({
    upstreamPeer: new HttpPeer('127.0.0.1:1'),
    async requestFilter(session) {
      await fetch(`http://${slow.address}/`, { signal: session.signal })
    },
    logging: (_s, error) => logged.resolve(error),
  })
  const client = await Client.connect(to)
  client.write(get('/'))
  await entered.promise
  await client.end()
  expect(await logged.promise).toMatchObject({ code: 'CLIENT_ABORTED', source: 'downstream' })
  expect(lines.join()).not.toMatch(/PHASE_FAILED/)
})

/** Why nobody waits for a request any more though its client does. */
const ENDS = [
  ['its time is up', 'REQUEST_EXPIRED', { requestTimeoutMs: 100 }, async () => undefined],
  ['the server has closed', 'SERVER_CLOSED', {}, (server: Server) => server.close({ graceMs: 0 })],
] as const

describe.each(ENDS)('the reason where %s', (_, code, options, end) => {
  test('of a phase', async () => {
    const { phases, reason, logged, entered } = watched()
    const { to, server } = await startProxy(phases, options)
    const client = await Client.connect(to)
    client.write(get('/'))
    await entered
    await end(server)
    expect(await reason).toMatchObject({ code })
    expect(await logged).toMatchObject({ code })
    await client.end()
  })

  test.each(['1.1', '2'])('of a handler, and of a body that it reads, over HTTP/%s', async (version) => {
    const [entered, told] = [deferred(), deferred<unknown[]>()]
    const { to, url, server } = await startApp(async (request, info) => {
      const reason = new Promise((resolve) => {
        info.signal.addEventListener('abort', () => resolve(info.signal.reason))
      })
      const read = request.text().catch((error) => error)
      entered.resolve()
      const why = await reason
      told.resolve([why, request.signal.reason, await read])
      return 200
    }, options)
    if (version === '1.1') {
      const client = await Client.connect(to)
      client.write(get('/', { 'content-length': '10' }, 'POST'))
      onTestFinished(() => client.end())
    } else {
      const session = connectH2(url).on('error', () => undefined)
      onTestFinished(() => session.destroy())
      session
        .request({ ':method': 'POST', ':path': '/' })
        .on('error', () => undefined)
        .write('x')
    }
    await entered.promise
    await end(server)
    expect(await told.promise).toMatchObject([{ code }, { code }, { code }])
  })

  test('of a body that is being sent', async () => {
    const reason = deferred<unknown>()
    const { to, server } = await startApp((_request, { signal }) => {
      signal.addEventListener('abort', () => reason.resolve(signal.reason))
      return { status: 200, body: new ReadableStream({ start: (given) => given.enqueue('x') }) }
    }, options)
    const client = await Client.connect(to)
    client.write(get('/'))
    await onceOf(client.socket, 'data')
    await end(server)
    expect(await reason.promise).toMatchObject({ code })
    await client.end()
  })
})

/** What makes a body for as long as somebody hears of its end. */
const endless = () =>
  new ReadableStream({
    pull: (given) => given.enqueue(new Uint8Array(65_536)),
  })
/** What else cuts a response off that has begun. */
const CUTS = [
  ['its client takes nothing', 'WRITE_TIMEOUT', endless, ''],
  [
    'its body fails',
    'PHASE_FAILED',
    () =>
      (async function* () {
        yield 'x'
        throw new Error('no more')
      })(),
    '',
  ],
  ['the body that it passes on is too long', 'BODY_TOO_LARGE', undefined, '30000\r\n'],
  ['the body that it passes on does not come', 'REQUEST_TIMEOUT', undefined, '5\r\nhello\r\n'],
  ['the body that it passes on is malformed', 'BAD_REQUEST', undefined, '5\r\nhello\r\nx\r\n'],
] as const

test.each(CUTS)('the reason where %s', async (_, code, body, sent) => {
  const reason = deferred<unknown>()
  const { to } = await startApp(
    (request, info) => {
      const { signal } = info
      signal.addEventListener('abort', () => reason.resolve([signal.reason, request.signal.reason]))
      return { status: 200, body: body === undefined ? request.body! : body() }
    },
    { writeTimeoutMs: 300, bodyReadTimeoutMs: 300, maxRequestBodyBytes: 100_000 },
  )
  const client = await Client.connect(to)
  onTestFinished(() => client.reset())
  if (body === endless) client.socket.pause()
  client.write(get('/', { 'transfer-encoding': 'chunked' }, 'POST'))
  client.write(sent)
  if (sent.startsWith('30000')) client.write('x'.repeat(0x30000))
  if (sent === '') client.write('0\r\n\r\n')
  expect(await reason.promise).toMatchObject([{ code }, { code }])
})

test('a try whose time is up fires the signal of that try, and the next has its own', async () => {
  const origin = await startOrigin()
  const [seen, errors]: unknown[][] = [[], []]
  let tries = 0
  const { to } = await startProxy(
    {
      upstreamPeer: new HttpPeer(origin.address),
      async upstreamRequestFilter(session) {
        const { signal } = session
        seen.push(signal.aborted)
        if (++tries > 1) return
        await new Promise((resolve) => signal.addEventListener('abort', resolve))
        seen.push(signal.reason.code)
      },
      errorWhileProxy: (_s, _p, error) => {
        errors.push(error.message)
        return 'retry'
      },
    },
    { tryTimeoutMs: 50 },
  )
  const reply = await once(to, get('/'))
  expect([reply.status, errors]).toEqual([200, ['the try took too long']])
  await until(() => seen.length === 3)
  expect(seen.sort()).toEqual(['REQUEST_EXPIRED', false, false])
})
