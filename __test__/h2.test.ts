// HTTP/2 in the clear, with the client of Node.js.
import { once } from 'node:events'
import { type ClientHttp2Session, connect } from 'node:http2'
import { expect, onTestFinished, test } from 'vitest'
import { HttpPeer, type ProxyError, type Session } from '../ts/index.js'
import { startOrigin } from './support/origin.js'
import { startProxy, until } from './support/proxy.js'

async function ask(session: ClientHttp2Session, headers: Record<string, string>, body = '') {
  const stream = session.request(headers, { endStream: body === '' })
  if (body !== '') stream.end(body)
  const [head] = await once(stream, 'response')
  let text = ''
  for await (const piece of stream.setEncoding('utf8')) text += piece
  return { head, text }
}

async function proxied(options = {}) {
  const origin = await startOrigin()
  const logged: [string, string | undefined][] = []
  const { to } = await startProxy(
    {
      upstreamPeer: new HttpPeer(origin.address),
      requestFilter: (session: Session) => (session.request.path === '/no' ? 403 : undefined),
      responseFilter: (session, response) => response.headers.set('X-Version', session.request.version),
      logging: (session, error?: ProxyError) => void logged.push([session.request.version, error?.code]),
    },
    options,
  )
  const client = connect(`http://${to.host}:${to.port}`)
  client.on('error', () => {})
  onTestFinished(() => client.destroy())
  return { origin, client, logged }
}

test('a client of HTTP/2 meets the same phases, and the origin gets HTTP/1.1', async () => {
  const { origin, client, logged } = await proxied()
  const { head, text } = await ask(client, { ':path': '/x', ':method': 'POST', cookie: 'a=1' }, 'body')
  expect([head[':status'], head['x-version'], head.connection, text]).toEqual([
    200,
    '2',
    undefined,
    'POST /x body',
  ])
  expect(origin.seen[0]?.header('host')).toMatch(/^127\.0\.0\.1:/)
  expect((await ask(client, { ':path': '/no' })).head[':status']).toBe(403)
  await until(() => logged.length === 2)
  expect(logged).toEqual([
    ['2', undefined],
    ['2', undefined],
  ])
})

test('100 requests at once on one connection keep to themselves', async () => {
  const { client } = await proxied()
  const one = async (index: number) => (await ask(client, { ':path': `/${index}`, 'x-tag': `${index}` })).text
  const all = await Promise.all(Array.from({ length: 100 }, (_, index) => one(index)))
  expect(all).toEqual(Array.from({ length: 100 }, (_, index) => `GET /${index} `))
})

test('a client that resets its stream is one that left', async () => {
  const { client, origin, logged } = await proxied()
  origin.address satisfies string
  const stream = client.request({ ':path': '/slow', ':method': 'POST' })
  stream.on('error', () => {})
  stream.write('some')
  await until(() => origin.connections === 1)
  stream.close(8)
  await until(() => logged.length === 1)
  expect(logged[0]).toEqual(['2', 'CLIENT_ABORTED'])
})

test('with h2c: false it is refused', async () => {
  const { client } = await proxied({ h2c: false })
  await expect(ask(client, { ':path': '/' })).rejects.toThrow()
})
