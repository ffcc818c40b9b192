import { mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { HttpPeer, HttpProxy, type HttpProxyOptions, type Session, type UsageError } from '../ts/index.js'
import { get, once } from './support/client.js'
import { text } from './support/connections.js'
import { type Seen, startOrigin } from './support/origin.js'
import { startProxy, until } from './support/proxy.js'

const SPOOFED = {
  'x-forwarded-for': '6.6.6.6, 203.0.113.7',
  'x-forwarded-proto': 'https',
  'x-real-ip': '6.6.6.6',
  forwarded: 'for=6.6.6.6',
}

/** What the origin and a phase see of a request with these fields. */
async function through(options: HttpProxyOptions, fields: Record<string, string> = SPOOFED) {
  const origin = await startOrigin()
  let session: unknown
  let summary = ''
  const { to } = await startProxy(
    {
      upstreamPeer: new HttpPeer(origin.address),
      upstreamRequestFilter({ client, connection }: Session) {
        session = { client: { ...client }, remote: connection.remote.host }
      },
      logging(s: Session) {
        summary = s.summary()
      },
    },
    options,
  )
  const reply = await once(to, get('/', fields))
  await until(() => summary !== '')
  const seen = origin.seen[0] as Seen
  const told = (name: string) =>
    seen.headers.filter(([key]) => key.toLowerCase() === name).map(([, value]) => value)
  return { told, session, reply, summary }
}

test('what a client claims is replaced by the address of its socket', async () => {
  const { told, session } = await through({})
  expect(told('x-forwarded-for')).toEqual(['127.0.0.1'])
  expect(told('x-forwarded-proto')).toEqual(['http'])
  expect(told('x-forwarded-host')).toHaveLength(1)
  expect([told('forwarded'), told('x-real-ip'), told('via')]).toEqual([[], [], []])
  expect(session).toMatchObject({ client: { host: '127.0.0.1' }, remote: '127.0.0.1' })
})

test('behind a trusted proxy session.client is whom it names, and session.connection has its socket', async () => {
  const forwarding = { trustedProxies: ['loopback', '203.0.113.0/25'], forwarded: true, via: 'edge-1' }
  const fields = { ...SPOOFED, 'x-forwarded-for': '6.6.6.6, 198.51.100.3, 203.0.113.7' }
  const { told, session, reply, summary } = await through({ forwarding }, fields)
  expect(told('x-forwarded-for')).toEqual(['198.51.100.3, 203.0.113.7, 127.0.0.1'])
  expect(told('x-forwarded-proto')).toEqual(['https'])
  expect(told('x-real-ip')).toEqual(['6.6.6.6'])
  expect(told('forwarded')[0]).toMatch(
    /^for=198\.51\.100\.3;proto=https, for=203\.0\.113\.7, for=127\.0\.0\.1;host=/,
  )
  expect([told('via'), reply.header('via')]).toEqual([['1.1 edge-1'], '1.1 edge-1'])
  expect(session).toEqual({ client: { host: '198.51.100.3', port: 0 }, remote: '127.0.0.1' })
  expect(summary).toMatch(/^198\.51\.100\.3 GET /)
})

test('the field that is trusted can be Forwarded, with ports and IPv6', async () => {
  const forwarding = { trustedProxies: ['127.0.0.1'], trustedField: 'forwarded' as const, via: true }
  const forwarded = 'for=6.6.6.6, for="[2001:db8::7]:4711";proto=https'
  const { told, session } = await through({ forwarding }, { ...SPOOFED, forwarded })
  expect(told('x-forwarded-for')).toEqual(['2001:db8::7, 127.0.0.1'])
  expect([told('x-forwarded-proto'), told('forwarded'), told('via')]).toEqual([
    ['https'],
    [],
    ['1.1 millrace'],
  ])
  expect(session).toMatchObject({ client: { host: '2001:db8::7', port: 4711 } })
})

test('a phase sees the fields and may change them', async () => {
  const origin = await startOrigin()
  const { to } = await startProxy({
    upstreamPeer: new HttpPeer(origin.address),
    upstreamRequestFilter(session, { headers }) {
      headers.set('x-saw', headers.get('x-forwarded-for') ?? '')
      headers.set('x-claimed', session.request.headers.get('x-forwarded-for') ?? '')
      headers.delete('x-forwarded-for')
    },
  })
  await once(to, get('/', SPOOFED))
  const seen = origin.seen[0]!
  expect(['x-saw', 'x-claimed', 'x-forwarded-for'].map((name) => seen.header(name))).toEqual([
    '127.0.0.1',
    '6.6.6.6, 203.0.113.7',
    undefined,
  ])
})

test.skipIf(process.platform === 'win32')('a proxy in front on a Unix socket may be trusted', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const seen: unknown[] = []
  const { proxy } = await startProxy(
    {
      upstreamPeer: new HttpPeer('127.0.0.1:1'),
      requestFilter({ client }: Session) {
        seen.push({ ...client })
        return 204
      },
    },
    { forwarding: { trustedProxies: ['unix'] } },
  )
  const path = join(folder, 'front.sock')
  proxy.addUnix(path)
  const socket = connect(path)
  socket.write(get('/', { 'x-forwarded-for': '198.51.100.3', connection: 'close' }))
  expect(await text(socket)).toMatch(/^HTTP\/1.1 204 /)
  expect(seen).toEqual([{ host: '198.51.100.3', port: 0 }])
})

test('each wrong option is named', () => {
  const upstreamPeer = new HttpPeer('127.0.0.1:1')
  const bad = ['tcp', '10.0.0.1/8', '10.0.0.0/33', 'fe80::1%eth0', '10.0.0', 'internal', '::/129', 7]
  const forwarding = { trustedProxies: ['10.0.0.0/8', '::1/128', ...bad], via: 'a b', trustedField: 'x' }
  try {
    new HttpProxy({ upstreamPeer }, { forwarding } as unknown as HttpProxyOptions)
    expect.unreachable()
  } catch (error) {
    const problems = (error as UsageError).problems!.map(({ path }) => path.replace('forwarding.', ''))
    const lines = bad.map((_, at) => `trustedProxies[${at + 2}]`)
    expect(problems).toEqual([...lines, 'trustedField', 'via'])
  }
})
