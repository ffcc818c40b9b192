// The examples of docs/phases, as they stand.
import { createPublicKey, verify } from 'node:crypto'
import { expect, test } from 'vitest'
import { runExample } from './support/example.js'
import { DEAD, startOrigin } from './support/origin.js'
import { until } from './support/proxy.js'

const named = (name: string) => startOrigin((_, res) => void res.end(name))
const url = ({ address }: { address: string }) => `http://${address}`

test('examples/ab-routing.ts splits the clients, and each stays where it is', async () => {
  const [a, b] = [await named('a'), await named('b')]
  const { at } = await runExample('ab-routing', [url(a), url(b)])
  const visit = async (cookie?: string) => {
    const answer = await fetch(`http://${at}/`, cookie === undefined ? {} : { headers: { cookie } })
    return { body: await answer.text(), cookie: answer.headers.get('set-cookie') }
  }
  // That not one of 200 comes to the other version happens once in a thousand million times.
  const clients = await Promise.all(Array.from({ length: 200 }, () => visit()))
  expect(new Set(clients.map(({ body }) => body))).toEqual(new Set(['a', 'b']))
  for (const { body, cookie } of clients)
    expect(cookie).toBe(`version=${body}; Path=/; HttpOnly; SameSite=Lax`)
  for (const version of ['a', 'b'])
    expect(await visit(`x=1; version=${version}; y=2`)).toEqual({ body: version, cookie: null })
  expect((await visit('version=nonsense')).cookie).toMatch(/^version=[ab]; /)
})

test('examples/fail-over.ts asks the second origin for what the first cannot take', async () => {
  let mode: 'busy' | 'cut' = 'busy'
  const first = await startOrigin((_, res, req) => {
    if (mode === 'busy') res.writeHead(503).end('busy')
    else req.socket.destroy()
  })
  const second = await named('second')
  const { at, stdout } = await runExample('fail-over', [url(first), url(second)])
  const ask = async (method = 'GET') => {
    const answer = await fetch(`http://${at}/`, { method, ...(method === 'POST' ? { body: 'x' } : {}) })
    return `${answer.status} ${await answer.text()}`
  }
  expect(await ask()).toBe('200 second')
  mode = 'cut'
  expect(await ask()).toBe('200 second')
  // What the first may have carried out is not sent to the second.
  expect(await ask('POST')).toMatch(/^502 /)
  expect([first.seen.length, second.seen.length]).toEqual([3, 2])
  await until(() => stdout().split('\n').length === 4)

  const { at: other } = await runExample('fail-over', [`http://${DEAD}`, url(second)])
  const posted = await fetch(`http://${other}/`, { method: 'POST', body: 'x' })
  expect(await posted.text()).toBe('second')
})

test('examples/error-pages.ts answers in HTML or JSON, with the number that is in the log', async () => {
  const { at, stdout } = await runExample('error-pages', `http://${DEAD}`)
  const ask = (accept: string) => fetch(`http://${at}/some/page`, { headers: { accept } })
  const html = await ask('text/html,*/*')
  expect([html.status, html.headers.get('retry-after')]).toEqual([502, '5'])
  expect(html.headers.get('content-type')).toBe('text/html; charset=utf-8')
  const [, id] = /tell us this number: (.+)<\/p>$/.exec(await html.text())!
  const json = await ask('application/json')
  expect(json.headers.get('content-type')).toBe('application/problem+json')
  expect(await json.json()).toEqual({ type: 'about:blank', status: 502, instance: expect.any(String) })
  await until(() => stdout().includes(`${id}: GET /some/page failed: CONNECT_REFUSED\n`))
})

test('examples/response-signing.ts signs what clients can check', async () => {
  const digest = 'sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:'
  const origin = await startOrigin((_, res) => {
    res.writeHead(200, { 'content-type': 'application/json', 'content-digest': digest }).end('{}')
  })
  const { at } = await runExample('response-signing', url(origin))
  const spki = await (await fetch(`http://${at}/.well-known/signing-key`)).text()
  const key = createPublicKey({ key: Buffer.from(spki, 'base64'), format: 'der', type: 'spki' })
  const { headers } = await fetch(`http://${at}/orders/1?x=2`)
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
