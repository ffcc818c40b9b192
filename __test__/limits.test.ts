import { spawn } from 'node:child_process'
import { expect, onTestFinished, test } from 'vitest'
import {
  type AnyPhases,
  HttpPeer,
  type HttpPeerOptions,
  type HttpProxyOptions,
  ProxyError,
} from '../ts/index.js'
import { Client, get, once, post } from './support/client.js'
import { DEAD, startOrigin, startRaw } from './support/origin.js'
import { startProxy, until } from './support/proxy.js'

const own: AnyPhases = {
  upstreamPeer: new HttpPeer(DEAD),
  requestFilter: () => ({ status: 200, body: 'own' }),
}

/** A proxy before `address`, and the codes it logs. */
async function before(
  address: string,
  { peer, ...options }: HttpProxyOptions & { peer?: HttpPeerOptions } = {},
  phases: Partial<AnyPhases> = {},
) {
  const codes: (string | undefined)[] = []
  const running = await startProxy(
    {
      upstreamPeer: new HttpPeer(address, peer),
      ...phases,
      logging: (_s, error) => void codes.push(error?.code),
    },
    options,
  )
  return { codes, ...running }
}

/** How long `work` takes, in ms. */
async function timed<T>(work: Promise<T>): Promise<[T, number]> {
  const start = performance.now()
  return [await work, performance.now() - start]
}

const silent = async () => (await startRaw((socket) => socket.resume())).address

/** An address whose system answers no SYN any more: connecting hangs. */
async function deaf(): Promise<string> {
  const source = `
    const server = require('net').createServer()
    server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
      require('fs').writeSync(1, String(server.address().port))
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
    })`
  const child = spawn(process.execPath, ['-e', source], { stdio: ['ignore', 'pipe', 'inherit'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  const port = await new Promise<number>((resolve) =>
    child.stdout.once('data', (text) => resolve(Number(text))),
  )
  // Fill its queue, which nobody empties.
  const pending = Array.from({ length: 4 }, () =>
    Client.connect({ host: '127.0.0.1', port }).catch(() => undefined),
  )
  await Promise.race([pending[0], pending[1]])
  return `127.0.0.1:${port}`
}

test.each([1, 2, 3])(
  'line 1: requestHeaderTimeoutMs, keepAliveTimeoutMs and bodyReadTimeoutMs hold for request %i of a connection',
  async (nth) => {
    const { to, codes } = await before(
      await silent(),
      { requestHeaderTimeoutMs: 500, keepAliveTimeoutMs: 400, bodyReadTimeoutMs: 450 },
      { requestFilter: ({ request }) => (request.method === 'GET' ? 204 : undefined) },
    )
    const arrive = async () => {
      const client = await Client.connect(to)
      for (let n = 1; n < nth; n++) expect((await client.ask(get('/'))).status).toBe(204)
      return client
    }
    // The head is not whole in time, though bytes keep coming.
    const slow = await arrive()
    slow.write('GET / HTTP/1.1\r\nx: ')
    const drip = setInterval(() => slow.write('y'), 20)
    const [late, took] = await timed(slow.reply())
    clearInterval(drip)
    expect(late?.status).toBe(408)
    expect(took).toBeGreaterThan(450)
    await slow.closed
    // No request comes: it is closed without an answer, and without a line in the log.
    const idle = await arrive()
    const [nothing, idled] = await timed(idle.reply())
    expect(nothing).toBeUndefined()
    expect(idled).toBeGreaterThan(350)
    // The body stalls.
    const stalled = await arrive()
    stalled.write(get('/', { 'content-length': '10' }, 'POST'))
    stalled.write('12345')
    expect((await stalled.reply())?.status).toBe(408)
    await stalled.closed
    await until(() => codes.filter((code) => code !== undefined).length === 2)
    expect(codes.filter((code) => code !== undefined)).toEqual(['REQUEST_TIMEOUT', 'REQUEST_TIMEOUT'])
  },
)

test('keepAliveTimeoutMs counts from the last response', async () => {
  const { to } = await startProxy(own, { keepAliveTimeoutMs: 300 })
  const client = await Client.connect(to)
  const start = performance.now()
  let asked = 0
  while (performance.now() - start < 700) {
    await client.ask(get('/'))
    asked++
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  expect(asked).toBeGreaterThan(3)
  expect(await client.reply()).toBeUndefined()
})

test('line 6: an upstream’s time-out is a 504, a client’s a 408, and a phase’s status is what it says', async () => {
  const upstream = await before(await silent(), { peer: { readTimeoutMs: 50 } })
  expect((await once(upstream.to, get('/'))).status).toBe(504)
  const client = await before(await silent(), { bodyReadTimeoutMs: 50 })
  expect((await once(client.to, get('/', { 'content-length': '5' }, 'POST'))).status).toBe(408)
  const phase = await before(
    DEAD,
    {},
    {
      requestFilter() {
        throw new ProxyError({ code: 'READ_TIMEOUT', status: 451 })
      },
    },
  )
  expect((await once(phase.to, get('/'))).status).toBe(451)
  await until(() => upstream.codes.length + client.codes.length + phase.codes.length === 3)
  expect([...upstream.codes, ...client.codes, ...phase.codes]).toEqual([
    'READ_TIMEOUT',
    'REQUEST_TIMEOUT',
    'READ_TIMEOUT',
  ])
})

test('line 7: hop-by-hop fields stay on their connection, and a client’s close leaves the origin’s open', async () => {
  const origin = await startOrigin((_seen, res) => {
    res.writeHead(200, { 'Proxy-Authenticate': 'x', Connection: 'x-secret', 'X-Secret': '1', 'X-Kept': '1' })
    res.end('ok')
  })
  // node:http takes `connection: x-secret` for what it is: it keeps the connection.
  const { to } = await before(origin.address, { threads: 1 })
  const fields = {
    connection: 'close, x-mine',
    'x-mine': '1',
    'keep-alive': 'timeout=1',
    'proxy-connection': 'close',
    te: 'trailers',
    'x-kept': '1',
  }
  for (let n = 0; n < 3; n++) {
    const client = await Client.connect(to)
    const reply = await client.ask(get('/', fields))
    expect([reply.status, reply.header('x-secret'), reply.header('x-kept')]).toEqual([200, undefined, '1'])
    expect(reply.header('connection')).toBe('close')
    await client.closed
  }
  for (const seen of origin.seen) {
    for (const name of ['x-mine', 'keep-alive', 'proxy-connection']) expect(seen.header(name)).toBeUndefined()
    expect(seen.header('x-kept')).toBe('1')
    expect(seen.header('connection')).not.toBe('close')
  }
  expect(origin.connections).toBe(1)
})

test.each([1, 3])('line 17: maxRequestsPerConnection %i serves exactly that many', async (limit) => {
  const { to } = await startProxy(own, { maxRequestsPerConnection: limit })
  const client = await Client.connect(to)
  // One more than the limit, at once.
  client.write(get('/').repeat(limit + 1))
  for (let n = 1; n <= limit; n++) {
    const reply = await client.reply()
    expect([reply?.status, reply?.header('connection')]).toEqual([200, n === limit ? 'close' : undefined])
  }
  expect(await client.reply()).toBeUndefined()
})

test('maxHeaderBytes and maxHeaders: 431, on each request of a connection', async () => {
  const { to, codes } = await before(DEAD, { maxHeaderBytes: 2_000, maxHeaders: 5 }, own)
  for (const bad of [get('/', { x: 'y'.repeat(2_000) }), get('/', { a: '', b: '', c: '', d: '', e: '' })]) {
    for (let nth = 0; nth < 2; nth++) {
      const client = await Client.connect(to)
      for (let n = 0; n < nth; n++) expect((await client.ask(get('/'))).status).toBe(200)
      expect((await client.ask(bad)).status).toBe(431)
      await client.closed
    }
  }
  expect((await once(to, get('/', { x: 'y'.repeat(1_500), b: '', c: '', d: '' }))).status).toBe(200)
  await until(() => codes.filter((code) => code === 'HEADER_TOO_LARGE').length === 4)
})

test('maxRequestBodyBytes: 413 for a length and for chunks, and nothing of a length reaches the origin', async () => {
  const origin = await startOrigin()
  const { to, codes } = await before(origin.address, { maxRequestBodyBytes: 10 })
  expect((await once(to, post('/', '0123456789'))).body).toBe('POST / 0123456789')
  expect((await once(to, post('/', '0123456789x'))).status).toBe(413)
  expect(origin.seen).toHaveLength(1)
  const chunked = get('/', { 'transfer-encoding': 'chunked' }, 'POST')
  expect((await once(to, `${chunked}a\r\n0123456789\r\n0\r\n\r\n`)).status).toBe(200)
  expect((await once(to, `${chunked}a\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\n`)).status).toBe(413)
  await until(() => codes.length === 4)
  expect(codes).toEqual([undefined, 'BODY_TOO_LARGE', undefined, 'BODY_TOO_LARGE'])
  expect(origin.seen).toHaveLength(2)
})

test('an early answer reaches a client that is still uploading', async () => {
  const { to } = await before(DEAD, {}, { requestFilter: () => ({ status: 403, body: 'no' }) })
  for (let n = 0; n < 20; n++) {
    const client = await Client.connect(to)
    client.write(get('/', { 'content-length': String(8 << 20) }, 'POST'))
    for (let piece = 0; piece < 16; piece++) client.write(Buffer.alloc(1 << 16))
    const reply = await client.reply()
    expect([reply?.status, reply?.body]).toEqual([403, 'no'])
    await client.end()
  }
})

test('connectTimeoutMs and totalConnectTimeoutMs', async () => {
  const address = await deaf()
  for (const peer of [
    { connectTimeoutMs: 100, totalConnectTimeoutMs: 0 },
    { connectTimeoutMs: 0, totalConnectTimeoutMs: 100 },
  ]) {
    const { to, codes } = await before(address, { peer })
    const [reply, took] = await timed(once(to, get('/')))
    expect(reply.status).toBe(504)
    expect(took).toBeGreaterThan(80)
    expect(took).toBeLessThan(2_000)
    await until(() => codes.length === 1)
    expect(codes).toEqual(['CONNECT_TIMEOUT'])
  }
})

test('readTimeoutMs counts between two pieces, not for the whole', async () => {
  const origin = await startOrigin((seen, res) => {
    res.writeHead(200, { 'content-length': '10' })
    let sent = 0
    const pieces = setInterval(() => {
      res.write('x')
      sent++
      if (seen.url === '/stops' && sent === 2) clearInterval(pieces)
      if (sent < 10) return
      clearInterval(pieces)
      res.end()
    }, 60)
  })
  const { to, codes } = await before(origin.address, { peer: { readTimeoutMs: 450 } })
  expect((await once(to, get('/goes-on'))).body).toBe('xxxxxxxxxx')
  await expect(once(to, get('/stops'))).rejects.toThrow(/cut short/)
  await until(() => codes.length === 2)
  expect(codes).toEqual([undefined, 'READ_TIMEOUT'])
})

test('the peer’s writeTimeoutMs: an origin that takes nothing more', async () => {
  const origin = await startRaw((socket) => socket.pause())
  const { to, codes } = await before(origin.address, { peer: { writeTimeoutMs: 150, readTimeoutMs: 0 } })
  const client = await Client.connect(to)
  client.write(get('/', { 'content-length': String(64 << 20) }, 'POST'))
  client.write(Buffer.alloc(64 << 20))
  expect((await client.reply())?.status).toBe(504)
  await until(() => codes.length === 1)
  expect(codes).toEqual(['WRITE_TIMEOUT'])
  await client.end()
})

test('writeTimeoutMs: a client that takes nothing more', async () => {
  const origin = await startOrigin((_seen, res) => res.end(Buffer.alloc(64 << 20)))
  const { to, codes } = await before(origin.address, { writeTimeoutMs: 150 })
  const client = await Client.connect(to)
  client.socket.pause()
  client.write(get('/'))
  await until(() => codes.length === 1)
  expect(codes).toEqual(['WRITE_TIMEOUT'])
  client.socket.resume()
  await client.closed
})

test('minBytesPerSecond, after 10 s: a body that drips, and a client that sips', async () => {
  const got: string[] = []
  const origin = await startOrigin((seen, res) => {
    if (seen.method === 'GET') res.end(Buffer.alloc(64 << 20))
    else res.end('got it')
  })
  const drip = async (minBytesPerSecond: number) => {
    const { to, codes } = await before(origin.address, { minBytesPerSecond })
    const client = await Client.connect(to)
    client.write(get('/', { 'content-length': '120' }, 'POST'))
    let sent = 0
    const timer = setInterval(() => {
      client.write('x')
      if (++sent === 120) clearInterval(timer)
    }, 100)
    const [reply, took] = await timed(client.reply())
    clearInterval(timer)
    await client.end()
    await until(() => codes.length === 1)
    got.push(`upload at ${minBytesPerSecond}: ${reply?.status} ${codes}`)
    return took
  }
  const sip = async (minBytesPerSecond: number) => {
    const { to, codes } = await before(origin.address, { minBytesPerSecond })
    const client = await Client.connect(to)
    client.write(get('/'))
    client.socket.pause()
    const start = performance.now()
    const timer = setInterval(() => {
      client.socket.once('data', () => client.socket.pause())
      client.socket.resume()
    }, 200)
    await until(
      () => codes.length === 1 || performance.now() - start > 13_000,
      'a slow client is cut',
      20_000,
    )
    clearInterval(timer)
    client.socket.resume()
    got.push(`download at ${minBytesPerSecond}: ${codes}`)
    await client.end()
    return performance.now() - start
  }
  const [cut, whole, sipped] = await Promise.all([drip(100), drip(0), sip(50_000_000)])
  expect(got.sort()).toEqual([
    'download at 50000000: WRITE_TIMEOUT',
    'upload at 0: 200 ',
    'upload at 100: 408 REQUEST_TIMEOUT',
  ])
  expect(cut).toBeGreaterThan(9_000)
  expect(whole).toBeGreaterThan(11_000)
  expect(sipped).toBeGreaterThan(9_000)
}, 40_000)

test('requestTimeoutMs holds for all tries together, tryTimeoutMs for each', async () => {
  const address = await silent()
  let tries = 0
  const retrying: Partial<AnyPhases> = {
    requestFilter() {
      tries = 0
    },
    errorWhileProxy() {
      tries++
      return 'retry'
    },
  }
  const each = await before(address, { tryTimeoutMs: 60, maxRetries: 2 }, retrying)
  const [reply, took] = await timed(once(each.to, get('/')))
  expect([reply.status, tries]).toEqual([504, 3])
  expect(took).toBeGreaterThan(150)
  const all = await before(address, { tryTimeoutMs: 60, requestTimeoutMs: 150, maxRetries: 100 }, retrying)
  const [second, whole] = await timed(once(all.to, get('/')))
  expect(second.status).toBe(504)
  expect(tries).toBeLessThanOrEqual(3)
  expect(whole).toBeGreaterThan(120)
  expect(whole).toBeLessThan(2_000)
})

test('callbackTimeoutMs is for each phase, not for all together; 0 is none', async () => {
  const pause = () => new Promise<void>((resolve) => setTimeout(resolve, 200))
  const three: Partial<AnyPhases> = {
    earlyRequestFilter: pause,
    requestFilter: pause,
    proxyUpstreamFilter: async () => {
      await pause()
      return 204
    },
  }
  const each = await before(DEAD, { callbackTimeoutMs: 400 }, three)
  expect((await once(each.to, get('/'))).status).toBe(204)
  const short = await before(DEAD, { callbackTimeoutMs: 100 }, three)
  expect((await once(short.to, get('/'))).status).toBe(504)
  const none = await before(DEAD, { callbackTimeoutMs: 0 }, three)
  expect((await once(none.to, get('/'))).status).toBe(204)
})

test('maxConnections: further ones are closed, until one has gone', async () => {
  const { to, server } = await startProxy(own, { maxConnections: 2 })
  const clients = [await Client.connect(to), await Client.connect(to)]
  for (const client of clients) await client.ask(get('/'))
  const third = await Client.connect(to)
  third.write(get('/'))
  expect(await third.reply()).toBeUndefined()
  expect(server.stats().services[0]?.connections).toBe(2)
  await clients[0]!.end()
  await until(() => server.stats().services[0]?.connections === 1)
  expect((await once(to, get('/'))).status).toBe(200)
  await clients[1]!.end()
})

test('upstreamKeepalivePoolSize 0 keeps none', async () => {
  const origin = await startOrigin()
  const { to, server } = await before(origin.address, { upstreamKeepalivePoolSize: 0 })
  await once(to, get('/'))
  await once(to, get('/'))
  expect(origin.connections).toBe(2)
  await until(() => origin.sockets.size === 0)
  expect(server.stats().services[0]?.pool.idle).toBe(0)
})
