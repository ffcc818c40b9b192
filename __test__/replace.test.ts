import { once as event } from 'node:events'
import { expect, test } from 'vitest'
import { type AnyPart, HttpPeer, HttpProxy, Server, type Session, type UsageError } from '../ts/index.js'
import { Client, get, once } from './support/client.js'
import { memory } from './support/memory.js'
import { DEAD, startOrigin, startRaw } from './support/origin.js'
import { deferred, startProxy, until } from './support/proxy.js'

/** Phases that answer with a word. */
const saying = (word: string) => ({
  upstreamPeer: new HttpPeer(DEAD),
  requestFilter: () => ({ status: 200, body: word }),
})

test('new requests have the new phases, on connections that are open too; those under way end with theirs', async () => {
  const gate = deferred()
  const logged: string[] = []
  const { proxy, to, environment } = await startProxy({
    upstreamPeer: new HttpPeer(DEAD),
    async requestFilter() {
      await gate.promise
      return { status: 200, body: 'old' }
    },
    responseFilter: (_session, response) => response.headers.set('x-old', '1'),
    logging: ({ request }) => void logged.push(`old ${request.path}`),
  })
  const [slow, other] = await Promise.all([Client.connect(to), Client.connect(to)])
  slow.write(get('/slow'))
  await until(() => proxy.entry.sessions === 1)
  const before = proxy.entry.id
  proxy.replace({
    ...saying('new'),
    logging: ({ request }: Session) => void logged.push(`new ${request.path}`),
  })
  expect((await other.ask(get('/other'))).body).toBe('new')
  // What was replaced is still there, for the request that has it.
  expect(environment.crossing.proxies.has(before)).toBe(true)
  gate.resolve()
  expect((await slow.reply())?.body).toBe('old')
  expect((await slow.ask(get('/again'))).body).toBe('new')
  await until(() => logged.length === 3)
  expect(logged.sort()).toEqual(['new /again', 'new /other', 'old /slow'])
  await until(() => !environment.crossing.proxies.has(before))
  expect(environment.crossing.proxies.has(proxy.entry.id)).toBe(true)
})

test('a download and a tunnel that are open end with the phases they began with', async () => {
  const rest = deferred()
  const origin = await startRaw((socket) => {
    socket.once('data', async (data) => {
      if (String(data).includes('upgrade: websocket')) {
        socket.write('HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n')
        socket.on('data', (piece) => socket.write(piece))
        return
      }
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf')
      await rest.promise
      socket.write('half')
    })
  })
  const logged: string[] = []
  const phases = (word: string) => ({
    upstreamPeer: new HttpPeer(origin.address),
    responseBodyFilter: (_s: Session, chunk: Buffer) => (chunk.length === 0 ? undefined : `${chunk}${word}`),
    logging: ({ request }: Session) => void logged.push(`${word} ${request.path}`),
  })
  const { proxy, to, environment } = await startProxy(phases('1'))
  const [download, tunnel] = await Promise.all([Client.connect(to), Client.connect(to)])
  download.write(get('/download'))
  tunnel.write(
    'GET /tunnel HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n',
  )
  const [opened] = (await event(tunnel.socket, 'data')) as [Buffer]
  expect(String(opened)).toContain('101')
  await until(() => proxy.entry.sessions > 0)
  const before = proxy.entry.id
  proxy.replace(phases('2'))
  rest.resolve()
  expect((await download.reply())?.body).toBe('half1half1')
  tunnel.write('ping')
  expect(String((await event(tunnel.socket, 'data'))[0])).toBe('ping')
  expect(environment.crossing.proxies.has(before)).toBe(true)
  await tunnel.end()
  await until(() => logged.length === 2 && !environment.crossing.proxies.has(before))
  expect(logged.sort()).toEqual(['1 /download', '1 /tunnel'])
})

test('which phases there are changes, in number and in what they are for', async () => {
  const origin = await startOrigin()
  const calls: string[] = []
  const peer = new HttpPeer(origin.address)
  const note = (name: string) => () => void calls.push(name)
  const { proxy, to, environment } = await startProxy({ upstreamPeer: peer })
  const ask = async (path: string) => {
    calls.length = 0
    const { status } = await once(to, get(path))
    await until(() => environment.native.stats().slots === 0)
    return [status, ...calls]
  }
  expect(await ask('/a')).toEqual([200])
  proxy.replace({
    upstreamPeer: () => {
      calls.push('upstreamPeer')
      return peer
    },
    earlyRequestFilter: { match: { path: '/a' }, handler: note('early') },
    responseFilter: note('responseFilter'),
    logging: note('logging'),
  })
  expect(await ask('/a')).toEqual([200, 'early', 'upstreamPeer', 'responseFilter', 'logging'])
  expect(await ask('/b')).toEqual([200, 'upstreamPeer', 'responseFilter', 'logging'])
  const parts: AnyPart[] = [
    { requestFilter: note('first') },
    { requestFilter: note('second'), upstreamPeer: peer },
  ]
  proxy.replace(parts)
  expect(await ask('/a')).toEqual([200, 'first', 'second'])
  proxy.replace({ upstreamPeer: peer })
  expect(await ask('/a')).toEqual([200])
})

test('what is wrong is refused as in the constructor, and changes nothing', async () => {
  const { proxy, to } = await startProxy(saying('old'))
  const wrong = (phases: unknown) => {
    try {
      proxy.replace(phases as AnyPart)
    } catch (error) {
      return error as UsageError
    }
    throw new Error('was taken')
  }
  expect(wrong({ request_filter() {}, upstreamPeer: new HttpPeer(DEAD) }).message).toContain(
    'did you mean requestFilter?',
  )
  expect(wrong({ requestFilter: () => 204 }).problems[0]).toMatchObject({ path: 'upstreamPeer' })
  expect(wrong(new URL('file:///gateway.js')).problems[0]).toMatchObject({
    path: 'phases',
    found: 'file:///gateway.js',
    allowed: expect.stringContaining('new HttpProxy('),
  })
  for (const phases of [undefined, null, 1, [], new URL('file:///a.js')])
    expect(wrong(phases).code).toBe('INVALID_OPTIONS')
  const bad = { match: { path: 'no slash' }, handler() {} }
  const problem = wrong({ upstreamPeer: new HttpPeer(DEAD), requestFilter: bad })
  expect(problem.problems[0]).toMatchObject({ path: 'requestFilter.match.path' })
  expect((await once(to, get('/'))).body).toBe('old')
})

test('routes and values stay, and so do the phases that routes have of their own', async () => {
  const origin = await startOrigin()
  const peer = new HttpPeer(origin.address)
  const { proxy, to } = await startProxy(saying('old'), {
    responseHeaders: { set: { 'x-value': '1' } },
    routes: [
      { match: { path: '/own' }, phases: saying('own') },
      { match: { path: '/peer' }, upstreamPeer: peer },
    ],
  })
  const bodies = () =>
    Promise.all(['/own', '/peer', '/'].map(async (path) => (await once(to, get(path))).body))
  expect(await bodies()).toEqual(['own', 'old', 'old'])
  proxy.replace(saying('new'))
  expect(await bodies()).toEqual(['own', 'new', 'new'])
  proxy.replace({ upstreamPeer: new HttpPeer(DEAD), failToProxy: () => ({ status: 500, body: 'failed' }) })
  expect(await bodies()).toEqual(['own', 'GET /peer ', 'failed'])
  expect((await once(to, get('/own'))).header('x-value')).toBe('1')
})

test('what is kept of a connection outlives its phases', async () => {
  const counting = (word: string) => ({
    upstreamPeer: new HttpPeer(DEAD),
    requestFilter({ connection }: Session) {
      const count = ((connection.data.get('count') as number) ?? 0) + 1
      connection.data.set('count', count)
      return { status: 200, body: `${word} ${count}` }
    },
  })
  const { proxy, to } = await startProxy(counting('old'))
  const client = await Client.connect(to)
  expect((await client.ask(get('/'))).body).toBe('old 1')
  proxy.replace(counting('new'))
  expect((await client.ask(get('/'))).body).toBe('new 2')
  await client.end()
})

test('a subrequest has the phases of its request', async () => {
  const asking = (word: string) => ({
    upstreamPeer: new HttpPeer(DEAD),
    async requestFilter(session: Session) {
      if (session.request.path === '/inner') return { status: 200, body: word }
      if (word === 'old') proxy.replace(asking('new'))
      const inner = await session.subrequest('/inner')
      return { status: 200, body: `${word} ${await inner.text()} ${session.parent === undefined}` }
    },
  })
  const { proxy, to } = await startProxy(asking('old'))
  expect((await once(to, get('/'))).body).toBe('old old true')
  expect((await once(to, get('/'))).body).toBe('new new true')
})

test('phases are replaced before the start too, and not after the end', async () => {
  const proxy = new HttpProxy(saying('old'), { threads: 1 })
  proxy.replace(saying('new'))
  const server = new Server({ logger: false })
  const http = server.addService(proxy).addTcp('127.0.0.1:0')
  await server.start()
  expect((await once(http.address, get('/'))).body).toBe('new')
  await server.close({ graceMs: 0 })
  expect(() => proxy.replace(saying('late'))).toThrow(
    expect.objectContaining({ code: 'SERVER_CLOSED' }) as UsageError,
  )
})

test('500 replacements under load lose no request, and leave memory and tables as they were', async () => {
  const { proxy, to, environment } = await startProxy(saying('0'))
  const replaced: number[] = []
  let [answered, wrong, running] = [0, 0, true]
  const clients = Array.from({ length: 4 }, async () => {
    const client = await Client.connect(to)
    while (running) {
      const { status, body } = await client.ask(get('/'))
      if (status === 200 && /^\d+$/.test(body)) answered++
      else wrong++
    }
    await client.end()
  })
  const round = async (from: number) => {
    for (let n = from; n < from + 250; n++) {
      const seen = answered
      replaced.push(proxy.entry.id)
      proxy.replace({ ...saying(String(n)), ...(n % 2 === 0 ? { logging() {} } : {}) })
      if (n % 10 === 0) await until(() => answered > seen)
    }
    await until(() => !replaced.some((id) => environment.crossing.proxies.has(id)))
    return memory()
  }
  const first = await round(0)
  const second = await round(250)
  running = false
  await Promise.all(clients)
  expect(wrong).toBe(0)
  expect(answered).toBeGreaterThan(50)
  expect(second.heap - first.heap).toBeLessThan(2)
  expect(second.native - first.native).toBeLessThan(16)
})
