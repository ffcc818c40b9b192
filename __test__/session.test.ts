import { expect, test } from 'vitest'
import { type HeaderEdit, type HeaderView, HttpPeer, type Session, UsageError } from '../ts/index.js'
import { Client, drive, get, once, post } from './support/client.js'
import { startOrigin, startTagging } from './support/origin.js'
import { deferred, startProxy, until } from './support/proxy.js'

/** The code of what `run` throws; undefined if it does not throw. */
function codeOf(run: () => unknown): unknown {
  try {
    run()
    return undefined
  } catch (error) {
    return error instanceof UsageError ? error.code : error
  }
}

test('a session shows the request as it came, also after the request that goes upstream was changed', async () => {
  const origin = await startOrigin()
  let seen: unknown
  const { to, server } = await startProxy({
    upstreamPeer: new HttpPeer(origin.address),
    upstreamRequestFilter: (_s, request) => {
      request.method = 'PUT'
      request.target = '/changed'
      request.headers.set('x-a', 'changed')
    },
    responseFilter(session) {
      const { request, client, server, upstream, connection, bytes } = session
      seen = {
        request: [request.method, request.target, request.path, request.query, request.host, request.version],
        headers: [...request.headers],
        client: client.host,
        server,
        upstream: [upstream?.peer.address, upstream?.address, upstream?.reused, upstream?.attempt],
        requests: connection.requests,
        received: bytes.received,
      }
    },
  })
  const sent = post('/a/b?c=d?e', 'body', { 'X-A': '1', Cookie: 'a=b' })
  await once(to, sent)
  expect(seen).toEqual({
    request: ['POST', '/a/b?c=d?e', '/a/b', 'c=d?e', 'a.example', '1.1'],
    headers: [
      ['host', 'a.example'],
      ['content-length', '4'],
      ['x-a', '1'],
      ['cookie', 'a=b'],
    ],
    client: '127.0.0.1',
    server: to,
    upstream: [origin.address, origin.address, false, 1],
    requests: 1,
    received: expect.any(Number),
  })
  expect(server.stats().services).toHaveLength(1)
})

test('a session and its context stay valid across awaits and phases, until logging has settled', async () => {
  const origin = await startOrigin()
  const gate = deferred()
  const reached = deferred()
  const paths: string[] = []
  let kept: Session | undefined
  const { to } = await startProxy({
    upstreamPeer: new HttpPeer(origin.address),
    async requestFilter(session) {
      kept = session
      paths.push(session.request.path)
      await new Promise((resolve) => setImmediate(resolve))
      paths.push(session.request.path)
    },
    async responseFilter(session) {
      await null
      paths.push(session.request.path)
      if (session !== kept) throw new Error('another session')
    },
    async logging(session) {
      reached.resolve()
      await gate.promise
      paths.push(session.request.path, session.summary().split(' ')[1]!)
    },
  })
  expect((await once(to, get('/x'))).status).toBe(200)
  await reached.promise
  expect(kept?.request.path).toBe('/x')
  gate.resolve()
  await until(() => paths.length === 5)
  expect(paths).toEqual(['/x', '/x', '/x', '/x', 'GET'])
  expect(codeOf(() => kept?.request)).toBe('SESSION_ENDED')
})

test('the data of a connection belongs to it alone, and to all its requests', async () => {
  const { to } = await startProxy({
    upstreamPeer: new HttpPeer('127.0.0.1:1'),
    requestFilter({ connection }) {
      const { data, requests, id } = connection
      const count = ((data.get('count') as number | undefined) ?? 0) + 1
      data.set('count', count)
      return { status: 200, body: JSON.stringify([id, requests, count]) }
    },
  })
  const clients = [await Client.connect(to), await Client.connect(to)]
  const ids = new Set<string>()
  for (let round = 1; round <= 3; round++) {
    for (const client of clients) {
      const [id, requests, count] = JSON.parse((await client.ask(get('/'))).body)
      ids.add(id)
      expect([requests, count]).toEqual([round, round])
    }
  }
  expect(ids.size).toBe(2)
  for (const client of clients) await client.end()
})

const COUNT = 10_000

test('what is kept of 10,000 finished requests is dead, and belongs to no later request', async () => {
  interface Kept {
    session: Session & { mine?: number }
    request: Session['request']
    requestHeaders: HeaderView
    response: NonNullable<Session['response']>
    responseHeaders: HeaderView
    upstreamRequest: { target: string; headers: HeaderEdit }
    upstreamHeaders: HeaderEdit
    downstreamResponse: { status: number; headers: HeaderEdit }
    downstreamHeaders: HeaderEdit
    connection: Session['connection']
  }
  const origin = await startTagging()
  const kept: Kept[] = []
  const entries = new WeakMap<object, number>()
  const objects = new WeakSet<object>()
  let keeping = true
  let logged = 0
  const wrong: string[] = []
  const parts = new Map<string, Partial<Kept>>()
  const isNew = (object: object, what: string) => {
    if (objects.has(object)) wrong.push(`${what} was seen before`)
    if (entries.has(object)) wrong.push(`${what} has an entry`)
    if (Object.keys(object).length > 0) wrong.push(`${what} has ${Object.keys(object)}`)
  }
  const { to, environment, proxy } = await startProxy({
    upstreamPeer: new HttpPeer(origin.address),
    requestFilter(session: Session & { mine?: number }) {
      isNew(session, 'a session')
      isNew(session.request, 'a request')
      isNew(session.request.headers, 'headers')
      if (!keeping) return
      const mine = kept.length + parts.size
      session.mine = mine
      ;(session.request as { mine?: number }).mine = mine
      for (const object of [session, session.request, session.request.headers]) {
        entries.set(object, mine)
        objects.add(object)
      }
      parts.set(session.id, {
        session,
        request: session.request,
        requestHeaders: session.request.headers,
        connection: session.connection,
      })
    },
    upstreamRequestFilter(session, request) {
      isNew(request, 'a request header')
      isNew(request.headers, 'its headers')
      if (request.headers.get('x-tag') !== session.request.headers.get('x-tag')) wrong.push('tags differ')
      if (!keeping) return
      objects.add(request)
      objects.add(request.headers)
      ;(request as { mine?: number }).mine = 1
      Object.assign(parts.get(session.id)!, { upstreamRequest: request, upstreamHeaders: request.headers })
    },
    responseFilter(session, response) {
      isNew(response, 'a response header')
      isNew(response.headers, 'its headers')
      if (response.headers.get('x-tag') !== session.request.headers.get('x-tag')) wrong.push('tags differ')
      if (!keeping) return
      objects.add(response)
      objects.add(response.headers)
      ;(response as { mine?: number }).mine = 1
      Object.assign(parts.get(session.id)!, {
        downstreamResponse: response,
        downstreamHeaders: response.headers,
        response: session.response!,
        responseHeaders: session.response!.headers,
      })
    },
    logging(session, error) {
      logged++
      if (error !== undefined) wrong.push(error.code)
      if (!keeping) return
      kept.push(parts.get(session.id) as Kept)
      parts.delete(session.id)
    },
  })
  const run = (prefix: string) =>
    drive(
      to,
      COUNT,
      64,
      (index) => get(`/${prefix}${index}`, { 'x-tag': `${prefix}${index}` }),
      (index, reply) => {
        if (reply?.body !== `${prefix}${index}`) wrong.push(`${reply?.body} for ${prefix}${index}`)
      },
    )
  await run('old')
  await until(() => logged === COUNT && proxy.entry.sessions === 0)
  keeping = false

  const check = () => {
    let alive = 0
    for (const old of kept) {
      const { session, request, requestHeaders, response, responseHeaders } = old
      const ended = [
        () => session.id,
        () => session.request,
        () => session.response,
        () => session.client,
        () => session.server,
        () => session.connection,
        () => session.upstream,
        () => session.signal,
        () => session.timings,
        () => session.bytes,
        () => session.summary(),
        () => session.respond(200),
        () => request.method,
        () => request.target,
        () => request.path,
        () => request.query,
        () => request.host,
        () => request.version,
        () => request.headers,
        () => requestHeaders.get('x-tag'),
        () => requestHeaders.getAll('x-tag'),
        () => requestHeaders.has('x-tag'),
        () => [...requestHeaders],
        () => response.status,
        () => response.headers,
        () => responseHeaders.get('x-tag'),
        () => [...responseHeaders],
      ]
      for (const access of ended) if (codeOf(access) !== 'SESSION_ENDED') alive++
      const over = [
        () => old.upstreamRequest.target,
        () => old.upstreamRequest.headers,
        () => old.upstreamHeaders.get('x-tag'),
        () => old.upstreamHeaders.set('x-tag', 'x'),
        () => old.downstreamResponse.status,
        () => old.downstreamHeaders.append('x-tag', 'x'),
        () => old.downstreamHeaders.delete('x-tag'),
        () => [...old.downstreamHeaders],
      ]
      for (const access of over) if (codeOf(access) !== 'PHASE_ENDED') alive++
    }
    return alive
  }
  // They are looked at while the new ones run, and afterwards.
  const second = run('new')
  let alive = 0
  await until(() => proxy.entry.sessions > 0)
  alive += check()
  await second
  await until(() => logged === 2 * COUNT && proxy.entry.sessions === 0)
  expect(wrong.slice(0, 5)).toEqual([])
  expect(alive).toBe(0)
  expect(check()).toBe(0)
  // What users put there stays theirs.
  expect(kept).toHaveLength(COUNT)
  expect(new Set(kept.map(({ session }) => session.mine)).size).toBe(COUNT)
  expect(environment.native.stats().slots).toBe(0)
}, 60_000)

test('a data map that is kept does not become that of the next connection', async () => {
  const maps: Map<unknown, unknown>[] = []
  const { to } = await startProxy({
    upstreamPeer: new HttpPeer('127.0.0.1:1'),
    requestFilter({ connection }) {
      maps.push(connection.data)
      connection.data.set('n', maps.length)
      return 204
    },
  })
  for (let n = 0; n < 20; n++) await once(to, get('/'))
  expect(new Set(maps).size).toBe(20)
})
