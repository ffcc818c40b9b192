// The examples of docs/phases and others that need no sockets of their own, as they stand.
import { createPublicKey, verify } from 'node:crypto'
import { expect, test, vi } from 'vitest'
import type { UpstreamRequest } from '../ts/testing/index.js'
import { loadExample, runExample } from './support/example.js'

const INJECTED = [
  'ab-routing',
  'auth-subrequest',
  'body-rewriting',
  'early-hints',
  'error-pages',
  'fail-over',
  'mirroring',
  'response-signing',
  'routes',
] // biome-ignore format: one list

test.each(INJECTED)('examples/%s.ts listens, and ends at SIGTERM', async (name) => {
  const { child, ended } = await runExample(name, [])
  child.kill('SIGTERM')
  expect(await ended).toEqual([0, null])
})

const refused = Object.assign(new Error('nobody listens'), { code: 'ECONNREFUSED' })
/** The name of an origin of an example, which are on ports 3000 and on. */
const named = (_request: Request, { address }: UpstreamRequest) =>
  new Response(address.endsWith('3000') ? 'first' : 'second')

test('examples/ab-routing.ts splits the clients, and each stays where it is', async () => {
  const example = await loadExample('ab-routing')
  const visit = async (cookie?: string) => {
    const { response, ctx } = await example({
      upstream: named,
      ...(cookie === undefined ? {} : { headers: { cookie } }),
    })
    expect(response.text()).toBe(ctx.version === 'a' ? 'first' : 'second')
    return { version: ctx.version, cookie: response.headers.get('set-cookie') }
  }
  // That not one of 200 comes to the other version happens once in a thousand million times.
  const clients = await Promise.all(Array.from({ length: 200 }, () => visit()))
  expect(new Set(clients.map(({ version }) => version))).toEqual(new Set(['a', 'b']))
  for (const { version, cookie } of clients)
    expect(cookie).toBe(`version=${version}; Path=/; HttpOnly; SameSite=Lax`)
  for (const version of ['a', 'b'])
    expect(await visit(`x=1; version=${version}; y=2`)).toEqual({ version, cookie: null })
  expect((await visit('version=nonsense')).cookie).toMatch(/^version=[ab]; /)
})

test('examples/fail-over.ts asks the second origin for what the first cannot take', async () => {
  const log = vi.spyOn(console, 'log').mockImplementation(() => {})
  const example = await loadExample('fail-over')
  const addresses = (sent: readonly UpstreamRequest[]) => sent.map(({ address }) => address.at(-1))

  const busy = await example({ upstream: [503, named] })
  expect([busy.response.text(), addresses(busy.upstreamRequests)]).toEqual(['second', ['0', '1']])
  expect(busy.phases.find(({ phase }) => phase === 'errorWhileProxy')).toMatchObject({ outcome: 'retry' })

  const cut = () => {
    throw new Error('cut')
  }
  expect((await example({ upstream: [cut, named] })).response.text()).toBe('second')
  // What the first may have carried out is not sent to the second.
  const posted = await example({ method: 'POST', body: 'x', upstream: [cut, named] })
  expect([posted.response.status, addresses(posted.upstreamRequests)]).toEqual([502, ['0']])

  const unreachable = await example({
    method: 'POST',
    body: 'x',
    upstream: named,
    connect: (_peer, number) => (number === 1 ? Promise.reject(refused) : undefined),
  })
  expect([unreachable.response.text(), addresses(unreachable.upstreamRequests)]).toEqual(['second', ['1']])
  expect(log).toHaveBeenCalledTimes(4)
  const all = await example({ upstream: [503, 503] })
  expect([all.response.status, all.ctx]).toEqual([503, { tried: 1 }])
})

test('examples/error-pages.ts answers in HTML or JSON, with the number that is in the log', async () => {
  const log = vi.spyOn(console, 'log').mockImplementation(() => {})
  const example = await loadExample('error-pages')
  const ask = async (accept: string) => {
    const connect = () => Promise.reject(refused)
    return (await example({ target: '/some/page', headers: { accept }, connect })).response
  }
  const html = await ask('text/html,*/*')
  expect([html.status, html.headers.get('retry-after')]).toEqual([502, '5'])
  expect(html.headers.get('content-type')).toBe('text/html; charset=utf-8')
  const [, id] = /tell us this number: (.+)<\/p>$/.exec(html.text())!
  expect(log).toHaveBeenCalledWith(`${id}: GET /some/page failed: CONNECT_REFUSED`)
  const json = await ask('application/json')
  expect(json.headers.get('content-type')).toBe('application/problem+json')
  expect(json.json()).toEqual({ type: 'about:blank', status: 502, instance: expect.any(String) })
})

test('examples/response-signing.ts signs what clients can check', async () => {
  const digest = 'sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:'
  const example = await loadExample('response-signing')
  const upstream = () => ({
    headers: { 'content-type': 'application/json', 'content-digest': digest },
    body: '{}',
  })
  const published = await example({ target: '/.well-known/signing-key' })
  const spki = published.response.text()
  const key = createPublicKey({ key: Buffer.from(spki, 'base64'), format: 'der', type: 'spki' })
  const { headers } = (await example({ target: '/orders/1?x=2', upstream })).response
  const params = headers.get('signature-input')!.replace(/^edge=/, '')
  expect(params).toMatch(/^\("@status" "@path";req "content-type" "content-digest"\);created=\d+;/)
  const base = [
    '"@status": 200',
    '"@path";req: /orders/1',
    '"content-type": application/json',
    `"content-digest": ${digest}`,
    `"@signature-params": ${params}`,
  ]
  const [, signature] = /^edge=:(.+):$/.exec(headers.get('signature')!)!
  const check = (text: string) => verify(null, Buffer.from(text), key, Buffer.from(signature!, 'base64'))
  expect([check(base.join('\n')), check(base.join('\n').replace('200', '404'))]).toEqual([true, false])
})

test('examples/auth-subrequest.ts asks the accounts first', async () => {
  const example = await loadExample('auth-subrequest')
  const upstream = (request: Request, { address, target }: UpstreamRequest) => {
    if (!address.endsWith('3001')) return new Response(String(request.headers.get('authorization')))
    expect(target).toBe('/whoami')
    return request.headers.get('authorization') === 'secret' ? new Response('ann') : 401
  }
  const ask = (headers: Record<string, string>) => example({ headers, upstream })
  expect((await ask({})).response.status).toBe(401)
  expect((await ask({ authorization: 'wrong' })).response.status).toBe(403)
  const known = await ask({ authorization: 'secret' })
  expect([known.response.text(), known.ctx]).toEqual(['null', { user: 'ann' }])
  expect(known.upstreamRequest!.headers.get('x-user')).toBe('ann')
})

test('examples/mirroring.ts sends a copy elsewhere, and does not wait for it', async () => {
  const example = await loadExample('mirroring')
  const { response, upstreamRequests } = await example({ target: '/a?b', upstream: named })
  expect([response.status, response.text()]).toEqual([200, 'first'])
  const shadow = upstreamRequests.find(({ address }) => address.endsWith('3001'))!
  expect([shadow.target, shadow.headers.get('x-mirrored')]).toEqual(['/a?b', expect.any(String)])
  expect((await example({ method: 'POST', body: 'x' })).upstreamRequests.length).toBe(1)
})

test('examples/early-hints.ts hints by itself, and passes on what the origin hints', async () => {
  const example = await loadExample('early-hints')
  const link = '<http://origin.internal/app.js>; rel=preload'
  const { response } = await example({ upstream: () => ({ interims: [{ status: 103, headers: { link } }] }) })
  expect(response.interims.map(({ status, headers }) => [status, headers.get('link')])).toEqual([
    [103, '</style.css>; rel=preload; as=style'],
    [103, '</app.js>; rel=preload'],
  ])
  expect((await example({ target: '/other' })).response.interims).toEqual([])
})

test('examples/routes.ts leads requests by their routes', async () => {
  const example = await loadExample('routes')
  const upstream = (request: Request, { target }: UpstreamRequest) => ({
    headers: { 'x-powered-by': 'origin' },
    body: `${target} ${request.headers.get('x-api')} ${request.headers.get('cookie')}`,
  })
  const ask = async (target: string, headers: Record<string, string> = {}, method = 'GET') => {
    const { response } = await example({ target, headers, method, upstream })
    const { status } = response
    expect([response.headers.get('x-content-type-options'), response.headers.get('x-powered-by')]).toEqual([
      'nosniff',
      null,
    ])
    return [status, response.headers.get('location') ?? response.text()]
  }
  expect(await ask('/health')).toEqual([200, 'fine\n'])
  expect(await ask('/blog/2026/x?y')).toEqual([308, 'https://blog.example/2026/x?y'])
  expect(await ask('/api/a')).toEqual([401, 'a key, please\n'])
  expect(await ask('/blog/../api/a?b', { 'x-key': '1', cookie: 'c' })).toEqual([200, '/v1/a?b 1 null'])
  const site = { host: 'a.static.example' }
  expect(await ask('/logo.png', site)).toEqual([200, '/files/logo.png null null'])
  expect(await ask('/logo.png', site, 'DELETE')).toEqual([405, ''])
  expect(await ask('/else', { cookie: 'c' })).toEqual([200, '/else null c'])
  expect(await ask('/api%2fa')).toEqual([400, '400 Bad Request\n'])
})
