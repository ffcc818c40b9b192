// What the log says of failed requests, and who has a say in it.
import { expect, test } from 'vitest'
import { type AnyPart, HttpPeer, type HttpProxyOptions, type Session } from '../ts/index.js'
import { Client, get, once } from './support/client.js'
import { DEAD, startOrigin } from './support/origin.js'
import { startProxy, until } from './support/proxy.js'

const dead = new HttpPeer(DEAD)
const REFUSED =
  /^warn 502 GET \/a\?b, Host: a\.example, client 127\.0\.0\.1:\d+: CONNECT_REFUSED \(upstream\): .+$/

async function lines(phases: Partial<AnyPart>, request = get('/a?b'), options: HttpProxyOptions = {}) {
  const proxy = await startProxy({ upstreamPeer: dead, ...phases }, options)
  await once(proxy.to, request)
  const { crossing } = proxy.environment
  const logged = proxy.lines
  await until(() => crossing.sessions === 0)
  return { ...proxy, lines: logged }
}

test('suppressErrorLog keeps the line out of the log, for the errors it says', async () => {
  const asked: unknown[] = []
  const {
    to,
    lines: logged,
    environment,
  } = await lines({
    suppressErrorLog: (session, error) => {
      asked.push([session.request.path, error.code, error.status])
      return session.request.path !== '/told'
    },
  })
  await until(() => asked.length === 1)
  expect(asked).toEqual([['/a', 'CONNECT_REFUSED', 502]])
  expect(logged).toEqual([])
  await once(to, get('/told'))
  await until(() => logged.length === 1 && environment.crossing.sessions === 0)
  expect(logged[0]).toMatch(/^warn 502 GET \/told, Host: a\.example, client 127/)
})

test('the line is the same whoever writes it', async () => {
  const plain = await lines({})
  await until(() => plain.lines.length === 1)
  const asked = await lines({ suppressErrorLog: () => false })
  await until(() => asked.lines.length === 1)
  const same = (line: string) => line.replace(/127\.0\.0\.1:\d+:/, 'client:')
  expect(plain.lines[0]).toMatch(REFUSED)
  expect(same(asked.lines[0]!)).toBe(same(plain.lines[0]!))
})

test('requestSummary stands in the line, on one line and bounded', async () => {
  const { lines: logged } = await lines({
    requestSummary: (session) => `${session.id}\r\nerror forged\n${'x'.repeat(5000)}`,
  })
  await until(() => logged.length === 1)
  expect(logged[0]).toMatch(/^warn 502 \d+ error forged x+\.\.\., client .+: CONNECT_REFUSED/)
  expect(logged[0]!.length).toBeLessThan(1300)
})

test('neither is called, and nothing crosses, for requests that do not fail', async () => {
  const origin = await startOrigin()
  let calls = 0
  const hook = () => {
    calls++
    return true
  }
  const count = async (own: object) => {
    const { to, environment } = await startProxy({ upstreamPeer: new HttpPeer(origin.address), ...own })
    const client = await Client.connect(to)
    const before = environment.native.stats().items
    for (let at = 0; at < 5; at++) await client.ask(get('/'))
    const { items } = environment.native.stats()
    await client.end()
    return items - before
  }
  expect(await count({})).toBe(0)
  expect(await count({ suppressErrorLog: hook, requestSummary: () => String(hook()) })).toBe(0)
  expect(calls).toBe(0)
})

test('they are asked beside phases that are only for some requests, and in routes', async () => {
  const own = (name: string): AnyPart => ({
    requestSummary: () => name,
    logging: { match: { path: '/never' }, handler: () => {} } as never,
    upstreamPeer: dead,
  })
  const { to, lines: logged } = await startProxy(own('of the proxy') as never, {
    routes: [{ match: { path: '/routed' }, phases: own('of the route') as never }],
  })
  await once(to, get('/routed'))
  await once(to, get('/other'))
  await until(() => logged.length === 2)
  expect(logged[0]).toMatch(/^warn 502 of the route, client/)
  expect(logged[1]).toMatch(/^warn 502 of the proxy, client/)
})

test('what they throw or return wrongly is logged, and so is the line', async () => {
  for (const [bad, complaint] of [
    [
      () => {
        throw new Error('no')
      },
      'failed: Error: no',
    ],
    [() => Promise.resolve(true), 'returned an object (Promise)'],
    [() => 1, 'returned 1'],
  ] as const) {
    for (const name of ['suppressErrorLog', 'requestSummary']) {
      const { lines: logged } = await lines({ [name]: bad })
      await until(() => logged.length === 2)
      expect(logged[0]).toContain(`error ${name} ${complaint}`)
      expect(logged[1]).toMatch(REFUSED)
    }
  }
})

test('they have the context, run before logging, and in parts from the inside out', async () => {
  const calls: unknown[] = []
  const part = (name: string, suppresses: boolean, own: AnyPart = {}): AnyPart => ({
    newCtx: () => name,
    suppressErrorLog: (_session, _error, ctx) => {
      calls.push(['suppress', ctx])
      return suppresses
    },
    requestSummary: (_session: Session, ctx: string) => {
      calls.push(['summary', ctx])
      return `summary of ${ctx}`
    },
    logging: (_session, _error, ctx) => void calls.push(['logging', ctx]),
    ...own,
  })
  const { to, lines: logged } = await startProxy([part('a', false), part('b', false, { upstreamPeer: dead })])
  await once(to, get('/'))
  await until(() => calls.length === 5)
  expect(calls).toEqual([
    ['suppress', 'b'],
    ['suppress', 'a'],
    ['summary', 'b'],
    ['logging', 'b'],
    ['logging', 'a'],
  ])
  expect(logged[0]).toMatch(/^warn 502 summary of b, client/)
})

test('line 11: they, logging and the line are told of what could not be parsed, with what is known of it', async () => {
  const told: unknown[] = []
  const note = (what: string, session: Session, code: string | undefined) => {
    const { method, target } = session.request
    told.push([what, method, target, session.client.host, code])
  }
  const { to, lines: logged } = await startProxy({
    upstreamPeer: dead,
    suppressErrorLog: (session, error) => {
      note('suppress', session, error.code)
      return false
    },
    logging: (session, error) => note('logging', session, error?.code),
  })
  const cases = [
    ['GET /known HTTP/1.1\r\nbad header\r\n\r\n', 'GET', '/known', 'BAD_REQUEST'],
    ['\0\0\0garbage\r\n\r\n', '-', '-', 'BAD_REQUEST'],
    [`GET /long HTTP/1.1\r\nx: ${'x'.repeat(70_000)}\r\n\r\n`, 'GET', '/long', 'HEADER_TOO_LARGE'],
    ['CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n', 'CONNECT', 'a:1', 'METHOD_NOT_ALLOWED'],
  ] as const
  for (const [bytes, method, target, code] of cases) {
    const client = await Client.connect(to)
    client.write(bytes)
    await client.reply()
    await client.end()
    await until(() => told.length === 2)
    expect(told.splice(0)).toEqual(
      ['suppress', 'logging'].map((what) => [what, method, target, '127.0.0.1', code]),
    )
    await until(() => logged.length === 1)
    expect(logged.splice(0)[0]).toContain(`${method} ${target}, Host: `)
  }
})
