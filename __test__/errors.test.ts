import { describe, expect, test } from 'vitest'
import {
  type AnyPhases,
  ERROR_CODES,
  HttpPeer,
  HttpProxy,
  type HttpProxyOptions,
  type Logger,
  ProxyError,
  Server,
} from '../ts/index.js'
import { program } from './support/child.js'
import { Client, get, once, post } from './support/client.js'
import { DEAD, startOrigin, startRaw } from './support/origin.js'
import { deferred, startProxy, until } from './support/proxy.js'

interface Case {
  code: string
  status: number
  source: string
  /** Where the request goes; default: an origin that echoes. */
  address?: () => Promise<string>
  peer?: object
  options?: HttpProxyOptions
  phases?: Partial<AnyPhases>
  request?: string
}

const silent = async () => (await startRaw((socket) => socket.resume())).address
const saying = (text: string) => async () =>
  (await startRaw((socket) => socket.once('data', () => socket.end(text)))).address

const CASES: Case[] = [
  { code: 'DNS_FAILED', status: 502, source: 'upstream', address: async () => 'no-such-host.invalid:80' },
  { code: 'CONNECT_REFUSED', status: 502, source: 'upstream', address: async () => DEAD },
  { code: 'CONNECT_FAILED', status: 502, source: 'upstream', address: async () => 'unix:/nowhere/to.sock' },
  { code: 'UPSTREAM_CLOSED', status: 502, source: 'upstream', address: saying('') },
  { code: 'UPSTREAM_INVALID', status: 502, source: 'upstream', address: saying('hello\r\n\r\n') },
  {
    code: 'UPSTREAM_INVALID',
    status: 502,
    source: 'upstream',
    address: saying('HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx'),
  },
  { code: 'READ_TIMEOUT', status: 504, source: 'upstream', address: silent, peer: { readTimeoutMs: 50 } },
  {
    code: 'REQUEST_EXPIRED',
    status: 504,
    source: 'upstream',
    address: silent,
    options: { requestTimeoutMs: 50 },
  },
  {
    code: 'REQUEST_EXPIRED',
    status: 504,
    source: 'upstream',
    address: silent,
    options: { tryTimeoutMs: 50 },
  },
  {
    code: 'PHASE_TIMEOUT',
    status: 504,
    source: 'internal',
    options: { callbackTimeoutMs: 50 },
    phases: { requestFilter: () => new Promise<void>(() => {}) },
  },
  { code: 'BAD_REQUEST', status: 400, source: 'downstream', request: 'GET / HTTP/1.1\r\n\r\n' },
  {
    code: 'METHOD_NOT_ALLOWED',
    status: 405,
    source: 'downstream',
    request: 'CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n',
  },
  {
    code: 'REQUEST_TIMEOUT',
    status: 408,
    source: 'downstream',
    options: { requestHeaderTimeoutMs: 50 },
    request: 'GET / HTTP/1.1\r\nhost:',
  },
  {
    code: 'BODY_TOO_LARGE',
    status: 413,
    source: 'downstream',
    options: { maxRequestBodyBytes: 3 },
    request: post('/', 'four'),
  },
  {
    code: 'HEADER_TOO_LARGE',
    status: 431,
    source: 'downstream',
    options: { maxHeaders: 2 },
    request: get('/', { a: '1', b: '2' }),
  },
  {
    code: 'NOT_IMPLEMENTED',
    status: 501,
    source: 'downstream',
    request: get('/', { 'transfer-encoding': 'gzip, chunked' }, 'POST'),
  },
  {
    code: 'VERSION_NOT_SUPPORTED',
    status: 505,
    source: 'downstream',
    request: 'GET / HTTP/2.0\r\nhost: a\r\n\r\n',
  },
  {
    code: 'PHASE_FAILED',
    status: 500,
    source: 'internal',
    phases: {
      requestFilter() {
        throw new Error('secret')
      },
    },
  },
  { code: 'PHASE_RETURN', status: 500, source: 'internal', phases: { requestFilter: (() => true) as never } },
  {
    code: 'RETRY_UNSAFE',
    status: 500,
    source: 'internal',
    address: saying(''),
    phases: { errorWhileProxy: () => 'retry' },
    request: post('/', 'x'),
  },
]

describe('each error has its code, its status and a page that leaks nothing', () => {
  test.each(CASES.map((one) => [one.code, one] as const))('%s', async (_code, one) => {
    const errors: (ProxyError | undefined)[] = []
    const address = await (one.address ?? (async () => (await startOrigin()).address))()
    const { to, lines } = await startProxy(
      {
        upstreamPeer: new HttpPeer(address, one.peer),
        ...one.phases,
        logging: (_s, error) => void errors.push(error),
      },
      one.options,
    )
    const reply = await once(to, one.request ?? get('/'))
    await until(() => errors.length === 1)
    expect(errors[0]).toBeInstanceOf(ProxyError)
    expect(errors[0]).toMatchObject({ code: one.code, status: one.status, source: one.source })
    expect(reply.status).toBe(one.status)
    expect(reply.body).toMatch(new RegExp(`^${one.status} [A-Za-z ]+\n$`))
    expect(reply.header('content-type')).toBe('text/plain; charset=utf-8')
    const names = reply.headers
      .map(([name]) => name)
      .filter((name) => name !== 'allow' && name !== 'connection')
    expect(names.sort()).toEqual(['cache-control', 'content-length', 'content-type', 'date'])
    await until(() => lines.length > 0)
    expect(lines).toEqual([expect.stringMatching(new RegExp(`^warn ${one.status} `))])
    expect(ERROR_CODES).toContain(one.code)
  })
})

test('OVERLOADED: more waits for JavaScript than maxQueued', async () => {
  const entered = deferred()
  const codes: (string | undefined)[] = []
  let clients: Client[] = []
  const { to } = await startProxy(
    {
      upstreamPeer: new HttpPeer(DEAD),
      requestFilter({ request }) {
        if (request.path !== '/first') return 204
        // What is written now is read while JavaScript cannot take it.
        for (const client of clients) client.write(get('/more'))
        const end = performance.now() + 300
        while (performance.now() < end) {
          // Nothing else can run.
        }
        entered.resolve()
        return 204
      },
      logging: (_s, error) => void codes.push(error?.code),
    },
    { maxQueued: 4, threads: 1 },
  )
  clients = await Promise.all(Array.from({ length: 40 }, () => Client.connect(to)))
  const first = await Client.connect(to)
  first.write(get('/first'))
  await entered.promise
  const statuses = (await Promise.all(clients.map((client) => client.reply()))).map((reply) => reply?.status)
  const refused = statuses.filter((status) => status === 503).length
  expect(refused).toBeGreaterThan(0)
  expect(statuses.filter((status) => status === 204).length).toBe(40 - refused)
  await until(() => codes.length === 41)
  expect(codes.filter((code) => code === 'OVERLOADED').length).toBe(refused)
  for (const client of [first, ...clients]) await client.end()
})

test('a ProxyError that is thrown with a status answers with status, headers and message', async () => {
  const logged = deferred<ProxyError | undefined>()
  const thrown = new ProxyError({
    status: 429,
    headers: { 'Retry-After': '1', 'set-cookie': ['a=1', 'b=2'] },
    message: 'too many of them',
  })
  const { to, lines } = await startProxy({
    upstreamPeer: new HttpPeer(DEAD),
    requestFilter() {
      throw thrown
    },
    logging: (_s, error) => logged.resolve(error),
  })
  const reply = await once(to, get('/'))
  expect([reply.status, reply.header('retry-after'), reply.all('set-cookie')]).toEqual([
    429,
    '1',
    ['a=1', 'b=2'],
  ])
  expect(reply.body).toBe('too many of them\n')
  expect(await logged.promise).toBe(thrown)
  expect(thrown.phase).toBe('requestFilter')
  await until(() => lines.length === 1)
  expect(lines[0]).toContain('too many of them')
})

test('the message of a ProxyError without a status is for the log alone', async () => {
  const { to, lines } = await startProxy({
    upstreamPeer: new HttpPeer(DEAD),
    requestFilter() {
      throw new ProxyError({ code: 'OVERLOADED', message: 'secret', headers: { 'retry-after': '5' } })
    },
  })
  const reply = await once(to, get('/'))
  expect([reply.status, reply.header('retry-after')]).toEqual([503, '5'])
  expect(reply.body).toBe('503 Service Unavailable\n')
  await until(() => lines.length === 1)
  expect(lines[0]).toContain('secret')
})

test('an error with a statusCode of 400 to 599 is answered with it; its message is not shown', async () => {
  const statuses: unknown[] = [404, 599, 399, 600, 404.5, '404', undefined]
  const errors: (ProxyError | undefined)[] = []
  const { to } = await startProxy({
    upstreamPeer: new HttpPeer(DEAD),
    requestFilter({ request }) {
      throw Object.assign(new Error('secret'), { statusCode: statuses[Number(request.query)] })
    },
    logging: (_s, error) => void errors.push(error),
  })
  const client = await Client.connect(to)
  const replies = []
  for (let n = 0; n < statuses.length; n++) replies.push(await client.ask(get(`/?${n}`)))
  expect(replies.map(({ status }) => status)).toEqual([404, 599, 500, 500, 500, 500, 500])
  for (const { body } of replies) expect(body).not.toContain('secret')
  await client.end()
  await until(() => errors.length === statuses.length)
  expect(errors[0]?.cause).toMatchObject({ message: 'secret', statusCode: 404 })
  expect(errors[0]?.cause).toHaveProperty('stack', expect.stringMatching(/errors\.test\.ts/))
})

test.each<[string, AnyPhases['failToProxy'], RegExp]>([
  [
    'throws',
    () => {
      throw new Error('no page')
    },
    /failToProxy: Error: no page/,
  ],
  ['returns nonsense', () => 'oops' as never, /failToProxy/],
  [
    'answers with what fails',
    () => ({
      status: 503,
      body: (async function* () {
        yield 'a'
        throw new Error('cut')
      })(),
    }),
    /failToProxy: Error: cut/,
  ],
])('a failToProxy that %s is a line in the log beside that of the request', async (_, failToProxy, told) => {
  const { to, lines } = await startProxy({ upstreamPeer: new HttpPeer(DEAD), failToProxy: failToProxy! })
  await once(to, get('/')).catch(() => undefined)
  await until(() => lines.length === 2)
  expect(lines.filter((line) => told.test(line))).toEqual([
    expect.stringMatching(/^error the answer to a failed request failed: /),
  ])
  expect(lines.filter((line) => line.startsWith('warn 502 GET /'))).toHaveLength(1)
})

test('an origin that is cut short is never a shorter success', async () => {
  for (const head of [
    'content-length: 10\r\n\r\n12345',
    'transfer-encoding: chunked\r\n\r\n5\r\n12345\r\n',
  ]) {
    const origin = await startRaw((socket) =>
      socket.once('data', () => socket.end(`HTTP/1.1 200 OK\r\n${head}`)),
    )
    const logged = deferred<ProxyError | undefined>()
    const { to } = await startProxy({
      upstreamPeer: new HttpPeer(origin.address),
      logging: (_s, error) => logged.resolve(error),
    })
    const client = await Client.connect(to)
    client.write(get('/'))
    await expect(client.reply()).rejects.toThrow(/cut short/)
    expect((await logged.promise)?.code).toBe('UPSTREAM_CLOSED')
  }
})

test('a logger gets the lines by level; one that throws hurts nobody', async () => {
  const lines: string[] = []
  const logger: Logger = {
    debug: (line) => void lines.push(`debug ${line}`),
    info: (line) => void lines.push(`info ${line}`),
    warn: (line) => void lines.push(`warn ${line}`),
    error(line) {
      lines.push(`error ${line}`)
      throw new Error('the logger')
    },
  }
  const server = new Server({ logger })
  const proxy = server.addService(
    new HttpProxy(
      {
        upstreamPeer: new HttpPeer(DEAD),
        logging() {
          throw new Error('from logging')
        },
      },
      { threads: 1 },
    ),
  )
  const http = proxy.addTcp('127.0.0.1:0')
  await server.start()
  expect((await once(http.address, get('/path?q=1'))).status).toBe(502)
  await until(() => lines.length === 2)
  expect(lines.sort()).toEqual([
    expect.stringMatching(/^error logging failed: Error: from logging/),
    expect.stringMatching(
      /^warn 502 GET \/path\?q=1, Host: a\.example, client 127\.0\.0\.1:\d+: .*CONNECT_REFUSED/,
    ),
  ])
  await server.close()
})

test('each server has its own logger', async () => {
  const servers = await Promise.all([1, 2, 3].map(() => startProxy({ upstreamPeer: new HttpPeer(DEAD) })))
  for (const { to } of [servers[0]!, servers[2]!, servers[2]!]) await once(to, get('/'))
  await until(() => servers[2]!.lines.length === 2 && servers[0]!.lines.length === 1)
  expect(servers.map(({ lines }) => lines.length)).toEqual([1, 0, 2])
})

test.each([
  ['', 1],
  ['logger: false', 0],
])('with { %s } stderr gets %i line for an error', async (options, count) => {
  const { line, ended } = program(`
    const server = new Server({ ${options} })
    const proxy = server.addService(new HttpProxy({ upstreamPeer: new HttpPeer('127.0.0.1:1') }, { threads: 1 }))
    const http = proxy.addTcp('127.0.0.1:0')
    await server.start()
    console.log((await fetch(http.url + '/a%0ab')).status)
    await server.close()`)
  expect(await line()).toBe('502')
  const { stderr, code } = await ended
  expect(code).toBe(0)
  const lines = stderr.split('\n').filter((text) => text !== '')
  expect(lines).toHaveLength(count)
  for (const text of lines) expect(text).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z warn millrace: 502 GET \/a%0ab/)
})
