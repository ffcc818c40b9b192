import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { describe, expect, onTestFinished, test } from 'vitest'
import {
  type AnyPhases,
  BackgroundService,
  Connector,
  HttpApp,
  HttpPeer,
  HttpProxy,
  type HttpProxyOptions,
  Server,
  type SocketOptions,
  TcpApp,
  TcpPeer,
  TcpProxy,
} from '../ts/index.js'
import { program } from './support/child.js'
import { Client, get, once } from './support/client.js'
import { DEAD, startOrigin } from './support/origin.js'
import { deferred, startProxy, until } from './support/proxy.js'
import { failure } from './support/refusals.js'
import { type SystemSocket, systemSockets } from './support/sockets.js'
import { tasks } from './support/tasks.js'

const linux = process.platform === 'linux'
const hasIPv6 = Object.values(networkInterfaces())
  .flat()
  .some((address) => address?.address === '::1')
const own: AnyPhases = {
  upstreamPeer: new HttpPeer(DEAD),
  requestFilter: () => ({ status: 200, body: 'own' }),
}

/** A proxy that listens with these options. */
async function listen(
  address: string,
  socket: SocketOptions,
  phases: AnyPhases = own,
  options: HttpProxyOptions = { threads: 1 },
) {
  const server = new Server({ logger: false })
  onTestFinished(async () => {
    await server.close({ graceMs: 0 })
  })
  const http = server.addService(new HttpProxy(phases, options)).addTcp(address, socket)
  await server.start()
  return { server, http, to: http.address }
}

/** The value of `look` once it has stayed the same for a while. */
async function settled(look: () => number): Promise<number> {
  let last = -1
  let same = 0
  await until(() => {
    const now = look()
    same = now === last && now > 0 ? same + 1 : 0
    last = now
    return same > 40
  })
  return last
}

describe('what is not an option is refused', () => {
  const peer = new HttpPeer(DEAD)
  const places: [string, (options: object) => unknown][] = [
    ['Server', (options) => new Server(options)],
    ['HttpProxy', (options) => new HttpProxy({ upstreamPeer: peer }, options)],
    ['HttpApp', (options) => new HttpApp(() => 200, options)],
    ['TcpApp', (options) => new TcpApp(() => undefined, options)],
    ['TcpProxy', (options) => new TcpProxy(DEAD, options)],
    ['TcpPeer', (options) => new TcpPeer(DEAD, options)],
    ['Connector', (options) => new Connector(options)],
    ['addTcp', (options) => new HttpProxy({ upstreamPeer: peer }).addTcp('127.0.0.1:0', options)],
    ['BackgroundService', (options) => new BackgroundService('a', () => {}, options)],
    ['HttpPeer', (options) => new HttpPeer(DEAD, options)],
    ['tcpKeepalive', (options) => new HttpPeer(DEAD, { tcpKeepalive: options })],
  ]
  test.each(places)('%s names the path, what it found and what there is', (_name, make) => {
    const error = failure(() => make({ grcaeMs: 5 }))
    expect(error.code).toBe('INVALID_OPTIONS')
    expect(error.problems).toHaveLength(1)
    expect(error.problems[0]).toMatchObject({ path: expect.stringMatching(/grcaeMs$/), found: 5 })
    expect(error.message).toMatch(
      /grcaeMs: found 5, allowed: no such option; (?:there are: |did you mean graceMs\?)/,
    )
  })

  test.each(places)('each option of %s has a test by its name', (_name, make) => {
    const names = /there are: (.*)/.exec(failure(() => make({ unknown: 1 })).message)![1]!.split(', ')
    const folder = new URL('./', import.meta.url)
    const files = readdirSync(folder).filter((file) => file.endsWith('.test.ts'))
    const text = files.map((file) => readFileSync(new URL(file, folder), 'utf8')).join('\n')
    expect(names.filter((name) => !new RegExp(`\\b${name}\\b`).test(text))).toEqual([])
  })

  test('each option refuses what is out of its range, and one error lists all', () => {
    const names = /there are: (.*)/
      .exec(failure(() => places[1]![1]({ unknown: 1 })).message)![1]!
      .split(', ')
    const options = Object.fromEntries(names.map((name) => [name, -1]))
    expect(failure(() => places[1]![1](options)).problems.map(({ path }) => path)).toEqual(names)
  })
})

test.skipIf(!linux)('threads and name: so many threads bear the name', async () => {
  const count = (start: string) => tasks().filter(({ name }) => name.startsWith(start)).length
  for (const [threads, workStealing] of [
    [1, false],
    [3, false],
    [3, true],
  ] as const) {
    const name = `n${threads}${workStealing}`
    const { server, to } = await listen('127.0.0.1:0', {}, own, { threads, workStealing, name })
    await until(() => count(name) === threads)
    expect((await once(to, get('/'))).status).toBe(200)
    expect(server.stats().services[0]?.name).toBe(name)
    await server.close()
    await until(() => count(name) === 0)
  }
})

test('reusePort: several listen on one port with it, and none without', async () => {
  const first = await listen('127.0.0.1:0', { reusePort: true })
  const address = `127.0.0.1:${first.to.port}`
  const second = await listen(address, { reusePort: true })
  expect(second.to.port).toBe(first.to.port)
  await first.server.close()
  expect((await once(second.to, get('/'))).status).toBe(200)
  await expect(listen(address, {})).rejects.toMatchObject({ code: 'ADDRESS_IN_USE' })
})

test.skipIf(!hasIPv6)('ipv6Only: whether IPv4 clients are served too', async () => {
  const both = await listen('[::]:0', { ipv6Only: false })
  expect((await once({ host: '127.0.0.1', port: both.to.port }, get('/'))).status).toBe(200)
  const only = await listen('[::]:0', { ipv6Only: true })
  expect((await once({ host: '::1', port: only.to.port }, get('/'))).status).toBe(200)
  await expect(once({ host: '127.0.0.1', port: only.to.port }, get('/'))).rejects.toMatchObject({
    code: 'ECONNREFUSED',
  })
})

const hasSs = linux && spawnSync('ss', ['-tln']).status === 0
test.skipIf(!hasSs)('backlog is what the system holds', async () => {
  for (const backlog of [7, 300]) {
    const { to } = await listen('127.0.0.1:0', { backlog })
    const lines = spawnSync('ss', ['-tln'], { encoding: 'utf8' }).stdout.split('\n')
    const mine = lines.find((line) => line.includes(`127.0.0.1:${to.port} `))
    expect(mine?.trim().split(/\s+/)[2]).toBe(String(backlog))
  }
})

test.skipIf(!linux)('tcpKeepalive of an endpoint and of a peer: probes are planned', async () => {
  const origin = await startOrigin()
  const probe = (localPort: number, remotePort: number) => {
    const is = (socket: SystemSocket) => socket.localPort === localPort && socket.remotePort === remotePort
    return systemSockets().find(is)?.probeMs
  }
  for (const tcpKeepalive of [undefined, { idleMs: 7_000, intervalMs: 2_000, count: 2 }]) {
    const given = tcpKeepalive === undefined ? {} : { tcpKeepalive }
    const { to } = await listen('127.0.0.1:0', given, { upstreamPeer: new HttpPeer(origin.address, given) })
    const client = await Client.connect(to)
    await client.ask(get('/'))
    const { port } = origin.seen.at(-1)!
    // The timer of what is not acknowledged yet stands there before.
    const down = () => probe(to.port, client.socket.localPort!)
    const up = () => probe(port, origin.port)
    if (tcpKeepalive === undefined) expect([down(), up()]).toEqual([undefined, undefined])
    else {
      await until(() => down() !== undefined && up() !== undefined)
      for (const ms of [down()!, up()!]) {
        expect(ms).toBeGreaterThan(5_000)
        expect(ms).toBeLessThanOrEqual(7_000)
      }
    }
    await client.end()
  }
})

test.skipIf(!linux)('recvBuffer and sendBuffer bound what the system holds', async () => {
  const origin = await startOrigin((_seen, res) => res.end(Buffer.alloc(32 << 20)))
  const held = async (socket: SocketOptions) => {
    const gate = deferred()
    const { to } = await listen('127.0.0.1:0', socket, {
      upstreamPeer: new HttpPeer(origin.address),
      requestFilter: ({ request }) => (request.method === 'POST' ? gate.promise.then(() => 204) : undefined),
    })
    const up = await Client.connect(to)
    up.write(get('/', { 'content-length': String(32 << 20) }, 'POST'))
    up.write(Buffer.alloc(32 << 20))
    const down = await Client.connect(to)
    down.socket.pause()
    down.write(get('/'))
    const look = (client: Client) => (): SystemSocket | undefined =>
      systemSockets().find(
        ({ localPort, remotePort }) => localPort === to.port && remotePort === client.socket.localPort,
      )
    const unread = await settled(() => look(up)()?.unread ?? 0)
    const sending = await settled(() => look(down)()?.sending ?? 0)
    gate.resolve()
    down.socket.resume()
    await Promise.all([up.reset(), down.reset()])
    return { unread, sending }
  }
  const usual = await held({})
  const small = await held({ recvBuffer: 8_192, sendBuffer: 8_192 })
  expect(small.unread).toBeLessThan(100_000)
  expect(small.sending).toBeLessThan(100_000)
  expect(usual.unread).toBeGreaterThan(2 * small.unread)
  expect(usual.sending).toBeGreaterThan(2 * small.sending)
})

test.skipIf(!linux).each([
  ['', 'is a batch thread'],
  ['batchJsThread: true', 'is a batch thread'],
  ['batchJsThread: false', 'is as before'],
])('batchJsThread: with { %s } the thread %s', async (options, expected) => {
  const { line } = program(`
    import { readFileSync } from 'node:fs'
    const server = new Server({ ${options} })
    const proxy = server.addService(new HttpProxy({ upstreamPeer: new HttpPeer('127.0.0.1:1') }, { threads: 1 }))
    proxy.addTcp('127.0.0.1:0')
    // The 41st number of its stat; the name, in brackets, may hold anything.
    const policy = () => readFileSync('/proc/thread-self/stat', 'latin1').split(') ').at(-1).split(' ')[38]
    const before = policy()
    await server.start()
    console.log(before, policy())
    await server.close()`)
  const [before, during] = (await line()).split(' ')
  expect(during).toBe(expected === 'is as before' ? before : '3')
})

test('graceMs of the server is what close() takes', async () => {
  const entered = deferred()
  const server = new Server({ graceMs: 100, logger: false })
  const http = server
    .addService(
      new HttpProxy({
        ...own,
        requestFilter() {
          entered.resolve()
          return new Promise<void>(() => {})
        },
      }),
    )
    .addTcp('127.0.0.1:0')
  await server.start()
  const client = await Client.connect(http.address)
  client.write(get('/'))
  await entered.promise
  const start = performance.now()
  expect(await server.close()).toMatchObject({ requests: { finished: 0, cut: 1 } })
  expect(performance.now() - start).toBeGreaterThan(90)
  await client.closed
})

test('an option that is undefined is as one that is absent', async () => {
  const { to } = await startProxy(own, { maxHeaders: undefined, name: undefined } as object)
  expect(
    (await once(to, get('/', Object.fromEntries(Array.from({ length: 100 }, (_, n) => [`x${n}`, ''])))))
      .status,
  ).toBe(200)
})
