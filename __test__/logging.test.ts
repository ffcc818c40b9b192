import { expect, test } from 'vitest'
import { HttpPeer, type Session } from '../ts/index.js'
import { Client, get, once, post } from './support/client.js'
import { DEAD, startOrigin } from './support/origin.js'
import { startProxy, until } from './support/proxy.js'

const dead = new HttpPeer(DEAD)

test('logging runs once for each request, with bytes, times and the error', async () => {
  const origin = await startOrigin()
  const logs: { path: string; error: unknown; status: unknown; bytes: Session['bytes']; total: unknown }[] =
    []
  const { to } = await startProxy({
    upstreamPeer: new HttpPeer(origin.address),
    requestFilter: ({ request }) => {
      if (request.path === '/throw') throw new Error('x')
      return request.path === '/own' ? 202 : undefined
    },
    logging: (session, error) =>
      void logs.push({
        path: session.request.path,
        error: error?.code,
        status: session.response?.status,
        bytes: session.bytes,
        total: session.timings.totalMs,
      }),
  })
  const client = await Client.connect(to)
  const sent = post('/up', 'body')
  const reply = await client.ask(sent)
  expect(reply.body).toBe('POST /up body')
  await client.ask(get('/own'))
  await client.ask(get('/throw'))
  const length = reply.body.length
  const bad = await client.ask('GET /bad HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n')
  expect(bad.status).toBe(400)
  await client.closed
  for (const [request, status] of [
    ['garbage\r\n\r\n', 400],
    [`GET /big HTTP/1.1\r\nhost: a\r\nx: ${'y'.repeat(70_000)}\r\n\r\n`, 431],
    ['CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n', 405],
    ['GET / HTTP/3.7\r\nhost: a\r\n\r\n', 505],
  ] as const)
    expect((await once(to, request)).status).toBe(status)
  await until(() => logs.length >= 8)
  const seen = logs.map(({ path, error, status }) => [path, error, status])
  expect(seen).toEqual([
    ['/up', undefined, 200],
    ['/own', undefined, 202],
    ['/throw', 'PHASE_FAILED', 500],
    ['/bad', 'BAD_REQUEST', 400],
    [expect.anything(), 'BAD_REQUEST', 400],
    ['/big', 'HEADER_TOO_LARGE', 431],
    [expect.anything(), 'METHOD_NOT_ALLOWED', 405],
    ['/', 'VERSION_NOT_SUPPORTED', 505],
  ])
  expect(logs[0]?.bytes.received).toBe(sent.length)
  expect(logs[0]?.bytes.sent).toBeGreaterThan(length)
  for (const { total } of logs) expect(total).toBeGreaterThanOrEqual(0)
})

test('line 11: CONNECT and heads that cannot be parsed are logged too', async () => {
  const logs: unknown[] = []
  const { to } = await startProxy({
    upstreamPeer: dead,
    logging: (session, error) => void logs.push([session.request.method, error?.status]),
  })
  expect((await once(to, 'CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n')).status).toBe(405)
  expect((await once(to, 'GET / HTTP/1.1\r\nbad header\r\n\r\n')).status).toBe(400)
  await until(() => logs.length === 2)
  expect(logs).toEqual([
    ['CONNECT', 405],
    ['GET', 400],
  ])
})
