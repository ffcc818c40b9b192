// Apps: what a handler gets of a request, and what becomes of what it gives.
import { once as onceOf } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, request as httpRequest } from 'node:http'
import { connect as connectH2 } from 'node:http2'
import { type AddressInfo, connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { Hono } from 'hono'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type Handler, type HandlerInfo, HttpApp, ProxyError, Server, selfSigned } from '../ts/index.js'
import { startApp } from './support/app.js'
import { Client, get, once, post } from './support/client.js'
import { text as whole } from './support/connections.js'
import { deferred, until } from './support/proxy.js'
import { wrongPaths } from './support/refusals.js'

const text = (body: string) => new Response(body)

test('a handler gets the request and says the response', async () => {
  const { to } = await startApp(async (request) => {
    const { pathname, search, host } = new URL(request.url)
    const body = await request.text()
    return new Response(JSON.stringify([request.method, pathname, search, host, body]), {
      status: 201,
      headers: { 'x-tag': request.headers.get('x-tag') ?? '', 'content-type': 'application/json' },
    })
  })
  const client = await Client.connect(to)
  for (let turn = 0; turn < 3; turn++) {
    const reply = await client.ask(
      post('/a/b?c=%20d', `body ${turn}`, { 'X-Tag': 'one', host: 'a.example:81' }),
    )
    expect([reply.status, reply.header('x-tag'), reply.header('content-type')]).toEqual([
      201,
      'one',
      'application/json',
    ])
    expect(JSON.parse(reply.body)).toEqual(['POST', '/a/b', '?c=%20d', 'a.example:81', `body ${turn}`])
    expect(reply.header('content-length')).toBe(String(reply.body.length))
  }
  await client.end()
})

test('a function, an object with fetch, and a framework that has one are handlers', async () => {
  const app = new Hono()
  app.get('/hello/:name', (c) => c.text(`hello ${c.req.param('name')}`))
  app.post('/json', async (c) => c.json({ got: await c.req.json() }))
  app.get('/who', (c) => c.text((c.env as HandlerInfo).client.host))
  for (const handler of [app.fetch as unknown as Handler, app as unknown as { fetch: Handler }]) {
    const { to } = await startApp(handler)
    expect((await once(to, get('/hello/you'))).body).toBe('hello you')
    expect(await once(to, get('/hello/you', {}, 'HEAD'))).toMatchObject({ status: 200, body: '' })
    expect((await once(to, get('/who'))).body).toBe('127.0.0.1')
    expect((await once(to, get('/none'))).status).toBe(404)
    const json = await once(to, post('/json', '{"a":1}', { 'content-type': 'application/json' }))
    expect(JSON.parse(json.body)).toEqual({ got: { a: 1 } })
  }
  const own = {
    name: 'mine',
    fetch(this: { name: string }) {
      return text(this.name)
    },
  }
  const { to } = await startApp(own)
  expect((await once(to, get('/'))).body).toBe('mine')
  own.fetch = () => text('another')
  expect((await once(to, get('/'))).body).toBe('another')
})

test('plain answers do as well', async () => {
  const answers: Record<string, () => ReturnType<Handler>> = {
    '/status': () => 204,
    '/plain': () => ({ status: 200, headers: { 'set-cookie': ['a=1', 'b=2'] }, body: 'plain' }),
    '/bytes': async () => ({ status: 200, body: new Uint8Array([104, 105]) }),
    '/stream': () => ({ status: 200, body: Readable.from(['a', 'b']) }),
  }
  const { to } = await startApp((request) => answers[new URL(request.url).pathname]!())
  expect(await once(to, get('/status'))).toMatchObject({ status: 204, body: '' })
  const plain = await once(to, get('/plain'))
  expect([plain.body, plain.all('set-cookie')]).toEqual(['plain', ['a=1', 'b=2']])
  expect((await once(to, get('/bytes'))).body).toBe('hi')
  expect((await once(to, get('/stream'))).body).toBe('ab')
})

test('HEAD, 204 and 304 have no body, whatever the handler gives', async () => {
  const { to } = await startApp((request) => {
    const status = Number(new URL(request.url).pathname.slice(1))
    return status === 200 ? text('twelve bytes') : new Response(null, { status })
  })
  const client = await Client.connect(to)
  const head = await client.ask(get('/200', {}, 'HEAD'))
  expect([head.status, head.header('content-length'), head.body]).toEqual([200, '12', ''])
  for (const status of [204, 304])
    expect(await client.ask(get(`/${status}`))).toMatchObject({ status, body: '' })
  expect((await client.ask(get('/200'))).body).toBe('twelve bytes')
  await client.end()
})

test('the second argument says who asks and how', async () => {
  const seen: unknown[] = []
  let kept: HandlerInfo | undefined
  const { to } = await startApp((request, info) => {
    const data = info.connection.data as Map<string, number>
    data.set('count', (data.get('count') ?? 0) + 1)
    seen.push([
      info.version,
      info.client.host,
      info.server.port,
      info.tls,
      info.connection.requests,
      data.get('count'),
    ])
    expect(info.client.port).toBeGreaterThan(0)
    expect(info.signal.aborted || request.signal.aborted).toBe(false)
    kept = info
    return text(info.id)
  })
  const client = await Client.connect(to)
  const ids = [(await client.ask(get('/'))).body, (await client.ask(get('/'))).body]
  expect(Number(ids[1])).toBeGreaterThan(Number(ids[0]))
  expect(seen).toEqual([
    ['1.1', '127.0.0.1', to.port, undefined, 1, 1],
    ['1.1', '127.0.0.1', to.port, undefined, 2, 2],
  ])
  await client.end()
  await until(() => {
    try {
      return kept!.id === ''
    } catch (error) {
      return (error as { code: string }).code === 'SESSION_ENDED'
    }
  })
})

test('trustedProxies and trustedField say whom to believe who the client is', async () => {
  const whose = (fields: Record<string, string>, options: object) =>
    startApp((_, info) => text(info.client.host), options).then(
      async ({ to }) => (await once(to, get('/', fields))).body,
    )
  const fields = { 'x-forwarded-for': '192.0.2.7', forwarded: 'for=192.0.2.8' }
  expect(await whose(fields, {})).toBe('127.0.0.1')
  expect(await whose(fields, { trustedProxies: ['loopback'] })).toBe('192.0.2.7')
  expect(await whose(fields, { trustedProxies: ['loopback'], trustedField: 'forwarded' })).toBe('192.0.2.8')
})

test('requests in absolute form, without a host, and OPTIONS * have URLs too', async () => {
  const { to } = await startApp((request) => text(request.url))
  expect((await once(to, get('http://a.example/x?y'))).body).toBe('http://a.example/x?y')
  expect((await once(to, get('http://a.example?y'))).body).toBe('http://a.example/?y')
  expect((await once(to, get('*', {}, 'OPTIONS'))).body).toBe('http://a.example/*')
  expect((await once(to, 'GET /old HTTP/1.0\r\n\r\n')).body).toBe(`http://127.0.0.1:${to.port}/old`)
})

test('without a host on a Unix socket a URL is of localhost, whoever says what the socket is', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const { service } = await startApp((request) => text(request.url))
  const path = join(folder, 'app.sock')
  service.addUnix(path)
  const proxied = join(folder, 'proxied.sock')
  service.addUnix(proxied, { proxyProtocol: { from: ['unix'] } })
  // The PROXY protocol, version 2, of a connection between Unix sockets.
  const header = Buffer.concat([
    Buffer.from('0d0a0d0a000d0a515549540a213100d8', 'hex'),
    Buffer.alloc(108, '/client.sock\0'),
    Buffer.alloc(108, '/server.sock\0'),
  ])
  for (const [socket, before] of [
    [path, Buffer.alloc(0)],
    [proxied, header],
  ] as const)
    for (const [host, url] of [
      ['', 'http://localhost/hello?x'],
      ['Host: a.example:81\r\n', 'http://a.example:81/hello?x'],
    ]) {
      const client = connect(socket)
      onTestFinished(() => void client.destroy())
      client.write(Buffer.concat([before, Buffer.from(`GET /hello?x HTTP/1.0\r\n${host}\r\n`)]))
      expect((await whole(client)).split('\r\n\r\n')[1]).toBe(url)
    }
})

test('what concerns the connection alone is not in the Request, which can be sent on as it is', async () => {
  const origin = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (piece) => {
      body += piece
    })
    request.on('end', () => response.end(JSON.stringify([request.headers['x-kept'], body])))
  }).listen(0, '127.0.0.1')
  await onceOf(origin, 'listening')
  onTestFinished(() => {
    origin.closeAllConnections()
    origin.close()
  })
  const names: string[][] = []
  const { to } = await startApp((request) => {
    names.push([...request.headers.keys()])
    return fetch(`http://127.0.0.1:${(origin.address() as AddressInfo).port}/`, request)
  })
  const fields = {
    connection: 'X-Named, Upgrade, Host, content-length',
    'x-named': 'gone',
    'x-kept': 'kept',
    te: 'trailers',
    'keep-alive': 'timeout=5',
    'proxy-connection': 'keep-alive',
    upgrade: 'h2c',
    expect: '100-continue',
  }
  const body = '4\r\nbody\r\n0\r\n\r\n'
  const asked = async (request: string) => {
    const client = await Client.connect(to)
    expect((await client.ask(request)).status).toBe(100)
    const reply = (await client.reply())!
    await client.end()
    return reply
  }
  const chunked = await asked(get('/', { ...fields, 'transfer-encoding': 'chunked' }, 'POST') + body)
  expect([chunked.status, chunked.body]).toEqual([200, '["kept","body"]'])
  const sized = await asked(post('/', 'body', fields))
  expect([sized.status, sized.body]).toEqual([200, '["kept","body"]'])
  expect(names).toEqual([
    ['host', 'x-kept'],
    ['content-length', 'host', 'x-kept'],
  ])
})

test('methods that no Request has are refused, and the handler does not hear of them', async () => {
  let calls = 0
  const { to, lines } = await startApp(() => {
    calls++
    return 200
  })
  for (const method of ['TRACE', 'TRACK']) expect((await once(to, get('/', {}, method))).status).toBe(405)
  expect((await once(to, 'CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n')).status).toBe(405)
  expect(calls).toBe(0)
  const told = () => lines.filter((line) => line.includes('METHOD_NOT_ALLOWED'))
  await until(() => told().length === 3)
  for (const line of told()) expect(line).toContain('METHOD_NOT_ALLOWED (downstream)')
})

describe('over TLS', () => {
  test('a Request is of https, and HTTP/2 is offered', async () => {
    const server = new Server({ logger: false })
    const app = server.addService(
      new HttpApp(async (request, info) =>
        text(`${info.version} ${info.tls?.version} ${request.url} ${await request.text()}`),
      ),
    )
    const { cert, key } = selfSigned('localhost')
    const endpoint = app.addTls('127.0.0.1:0', { cert, key })
    await server.start()
    onTestFinished(async () => {
      await server.close({ graceMs: 0 })
    })
    const session = connectH2(endpoint.url, { ca: cert, servername: 'localhost' })
    onTestFinished(() => session.destroy())
    const stream = session.request({ ':method': 'POST', ':path': '/p', ':authority': 'localhost' })
    stream.end('body')
    const [head] = await onceOf(stream, 'response')
    expect(head[':status']).toBe(200)
    let body = ''
    for await (const piece of stream.setEncoding('utf8')) body += piece
    expect(body).toBe('2 TLSv1.3 https://localhost/p body')
  })
})

describe('what fails ends its own request alone, and the log says whose fault it was', () => {
  const never = new Promise<Response>(() => {})
  const cases: [string, Handler, number, RegExp][] = [
    ['a throw', () => { throw new Error('boom') }, 500, /PHASE_FAILED.*handler: Error: boom \(at .*http-app\.test/], // biome-ignore format: a table
    ['a rejection', async () => { throw new Error('later') }, 500, /PHASE_FAILED.*handler: Error: later/], // biome-ignore format: a table
    ['a throw of anything', () => { throw 'words' }, 500, /PHASE_FAILED.*handler: threw "words", which is not an Error/], // biome-ignore format: a table
    [
      'nothing',
      () => undefined as never,
      500,
      /PHASE_RETURN.*handler returned undefined; it may return a Response/,
    ],
    [
      'a wrong value',
      async () => ({ hello: 1 }) as never,
      500,
      /PHASE_RETURN.*handler returned an object \(Object\)/,
    ],
    ['a status that is none', () => 42 as never, 500, /PHASE_RETURN.*handler returned an answer that is wrong: the status 42 is not an integer/], // biome-ignore format: a table
    ['a length that is none', () => ({ status: 200, headers: { 'content-length': '0x5' } }), 500, /PHASE_RETURN.*handler returned an answer that is wrong: content-length is "0x5"/], // biome-ignore format: a table
    ['a length that is wrong', async () => new Response('abc', { headers: { 'content-length': '5' } }), 500, /PHASE_RETURN.*handler returned an answer that is wrong: content-length is 5, but the body has 3 bytes/], // biome-ignore format: a table
    ['a header that is wrong', () => ({ status: 200, headers: { 'a b': 'c' } }), 500, /PHASE_RETURN.*handler returned an answer that is wrong: the header name "a b"/], // biome-ignore format: a table
    ['a Response used before', async () => { const used = text('x'); await used.text(); return used }, 500, /has been used/], // biome-ignore format: a table
    ['a ProxyError', () => { throw new ProxyError({ status: 429, message: 'slow down' }) }, 429, /slow down/], // biome-ignore format: a table
    ['an error with a statusCode', () => { throw Object.assign(new Error('no'), { statusCode: 404 }) }, 404, /handler: Error: no/], // biome-ignore format: a table
    ['no answer', () => never, 504, /PHASE_TIMEOUT.*handler took too long/],
  ]
  test.each(cases)('%s', async (_name, handler, status, line) => {
    const calls = { ok: (() => text('ok')) as Handler, bad: handler }
    const { to, lines } = await startApp(
      (request, info) => calls[request.url.endsWith('/bad') ? 'bad' : 'ok'](request, info),
      { callbackTimeoutMs: 200 },
    )
    const client = await Client.connect(to)
    expect((await client.ask(get('/bad'))).status).toBe(status)
    expect(await client.ask(get('/ok'))).toMatchObject({ status: 200, body: 'ok' })
    await client.end()
    await until(() => lines.some((each) => line.test(each)), String(line))
  })
})

test('a client that leaves aborts the signal of its request, and of no other', async () => {
  const began = deferred<Request>()
  const reason = deferred<unknown>()
  const { to } = await startApp((request, info) => {
    if (request.url.endsWith('/ok')) return text('ok')
    info.signal.addEventListener('abort', () => reason.resolve(request.signal.reason))
    began.resolve(request)
    return new Promise<Response>(() => {})
  })
  const client = await Client.connect(to)
  client.write(get('/waits'))
  const request = await began.promise
  expect(request.signal.aborted).toBe(false)
  await client.end()
  expect(await reason.promise).toMatchObject({ code: 'CLIENT_ABORTED' })
  expect(request.signal.aborted).toBe(true)
  expect((await once(to, get('/ok'))).body).toBe('ok')
})

test('a fetch of the request, and copies of it, are aborted with it', async () => {
  const waiting = createServer(() => {}).listen(0, '127.0.0.1')
  await onceOf(waiting, 'listening')
  onTestFinished(() => {
    waiting.closeAllConnections()
    waiting.close()
  })
  const { port } = waiting.address() as AddressInfo
  const seen = { fetched: deferred<unknown>(), copied: deferred<unknown>(), cloned: deferred<unknown>() }
  const began = deferred()
  const { to } = await startApp((request) => {
    const there = new Request(`http://127.0.0.1:${port}/`, request)
    fetch(there).catch(seen.fetched.resolve)
    const copy = new Request(request)
    copy.signal.addEventListener('abort', () => seen.copied.resolve(copy.signal.reason))
    const clone = request.clone()
    clone.signal.addEventListener('abort', () => seen.cloned.resolve(clone.signal.reason))
    expect(request).toBeInstanceOf(Request)
    expect([copy, clone, request].map(({ signal }) => signal.aborted)).toEqual([false, false, false])
    began.resolve()
    return new Promise<Response>(() => {})
  })
  const client = await Client.connect(to)
  client.write(get('/'))
  await began.promise
  await client.end()
  for (const { promise } of Object.values(seen))
    expect(await promise).toMatchObject({ code: 'CLIENT_ABORTED' })
})

test('a Request has every field that was sent, whatever its method', async () => {
  const { to } = await startApp((request) =>
    Response.json([
      request.method,
      [...request.headers],
      request.headers.get('X-Tag'),
      request.body === null,
    ]),
  )
  const fields =
    'Host: a.example\r\nX-Tag: one\r\nAccept:  */* \r\nx-tag: two\r\nCookie: a=1; b=2\r\nX-Empty:\r\n'
  for (const method of ['GET', 'HEAD', 'DELETE', 'PROPFIND', 'get']) {
    const reply = await once(to, `${method} / HTTP/1.1\r\n${fields}\r\n`)
    expect(reply.status).toBe(200)
    if (method === 'HEAD') continue
    expect(JSON.parse(reply.body)).toEqual([
      method.toUpperCase(),
      [
        ['accept', '*/*'],
        ['cookie', 'a=1; b=2'],
        ['host', 'a.example'],
        ['x-empty', ''],
        ['x-tag', 'one, two'],
      ],
      'one, two',
      true,
    ])
  }
})

test('a copy, a clone and a fetch of the request have its method, fields and body', async () => {
  const origin = createServer((request, response) => {
    request.setEncoding('utf8').on('data', (data) => response.write(data))
    request.on('end', () => response.end(` ${request.method} ${request.headers['x-tag']}`))
  }).listen(0, '127.0.0.1')
  await onceOf(origin, 'listening')
  onTestFinished(() => {
    origin.closeAllConnections()
    origin.close()
  })
  const { port } = origin.address() as AddressInfo
  const ways: Record<string, (request: Request) => Promise<string>> = {
    '/copy': (request) => said(new Request(request)),
    '/clone': (request) => said(request.clone()),
    '/changed': (request) => said(new Request(request, { headers: { 'x-tag': 'mine' } })),
    '/fetch': async (request) => {
      const there = new Request(`http://127.0.0.1:${port}/`, request)
      there.headers.delete('host')
      return (await fetch(there)).text()
    },
  }
  const said = async (copy: Request) => `${await copy.text()} ${copy.method} ${copy.headers.get('x-tag')}`
  const { to } = await startApp(async (request) => text(await ways[new URL(request.url).pathname]!(request)))
  const reply = async (path: string, asked: string) => [path, (await once(to, asked)).body]
  for (const path of Object.keys(ways)) {
    const tag = path === '/changed' ? 'mine' : 'one'
    expect(await reply(path, post(path, 'body', { 'x-tag': 'one' }))).toEqual([path, `body POST ${tag}`])
    expect(await reply(path, get(path, { 'x-tag': 'one' }))).toEqual([path, ` GET ${tag}`])
  }
})

test('sendEarlyHints goes before the response', async () => {
  const { to } = await startApp((_, info) => {
    info.sendEarlyHints('</a.css>; rel=preload')
    return text('done')
  })
  const hints: unknown[] = []
  const asked = httpRequest({ ...to, path: '/' }).end()
  asked.on('information', (info) => hints.push([info.statusCode, info.headers.link]))
  const [response] = await onceOf(asked, 'response')
  response.resume()
  expect([hints, response.statusCode]).toEqual([[[103, '</a.css>; rel=preload']], 200])
})

test('options are those of HttpProxy towards clients, and wrong ones are refused', async () => {
  expect(wrongPaths(() => new HttpApp(5 as never))).toEqual(['handler'])
  expect(wrongPaths(() => new HttpApp({} as never, { maxRetries: 1 } as never))).toEqual([
    'maxRetries',
    'handler',
  ])
  const { to, server } = await startApp(() => text('x'), {
    name: 'mine',
    maxRequestBodyBytes: 5,
    maxRequestsPerConnection: 1,
  })
  expect(server.stats().services[0]?.name).toBe('mine')
  const reply = await once(to, get('/'))
  expect(reply.header('connection')).toBe('close')
  expect((await once(to, post('/', 'longer than five'))).status).toBe(413)
})
