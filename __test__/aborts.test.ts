// Clients that leave at random points of their requests, in both versions, with phases of every kind on.
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type ClientHttp2Session, type ClientHttp2Stream, connect as connectH2 } from 'node:http2'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { type AnyPhases, HttpPeer } from '../ts/index.js'
import { get } from './support/client.js'
import { descriptors, memory } from './support/memory.js'
import { deferred, startProxy, until } from './support/proxy.js'
import { startTlsOrigin } from './support/tls.js'

const ABORTS = 10_000
const AT_ONCE = 64
/** Requests on a connection of HTTP/2, all of which are reset. */
const PER_SESSION = 50

/** Numbers that are random, and the same on each run. */
function random(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    // xorshift32
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

type Answering = NodeJS.WritableStream & { destroyed?: boolean }

/** Answers slowly, and without an end of its own. */
function slowly(res: Answering): void {
  if (res.destroyed !== true) res.write('piece of the answer', () => setTimeout(slowly, 1, res))
}

/** An origin of HTTP/1.1 and one of HTTP/2, and how many exchanges are open there. */
async function startOrigins() {
  const at = { open: 0, begun: 0 }
  const serve = (res: Answering) => {
    at.begun++
    at.open++
    res.on('close', () => at.open--)
    res.on('error', () => {})
    slowly(res)
  }
  const server = createServer((req, res) => {
    req.resume().on('error', () => {})
    serve(res)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const h2 = await startTlsOrigin('clear', (req, res) => {
    req.resume().on('error', () => {})
    serve(res.stream)
  })
  const { port } = server.address() as AddressInfo
  const peers = [new HttpPeer(`127.0.0.1:${port}`), new HttpPeer(`127.0.0.1:${h2.port}`, { protocol: 'h2' })]
  return { at, peers }
}

test('10,000 aborts at random points leave nothing behind', { timeout: 60_000 }, async () => {
  const { at, peers } = await startOrigins()
  const counts = { began: 0, logged: 0, signals: 0, codes: new Map<string, number>() }
  const later = () => new Promise<void>((resolve) => setImmediate(resolve))
  const phases: AnyPhases = {
    requestFilter: async (session) => {
      counts.began++
      session.signal.addEventListener('abort', () => counts.signals++)
      await later()
      if (session.request.path.includes('read')) await session.readBody()
    },
    upstreamPeer: (session) => peers[session.request.path.endsWith('2') ? 1 : 0]!,
    upstreamRequestFilter: later,
    requestBodyFilter: async (_session, chunk) => {
      await later()
      return chunk
    },
    responseFilter: async (session, response) => {
      await later()
      if (session.request.path.includes('stream')) response.body = (stream) => stream
    },
    responseBodyFilter: later,
    logging: (_session, error) => {
      counts.logged++
      const code = error?.code ?? 'none'
      counts.codes.set(code, (counts.codes.get(code) ?? 0) + 1)
    },
  }
  const { to, server, environment } = await startProxy(phases, { http2: { maxResets: 1_000 } })
  const below = random(20_26)
  const paths = ['/', '/read', '/stream'].flatMap((path) => [`${path}-1`, `${path}-2`])

  /** Leaves at one of the points of a request: in its head, in its body, in its answer, or anywhere. */
  const patience = async (answered: Promise<unknown>) => {
    if (below(3) === 0) await Promise.race([answered, new Promise((resolve) => setTimeout(resolve, 100))])
    for (let turns = below(8); turns > 0; turns--) await turn()
  }

  async function h1(): Promise<void> {
    const socket: Socket = connect(to)
    socket.on('error', () => {})
    const closed = new Promise((resolve) => socket.once('close', resolve))
    await once(socket, 'connect')
    const answered = deferred()
    socket.on('data', () => answered.resolve())
    const isPost = below(2) === 0
    const fields: Record<string, string> = isPost ? { 'content-length': '100000' } : {}
    const head = get(paths[below(paths.length)]!, fields, isPost ? 'POST' : 'GET')
    if (below(10) === 0) socket.write(head.slice(0, below(head.length)))
    else {
      socket.write(head)
      if (isPost) socket.write(Buffer.alloc(below(100_001)))
    }
    await patience(answered.promise)
    if (below(2) === 0) socket.resetAndDestroy()
    else socket.destroy()
    await closed
  }

  async function h2(session: ClientHttp2Session): Promise<void> {
    const isPost = below(2) === 0
    const head = { ':method': isPost ? 'POST' : 'GET', ':path': paths[below(paths.length)]! }
    const stream: ClientHttp2Stream = session.request(head, { endStream: !isPost })
    stream.on('error', () => {})
    const closed = new Promise((resolve) => stream.once('close', resolve))
    const answered = deferred()
    stream.on('data', () => answered.resolve())
    if (isPost) stream.write(Buffer.alloc(1 + below(50_000)))
    await patience(answered.promise)
    stream.close(8)
    await closed
  }

  async function h2s(): Promise<void> {
    const session = connectH2(`http://${to.host}:${to.port}`)
    session.on('error', () => {})
    const closed = new Promise((resolve) => session.once('close', resolve))
    for (let left = PER_SESSION; left > 0; left -= 10)
      await Promise.all(Array.from({ length: 10 }, () => h2(session)))
    session.destroy()
    await closed
  }

  async function abort(count: number): Promise<void> {
    let left = count
    const lane = async (version: number) => {
      while (left > 0) {
        left -= version === 2 ? PER_SESSION : 1
        await (version === 2 ? h2s() : h1())
      }
    }
    const lanes = Array.from({ length: AT_ONCE }, (_, index) => lane(index % 8 === 0 ? 2 : 1))
    await Promise.all(lanes)
  }

  /** What is there when all has come to rest. */
  async function rest() {
    const { native, crossing } = environment
    await until(() => native.stats().slots === 0 && native.stats().queued === 0, 'every slot is free', 30_000)
    await until(() => crossing.sessions === 0 && server.stats().services[0]?.connections === 0)
    // The origins are told of each client that has left.
    await until(() => at.open === 0, `${at.open} exchanges are open at the origins`)
    await until(() => (server.stats().services[0]?.pool.open ?? 0) <= 2, 'connections upstream are closed')
    return { ...(await memory()), open: descriptors() }
  }

  await abort(2_000)
  const before = await rest()
  const { begun } = at
  await abort(ABORTS)
  const after = await rest()
  expect(at.begun - begun).toBeGreaterThan(ABORTS / 4)
  // Node.js's HTTP/2 gives up a connection on which too many streams are reset, so the origin ends a few first.
  const ended = counts.codes.get('UPSTREAM_CLOSED') ?? 0
  expect(ended).toBeLessThan(ABORTS / 100)
  // Each other that began was told of it, and logged once, as those are whose head was cut.
  expect(counts.signals).toBe(counts.began - ended)
  expect(counts.logged).toBeGreaterThanOrEqual(counts.began)
  expect(counts.began).toBeGreaterThan(ABORTS / 2)
  counts.codes.delete('UPSTREAM_CLOSED')
  expect([...counts.codes.keys()]).toEqual(['CLIENT_ABORTED'])
  expect(after.open - before.open).toBeLessThanOrEqual(4)
  expect(after.heap - before.heap).toBeLessThan(8)
  expect(after.rss - before.rss).toBeLessThan(48)
})
