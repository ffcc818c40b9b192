// Requests of one's own, straight to peers and without a server.

import { once as onceOf } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import { createServer as createHttp2Server, createSecureServer } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { setTimeout as after } from 'node:timers/promises'
import { describe, expect, onTestFinished, test } from 'vitest'
import { Connector, type ConnectorOptions, HttpPeer, ProxyError, selfSigned } from '../ts/index.js'
import { program } from './support/child.js'
import { get, once } from './support/client.js'
import { gc } from './support/memory.js'
import { DEAD } from './support/origin.js'
import { deferred, rests, startProxy, until } from './support/proxy.js'

function make(options: ConnectorOptions = {}): Connector {
  const connector = new Connector(options)
  onTestFinished(() => connector.close())
  return connector
}

// biome-ignore lint/suspicious/noExplicitAny: servers of HTTP/1.1 and HTTP/2 alike
async function listening(server: any): Promise<string> {
  server.listen(0, '127.0.0.1')
  await onceOf(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections?.()
    server.close()
  })
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

const origin = async (serve: RequestListener) => new HttpPeer(await listening(createServer(serve)))

const shows = (request: IncomingMessage, response: ServerResponse) => {
  const { method, url, headers } = request
  response.setHeader('x-shown', 'yes')
  let body = ''
  request.setEncoding('utf8').on('data', (piece) => {
    body += piece
  })
  request.on('end', () => response.end(JSON.stringify({ method, url, headers, body })))
}

test('a request of an object reaches the peer as it is, and its response is a Response', async () => {
  const peer = await origin(shows)
  const connector = make()
  const plain = await connector.fetch(peer)
  expect([plain.status, plain.headers.get('x-shown')]).toEqual([200, 'yes'])
  expect(await plain.json()).toEqual({ method: 'GET', url: '/', headers: { host: peer.address }, body: '' })
  const full = await connector.fetch(peer, {
    method: 'PUT',
    target: '/a?b=c',
    host: 'other.example',
    headers: { 'x-tag': ['1', '2'] },
    body: 'body',
  })
  expect(await full.json()).toEqual({
    method: 'PUT',
    url: '/a?b=c',
    headers: { host: 'other.example', 'x-tag': '1, 2', 'content-length': '4' },
    body: 'body',
  })
})

test('a Request says all but where it goes', async () => {
  const peer = await origin(shows)
  const request = new Request('http://api.example:81/x?y', {
    method: 'POST',
    headers: { 'x-tag': 'one', 'content-type': 'text/x' },
    body: 'of a Request',
  })
  const shown = (await (await make().fetch(peer, request)).json()) as { headers: object }
  expect(shown).toMatchObject({ method: 'POST', url: '/x?y', body: 'of a Request' })
  expect(shown.headers).toMatchObject({ host: 'api.example:81', 'x-tag': 'one', 'content-type': 'text/x' })
})

test('connections are kept and used again, also after answers without a body', async () => {
  const peer = await origin((request, response) => {
    response.statusCode = request.url === '/204' ? 204 : 200
    response.end(request.url === '/204' ? undefined : 'body')
  })
  const connector = make()
  for (const [method, target] of [
    ['GET', '/'],
    ['HEAD', '/'],
    ['GET', '/204'],
    ['GET', '/'],
  ] as const) {
    const response = await connector.fetch(peer, { method, target })
    expect(await response.text()).toBe(method === 'GET' && target === '/' ? 'body' : '')
    await until(() => connector.stats().idle === 1)
  }
  expect(connector.stats()).toMatchObject({ created: 1, reused: 3 })
  const none = make({ upstreamKeepalivePoolSize: 0 })
  await (await none.fetch(peer)).text()
  await until(() => none.stats().open === 0)
})

describe('HTTP/2 and TLS', () => {
  test('by prior knowledge, many at once on one connection', async () => {
    const address = await listening(createHttp2Server((request, response) => response.end(request.url)))
    const connector = make()
    const peer = new HttpPeer(address, { protocol: 'h2' })
    await (await connector.fetch(peer)).text()
    const one = async (index: number) => (await connector.fetch(peer, { target: `/${index}` })).text()
    const all = await Promise.all(Array.from({ length: 50 }, (_, index) => one(index)))
    expect(all).toEqual(Array.from({ length: 50 }, (_, index) => `/${index}`))
    expect(connector.stats().created).toBe(1)
  })

  test('over TLS as agreed on, and not with a certificate that is not trusted', async () => {
    const { cert, key } = selfSigned('localhost')
    const server = createSecureServer({ cert, key, allowHTTP1: true }, (request, response) =>
      response.end(request.httpVersion),
    )
    const address = await listening(server)
    const connector = make()
    for (const [protocol, version] of [
      ['auto', '2.0'],
      ['h1', '1.1'],
    ] as const) {
      const peer = new HttpPeer(`https://${address}`, { protocol, sni: 'localhost', ca: cert })
      expect(await (await connector.fetch(peer)).text()).toBe(version)
    }
    const stranger = new HttpPeer(`https://${address}`, { sni: 'localhost' })
    await expect(connector.fetch(stranger)).rejects.toMatchObject({
      name: 'ProxyError',
      code: 'TLS_FAILED',
      canRetry: true,
      message: expect.stringMatching(/certificate/),
    })
  })
})

test('bodies stream both ways, no faster than they are taken', async () => {
  const peer = await origin((request, response) => void request.pipe(response))
  const connector = make()
  const both = await connector.fetch(peer, {
    method: 'POST',
    body: (async function* () {
      for (let piece = 0; piece < 64; piece++) yield Buffer.alloc(64 * 1024, piece)
    })(),
  })
  expect((await both.arrayBuffer()).byteLength).toBe(64 * 64 * 1024)

  const gate = deferred()
  const slow = await origin(async (request, response) => {
    await gate.promise
    request.resume().on('end', () => response.end('done'))
  })
  let made = 0
  const endless = function* () {
    while (made < 1024) {
      made++
      yield Buffer.alloc(64 * 1024)
    }
  }
  const response = connector.fetch(slow, {
    method: 'POST',
    body: Readable.from(endless(), { objectMode: false }),
  })
  await rests(() => made)
  expect(made).toBeLessThan(900)
  gate.resolve()
  expect(await (await response).text()).toBe('done')
  expect(made).toBe(1024)
}, 30_000)

test('what fails has the codes of a proxy', async () => {
  const connector = make()
  await expect(connector.fetch(new HttpPeer(DEAD))).rejects.toMatchObject({
    code: 'CONNECT_REFUSED',
    source: 'upstream',
  })
  const silent = new HttpPeer((await origin(() => undefined)).address, { readTimeoutMs: 100 })
  await expect(connector.fetch(silent)).rejects.toMatchObject({ code: 'READ_TIMEOUT' })
  const cut = await origin((_, response) => {
    response.write('some')
    setTimeout(() => response.destroy(), 20)
  })
  await expect((await connector.fetch(cut)).text()).rejects.toMatchObject({ code: 'UPSTREAM_CLOSED' })
  const late = make({ requestTimeoutMs: 100 })
  await expect(late.fetch(await origin(() => undefined))).rejects.toMatchObject({ code: 'REQUEST_EXPIRED' })
})

test('a body that fails has left the peer, and the error says of what', async () => {
  const connector = make()
  const midway = new Error('midway')
  const made = (async function* () {
    yield 'some'
    throw midway
  })()
  const failure = { code: 'CLIENT_ABORTED', source: 'downstream', phase: undefined, cause: midway }
  const message = 'the body of the request failed: Error: midway'
  const failed = await connector
    .fetch(await origin(shows), { method: 'POST', body: made })
    .catch((error) => error)
  expect(failed).toBeInstanceOf(ProxyError)
  expect(failed).toMatchObject(failure)
  expect(failed.message).toContain(message)

  // The response has begun.
  const goes = deferred()
  const eager = await origin((request, response) => {
    request.resume()
    response.write('some')
  })
  const late = (async function* () {
    yield 'some'
    await goes.promise
    throw midway
  })()
  const response = await connector.fetch(eager, { method: 'POST', body: late })
  goes.resolve()
  await expect(response.text()).rejects.toMatchObject(failure)
})

test('a phase that lets it pass has failed, and its client has not left', async () => {
  const connector = make()
  const peer = await origin(shows)
  const logged = deferred<ProxyError | undefined>()
  const { to } = await startProxy({
    requestFilter: async () => {
      const body = (async function* () {
        yield 'some'
        throw new Error('midway')
      })()
      await connector.fetch(peer, { method: 'POST', body })
    },
    upstreamPeer: peer,
    logging: (_session, error) => logged.resolve(error),
  })
  expect((await once(to, get('/'))).status).toBe(500)
  expect(await logged.promise).toMatchObject({ status: 500, phase: 'requestFilter' })
})

test('a signal ends a request, and a response that is being read', async () => {
  const gone = deferred()
  const peer = await origin((request, response) => {
    response.on('close', () => gone.resolve())
    if (request.url === '/some') response.write('some')
  })
  const connector = make()
  const [before, during] = [new AbortController(), new AbortController()]
  const waits = connector.fetch(peer, { signal: before.signal })
  setTimeout(() => before.abort(new Error('enough')), 20)
  await expect(waits).rejects.toThrow('enough')
  await gone.promise
  await expect(connector.fetch(peer, { signal: before.signal })).rejects.toThrow('enough')
  const response = await connector.fetch(peer, { target: '/some', signal: during.signal })
  const reading = response.text()
  during.abort(new Error('no more'))
  await expect(reading).rejects.toThrow('no more')
  await until(() => connector.stats().open === 0)
})

test('maxConcurrentRequests bounds what is under way', async () => {
  const peer = await origin((_, response) => void response.write('x'))
  const connector = make({ maxConcurrentRequests: 1 })
  const first = await connector.fetch(peer)
  await expect(connector.fetch(peer)).rejects.toMatchObject({ code: 'OVERLOADED' })
  await first.body!.cancel()
  const second = await connector.fetch(peer)
  expect(second.status).toBe(200)
})

test('close ends what is under way; nothing begins after it', async () => {
  const peer = await origin((request, response) => {
    if (request.url === '/some') response.write('some')
  })
  const connector = make()
  const response = await connector.fetch(peer, { target: '/some' })
  const [waits, reads] = [connector.fetch(peer), response.text()]
  const both = Promise.allSettled([waits, reads])
  await connector.close()
  for (const one of await both)
    expect(one).toMatchObject({ status: 'rejected', reason: { code: 'SERVER_CLOSED' } })
  await connector.close()
  await expect(connector.fetch(peer)).rejects.toMatchObject({ code: 'SERVER_CLOSED' })
})

test('limits of heads, and wrong options and requests', async () => {
  const peer = await origin((_, response) => {
    for (let at = 0; at < 20; at++) response.setHeader(`x-${at}`, 'x'.repeat(100))
    response.end()
  })
  for (const options of [{ maxHeaders: 10 }, { maxHeaderBytes: 1_024 }])
    await expect(make(options).fetch(peer)).rejects.toMatchObject({ code: 'UPSTREAM_INVALID' })
  expect(() => new Connector({ threads: 0, name: '' })).toThrow(/name: .*\n.*threads: /)
  const connector = make()
  const locked = new ReadableStream()
  locked.getReader()
  await expect(connector.fetch('x' as never)).rejects.toMatchObject({ code: 'INVALID_OPTIONS' })
  for (const wrong of [
    { method: 'CONNECT' },
    { target: 'x' },
    { host: 'a b' },
    { body: 5 },
    { body: { a: 1 } },
    { body: locked },
    { target: '*' },
    { signal: {} },
    { url: '' },
  ])
    await expect(connector.fetch(peer, wrong as never)).rejects.toMatchObject({ code: 'INVALID_OPTIONS' })
  for (const headers of [{ host: 'a' }, { 'content-length': '1' }, { x: 'a\nb' }])
    await expect(connector.fetch(peer, { headers } as never)).rejects.toMatchObject({
      code: 'INVALID_HEADER',
    })
})

test('a program that has used one ends by itself, closed or not', async () => {
  const peer = await origin((_, response) => response.end('hello'))
  const dist = new URL('../dist/index.js', import.meta.url).href
  const { line, ended } = program(`
    import { Connector } from ${JSON.stringify(dist)}
    const response = await new Connector().fetch(new HttpPeer('${peer.address}'))
    console.log(await response.text())
  `)
  expect(await line()).toBe('hello')
  expect(await ended).toMatchObject({ code: 0, signal: null })
})

test('a body that is refused with its request is given back', async () => {
  const stuck = await origin(() => undefined)
  const [closed, full] = [make(), make({ maxConcurrentRequests: 1 })]
  await closed.close()
  void full.fetch(stuck).catch(() => undefined)
  const signal = AbortSignal.abort()
  const cases: [Connector, object, string][] = [
    [make(), { headers: { 'a b': 'c' } }, 'INVALID_HEADER'],
    [make(), { headers: { host: 'a' } }, 'INVALID_HEADER'],
    [make(), { target: 'x' }, 'INVALID_OPTIONS'],
    [make(), { signal }, 'AbortError'],
    [closed, {}, 'SERVER_CLOSED'],
    [full, {}, 'OVERLOADED'],
  ]
  for (const [connector, options, code] of cases) {
    let freed = 0
    const cancel = () => void freed++
    const readable = new Readable({ read() {} })
    const bodies = [readable, new ReadableStream({ cancel })]
    for (const body of bodies) {
      const request = { method: 'POST', body, ...options } as never
      const error = await connector.fetch(stuck, request).catch((error) => error)
      expect(error.code === 20 ? error.name : error.code).toBe(code)
    }
    await until(() => readable.destroyed && freed === 1)
  }
  let freed = 0
  const request = (signal?: AbortSignal) =>
    new Request('http://a/', {
      method: 'POST',
      body: new ReadableStream({ cancel: () => void freed++ }),
      duplex: 'half',
      ...(signal === undefined ? {} : { signal }),
    } as RequestInit)
  await expect(full.fetch(stuck, request())).rejects.toMatchObject({ code: 'OVERLOADED' })
  await expect(make().fetch('a peer' as never, request())).rejects.toMatchObject({ code: 'INVALID_OPTIONS' })
  await expect(make().fetch(stuck, request(signal))).rejects.toMatchObject({ name: 'AbortError' })
  await until(() => freed === 3)
  // One that somebody reads already is left alone.
  const taken = new ReadableStream({ cancel: () => void freed++ })
  const reader = taken.getReader()
  await expect(full.fetch(stuck, { body: taken })).rejects.toMatchObject({ code: 'OVERLOADED' })
  await reader.cancel()
  expect(freed).toBe(4)
})

test('OPTIONS * asks for the server itself', async () => {
  const peer = await origin(shows)
  const response = await make().fetch(peer, { method: 'OPTIONS', target: '*', host: 'a.example' })
  expect(await response.json()).toMatchObject({ method: 'OPTIONS', url: '*', headers: { host: 'a.example' } })
})

test('bodies are what fetch takes, with their type and their length', async () => {
  const peer = await origin(shows)
  const connector = make()
  const form = new FormData()
  form.set('a"\n', 'b\nc')
  form.append('a', new File(['file'], 'f "1".txt', { type: 'text/x' }))
  form.append('a', new Blob(['blob']))
  const parts = [
    'Content-Disposition: form-data; name="a%22%0D%0A"\r\n\r\nb\r\nc\r\n',
    'Content-Disposition: form-data; name="a"; filename="f %221%22.txt"\r\nContent-Type: text/x\r\n\r\nfile\r\n',
    'Content-Disposition: form-data; name="a"; filename="blob"\r\nContent-Type: application/octet-stream\r\n\r\nblob\r\n',
  ]
  const cases: [object, string | string[], string | undefined][] = [
    [new URLSearchParams({ a: 'b c' }), 'a=b+c', 'application/x-www-form-urlencoded;charset=UTF-8'],
    [form, parts, 'multipart/form-data'],
    [new Blob(['blob'], { type: 'text/x' }), 'blob', 'text/x'],
    [new Blob(['blob']), 'blob', undefined],
    [new Blob([]), '', undefined],
    [Uint8Array.from(Buffer.from('bytes')).buffer, 'bytes', undefined],
    [new DataView(Uint8Array.from(Buffer.from('bytes')).buffer, 1, 3), 'yte', undefined],
  ]
  for (const [body, sent, type] of cases) {
    const response = await connector.fetch(peer, { method: 'POST', body: body as Blob })
    const shown = (await response.json()) as { body: string; headers: Record<string, string> }
    const [given, boundary] = shown.headers['content-type']?.split('; boundary=') ?? []
    expect(given).toBe(type)
    const between = `--${boundary}\r\n`
    expect(shown.body).toBe(
      typeof sent === 'string' ? sent : `${between}${sent.join(between)}--${boundary}--\r\n`,
    )
    expect(shown.headers['content-length']).toBe(String(shown.body.length))
    expect(shown.headers['transfer-encoding']).toBeUndefined()
  }
  const headers = { 'Content-Type': 'text/mine' }
  const typed = await connector.fetch(peer, {
    method: 'POST',
    body: new URLSearchParams({ a: 'b' }),
    headers,
  })
  expect(await typed.json()).toMatchObject({ headers: { 'content-type': 'text/mine' } })
})

test('that there is no body is said where the method gives one a meaning', async () => {
  const peer = await origin(shows)
  const connector = make()
  for (const [method, length] of [
    ['POST', '0'],
    ['PUT', '0'],
    ['PATCH', '0'],
    ['GET', undefined],
    ['DELETE', undefined],
  ] as const)
    for (const body of [undefined, null, '']) {
      const response = await connector.fetch(peer, body === undefined ? { method } : { method, body })
      const { headers } = (await response.json()) as { headers: Record<string, string> }
      expect([headers['content-length'], headers['transfer-encoding']], method).toEqual([length, undefined])
    }
})

test('a Request that says how long its body is has that length, or fails', async () => {
  const peer = await origin(shows)
  const connector = make()
  const fetch = (length: string) => {
    const headers = { 'content-length': length }
    return connector.fetch(peer, new Request('http://a.example/', { method: 'POST', body: 'body', headers }))
  }
  expect(await (await fetch('4')).json()).toMatchObject({ headers: { 'content-length': '4' }, body: 'body' })
  await expect(fetch('5')).rejects.toMatchObject({ code: 'CLIENT_ABORTED' })
  await expect(fetch('3')).rejects.toMatchObject({ code: 'CLIENT_ABORTED' })
  const chunked = await connector.fetch(peer, new Request('http://a/', { method: 'POST', body: 'body' }))
  expect(await chunked.json()).toMatchObject({ headers: { 'transfer-encoding': 'chunked' }, body: 'body' })
})

test('a short body that nobody reads holds no place; a long one does until nobody can read it', async () => {
  const sizes: Record<string, number> = { '/none': 0, '/short': 10, '/most': 65_536, '/long': 4 << 20 }
  const peer = await origin((request, response) => response.end(Buffer.alloc(sizes[request.url!]!)))
  const connector = make({ maxConcurrentRequests: 1 })
  const fetch = (target: string) => connector.fetch(peer, { target })
  /** As soon as there is a place again. */
  const retried = async (target: string): Promise<Response> => {
    for (const end = Date.now() + 10_000; ; await after(2)) {
      const found = await fetch(target).catch((error: ProxyError) => error)
      if (found instanceof Response) return found
      if (found.code !== 'OVERLOADED' || Date.now() > end) throw found
      gc()
    }
  }
  for (let n = 0; n < 20; n++) await connector.fetch(peer, { method: 'HEAD', target: '/short' })
  const kept = await fetch('/none')
  for (const target of ['/short', '/most', '/none', '/short']) await retried(target)
  let long: Response | undefined = await retried('/long')
  // Beyond a task in which nothing is let go of.
  for (let n = 0; n < 5; n++) {
    gc()
    await after(2)
    await expect(fetch('/none')).rejects.toMatchObject({ code: 'OVERLOADED' })
  }
  expect(long.status).toBe(200)
  long = undefined
  long = await retried('/long')
  expect((await long.arrayBuffer()).byteLength).toBe(4 << 20)
  expect(await kept.text()).toBe('')
})
