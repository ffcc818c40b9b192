import { BroadcastChannel } from 'node:worker_threads'
import { expect, onTestFinished, test } from 'vitest'
import { HttpPeer, HttpProxy, UsageError } from '../ts/index.js'
import { inject } from '../ts/testing/index.js'
import { program } from './support/child.js'
import { Client, get, once, post } from './support/client.js'
import { startOrigin } from './support/origin.js'
import { until } from './support/proxy.js'
import { gateway, modules, plan, startThreads } from './support/threads.js'

/** What threads say on a channel. */
function heard(name: string): string[] {
  const words: string[] = []
  const channel = new BroadcastChannel(name)
  channel.onmessage = ({ data }) => void words.push(data)
  onTestFinished(() => channel.close())
  return words
}

/** Opens connections and asks each once: they stay open. */
async function connections(to: { host: string; port: number }, count: number) {
  const clients: Client[] = []
  for (let n = 0; n < count; n++) {
    const client = await Client.connect(to)
    clients.push(client)
    await client.ask(get('/'))
  }
  return clients
}

const COUNTING = `
let count = 0
export default ({ index, count: threads }) => ({
  upstreamPeer: dead,
  requestFilter({ request, connection }) {
    const { data } = connection
    data.set('count', (data.get('count') ?? 0) + 1)
    return { status: 200, body: [index, threads, ++count, data.get('count')].join(' ') }
  },
})`

test('phases run in as many threads as asked for; a connection stays with one, and each has its own state', async () => {
  const { to } = await startThreads(gateway(COUNTING), { jsThreads: 3 })
  const clients = await connections(to, 6)
  const ask = async () =>
    Promise.all(clients.map(async (client) => (await client.ask(get('/'))).body.split(' ').map(Number)))
  const first = await ask()
  const second = await ask()
  expect(first.map(([index]) => index)).toEqual(second.map(([index]) => index))
  // Each thread has two of the connections, and has seen their requests alone.
  for (const index of [0, 1, 2]) {
    const own = second.filter((answer) => answer[0] === index)
    expect(own).toHaveLength(2)
    expect(own.map((answer) => answer[2]).sort()).toEqual([5, 6])
  }
  expect(second.every(([, threads, , ofConnection]) => threads === 3 && ofConnection === 3)).toBe(true)
  await Promise.all(clients.map((client) => client.end()))
})

test.each([
  ['an object', 'export default { upstreamPeer: dead, requestFilter: () => 201 }'],
  ['a list', 'export default [{ requestFilter: () => 201 }, { upstreamPeer: dead }]'],
  ['a function', 'export default () => ({ upstreamPeer: dead, requestFilter: () => 201 })'],
  [
    'an async function',
    'export default async () => ({ upstreamPeer: await dead, requestFilter: async () => 201 })',
  ],
  ['a class', 'export default class { upstreamPeer = dead; requestFilter() { return 201 } }'],
  [
    'an object of a class',
    'class A { upstreamPeer() { return dead } requestFilter(s) { s.respond(201) } }; export default new A()',
  ],
])('a module may export %s; without jsThreads it has one thread', async (_what, source) => {
  const { to } = await startThreads(gateway(source))
  expect((await once(to, get('/'))).status).toBe(201)
})

test('a module may be CommonJS, compiled or not', async () => {
  const { write } = modules()
  const phases =
    "{ upstreamPeer: new (require('millrace').HttpPeer)('127.0.0.1:1'), requestFilter: () => 201 }"
  for (const source of [
    `module.exports = ${phases}`,
    `Object.defineProperty(exports, '__esModule', { value: true }); exports.default = ${phases}`,
  ]) {
    const { to } = await startThreads(write('gateway.cjs', source))
    expect((await once(to, get('/'))).status).toBe(201)
  }
})

test('peers, filters, edits, bodies, errors, subrequests and logging are as with phases that are given', async () => {
  const origin = await startOrigin()
  const words = heard('threads-all')
  const other = new HttpPeer(origin.address, { readTimeoutMs: 5_000 })
  const source = `
    import { BroadcastChannel } from 'node:worker_threads'
    const channel = new BroadcastChannel('threads-all')
    const own = new HttpPeer('${origin.address}')
    export default {
      newCtx: () => ({ hops: 0 }),
      upstreamPeer: own,
      earlyRequestFilter: { match: { path: '/match' }, handler() { throw new ProxyError({ status: 418, message: 'a pot' }) } },
      async requestFilter(session, ctx) {
        const { path } = session.request
        if (path === '/throw') throw new Error('secret')
        if (path === '/read') return { status: 200, body: 'read ' + await session.readBody() }
        if (path === '/sub') return { status: 200, body: await (await session.subrequest('/inner')).text() }
        if (path === '/inner') return { status: 200, body: 'inner of ' + session.parent.request.path }
      },
      upstreamRequestFilter(_s, request, ctx) { ctx.hops++; request.headers.set('x-tag', 'edited') },
      responseFilter({ upstream }, response, ctx) {
        response.headers.set('x-peer', [upstream.peer === own, upstream.peer.address, ctx.hops].join(' '))
      },
      responseBodyFilter: (session, chunk, end) => session.request.path === '/body' ? String(chunk).toUpperCase() : undefined,
      logging(session, error) {
        if (session.request.path === '/log') throw new Error('in logging')
        channel.postMessage(session.request.path + ' ' + (error?.code ?? session.response.status))
      },
    }`
  const { to, lines } = await startThreads(gateway(source), {
    jsThreads: 2,
    routes: [{ match: { path: '/other' }, upstreamPeer: other }],
  })
  const ask = (path: string) => once(to, get(path))
  const plain = await ask('/plain')
  expect([plain.body, plain.header('x-tag'), plain.header('x-peer')]).toEqual([
    'GET /plain ',
    'edited',
    `true ${origin.address} 1`,
  ])
  expect((await ask('/other')).header('x-peer')).toBe(`false ${origin.address} 1`)
  expect((await ask('/body')).body).toBe('GET /BODY ')
  const pot = await ask('/match')
  expect([pot.status, pot.body]).toEqual([418, 'a pot\n'])
  const thrown = await ask('/throw')
  expect([thrown.status, thrown.body]).toEqual([500, '500 Internal Server Error\n'])
  expect((await once(to, post('/read', 'a body'))).body).toBe('read a body')
  expect((await ask('/sub')).body).toBe('inner of /sub')
  await ask('/log')
  await until(() => words.length === 8 && lines.some((line) => line.includes('in logging')))
  expect(words.sort()).toEqual([
    '/body 200',
    '/inner 200',
    '/match PHASE_FAILED',
    '/other 200',
    '/plain 200',
    '/read 200',
    '/sub 200',
    '/throw PHASE_FAILED',
  ])
  expect(lines.some((line) => line.startsWith('warn 500 GET /throw') && line.includes('secret'))).toBe(true)
})

/** Phases that go wrong when asked to. */
const WRONG = `
export default ({ index }) => ({
  upstreamPeer: dead,
  requestFilter({ request: { path } }) {
    if (path === '/throw') return new Promise(() => { setImmediate(() => { throw new Error('floating') }) })
    if (path === '/reject') return new Promise(() => { Promise.reject(new Error('floating')) })
    if (path === '/exit') process.exit(3)
    if (path === '/hang') for (;;);
    if (path === '/wait') return new Promise((resolve) => setTimeout(resolve, 60_000))
    return { status: 200, body: index + ' ' + threadId }
  },
})`

test.each([
  ['throws outside of its phases', '/throw', /Error: floating\n\s+at .*gateway\.mjs:\d+/],
  ['leaves a rejection alone', '/reject', /Error: floating\n\s+at .*gateway\.mjs:\d+/],
  ['ends', '/exit', /exit code 3/],
  ['hangs', '/hang', /its event loop was blocked for 300 ms/],
])('a thread that %s is replaced; its requests alone fail', async (_what, path, reason) => {
  const { to, lines } = await startThreads(gateway(WRONG), { jsThreads: 2, jsBlockedTimeoutMs: 300 })
  const [first, second] = (await connections(to, 2)) as [Client, Client]
  const place = async (client: Client) => (await client.ask(get('/'))).body.split(' ')
  const before = [await place(first), await place(second)]
  expect(before.map(([index]) => index).sort()).toEqual(['0', '1'])
  // Another request of the same thread, and one of the other.
  const waits = await Client.connect(to)
  await waits.ask(get('/'))
  const [mate, stranger] = (await place(waits))[0] === before[0]![0] ? [first, second] : [second, first]
  waits.write(get('/wait'))
  const failed = await mate.ask(get(path))
  expect([failed.status, failed.body]).toEqual([503, '503 Service Unavailable\n'])
  expect((await waits.reply())?.status).toBe(503)
  // The connection goes on, in whatever thread there is.
  expect((await mate.ask(get('/'))).status).toBe(200)
  expect((await stranger.ask(get('/'))).status).toBe(200)
  const lost = lines.filter((line) => line.includes('PHASES_LOST'))
  expect(lost).toHaveLength(2)
  await until(() => lines.some((line) => line.startsWith('error thread')))
  expect(lines.find((line) => line.startsWith('error thread'))).toMatch(reason)
  const lostIndex = before[mate === first ? 0 : 1]![0]
  expect(await fresh(to, before)).toBe(lostIndex)
  await Promise.all([first, second, waits].map((client) => client.end()))
})

/** The place of a thread that was not there before, once it serves. */
async function fresh(to: { host: string; port: number }, before: (string | undefined)[][]) {
  for (;;) {
    const clients = await connections(to, 4)
    const places = await Promise.all(clients.map(async (one) => (await one.ask(get('/'))).body.split(' ')))
    await Promise.all(clients.map((client) => client.end()))
    const found = places.find(([, id]) => !before.some(([, old]) => old === id))
    if (found !== undefined) return found[0]
  }
}

test('with one thread, requests wait for the one that takes its place', async () => {
  const module = gateway(`await new Promise((resolve) => setTimeout(resolve, 200))\n${WRONG}`)
  const { to, lines } = await startThreads(module, { jsThreads: 1 })
  expect((await once(to, get('/exit'))).status).toBe(503)
  await until(() => lines.some((line) => line.includes('replaced at once')))
  const [index] = (await once(to, get('/'))).body.split(' ')
  expect(index).toBe('0')
})

test('requests that begin before anybody has noticed that the thread has ended wait as well', async () => {
  const module = gateway(WRONG)
  const { line, child } = program(
    PROGRAM(
      module,
      `console.log(http.address.port)
      process.on('SIGUSR2', () => {
        console.log('held up')
        const end = performance.now() + 500
        while (performance.now() < end);
      })`,
      1,
    ),
  )
  const to = { host: '127.0.0.1', port: Number(await line()) }
  const [lost, other] = (await connections(to, 2)) as [Client, Client]
  for (let i = 0; i < 3; i++) {
    child.kill('SIGUSR2')
    expect(await line()).toBe('held up')
    expect((await lost.ask(get('/exit'))).status).toBe(503)
    expect((await other.ask(get('/'))).status).toBe(200)
  }
  await Promise.all([lost.end(), other.end()])
})

test('what stats() counts of a thread goes on with the one in its place', async () => {
  const { to, server } = await startThreads(gateway(WRONG), { jsThreads: 1 })
  for (let i = 0; i < 5; i++) await once(to, get('/'))
  const crossings = () => server.stats().services[0]!.threads![0]!.crossings
  const before = crossings()
  expect((await once(to, get('/exit'))).status).toBe(503)
  expect((await once(to, get('/'))).status).toBe(200)
  expect(crossings()).toBeGreaterThan(before)
})

test('stats() has the figures of each thread', async () => {
  const { to, server } = await startThreads(gateway(COUNTING), { jsThreads: 2 })
  const clients = await connections(to, 4)
  const threads = () => server.stats().services[0]!.threads!
  expect(threads()).toHaveLength(2)
  for (const { items, crossings } of threads()) expect([items >= 2, crossings >= 2]).toEqual([true, true])
  await until(() => threads().every(({ sessions, queued }) => sessions + queued === 0))
  await until(() => threads().every(({ loopDelayMs }) => loopDelayMs.max > 0))
  await Promise.all(clients.map((client) => client.end()))
})

test('close() ends a start that waits for a module', async () => {
  const { server } = plan(gateway('await new Promise(() => setInterval(() => {}, 1_000)); export default {}'))
  const starting = server.start()
  setTimeout(() => void server.close(), 200)
  await expect(starting).rejects.toMatchObject({ code: 'SERVER_CLOSED' })
  await server.close()
})

test('options of V8 and of the process do not keep threads from starting', async () => {
  const module = gateway('export default { upstreamPeer: dead, requestFilter: () => 204 }')
  const options = [
    '--max-old-space-size=200',
    '--expose-gc',
    '--title=x',
    '--stack-size=900',
    '--trace-uncaught',
  ]
  const { line, ended } = program(
    PROGRAM(module, 'console.log((await fetch(http.url)).status); await server.close()'),
    15_000,
    options,
  )
  expect(await line()).toBe('204')
  expect(await ended).toEqual({ code: 0, signal: null, stderr: '' })
})

test('threads that end again and again are replaced ever more slowly', async () => {
  const words = heard('threads-loop')
  const source = `
    import { BroadcastChannel } from 'node:worker_threads'
    const channel = new BroadcastChannel('threads-loop')
    channel.postMessage('begun')
    channel.unref()
    setTimeout(() => process.exit(9), 20)
    export default { upstreamPeer: dead, requestFilter: () => 204 }`
  const { lines } = await startThreads(gateway(source))
  await until(() => lines.filter((line) => line.startsWith('error thread')).length >= 4)
  const waits = lines.map((line) => /replaced (at once|in \d+ ms)/.exec(line)?.[1]).filter(Boolean)
  expect(waits.slice(0, 4)).toEqual(['at once', 'in 100 ms', 'in 200 ms', 'in 400 ms'])
  expect(words.length).toBeLessThanOrEqual(waits.length + 1)
})

test.each([
  ['does not exist', undefined, /Cannot find module/],
  ['cannot be parsed', 'const a = 1\nconst b = = 2', /: .*gateway\.mjs:5:11: Expression expected$/],
  ['throws', "\nthrow new TypeError('no')", /: .*gateway\.mjs:5:7: TypeError: no$/],
  [
    'rejects',
    'export default async () => { throw new RangeError("late") }',
    /: .*gateway\.mjs:4:\d+: RangeError: late$/,
  ],
  ['throws what is no error', "throw 'words'", /: it threw words$/],
  ['ends', 'process.exit(4)', /exit code 4/],
  ['has no default export', 'export const a = 1', /export default: found undefined/],
  ['exports no phases', 'export default 7', /found 7, allowed: an object with phases/],
  [
    'misspells a phase',
    'export default { upstreamPeer: dead, request_filter() {} }',
    /did you mean requestFilter/,
  ],
  [
    'is different in each thread',
    'export default ({ index }) => index ? { upstreamPeer: dead } : { upstreamPeer: () => dead }',
    /: thread 1 has other phases than thread 0: only one has upstreamPeer$/,
  ],
  [
    'has another peer in each thread',
    "export default ({ index }) => ({ upstreamPeer: new HttpPeer('127.0.0.1:' + (index + 1)) })",
    /: thread 1 has other phases than thread 0: upstreamPeer is not the same$/,
  ],
  [
    'has other phases in each thread',
    'export default ({ index }) => ({ upstreamPeer: dead, ...(index && { logging() {}, requestFilter() {} }) })',
    /: thread 1 has other phases than thread 0: only one has requestFilter, logging$/,
  ],
  [
    'exports a proxy',
    "import { HttpProxy } from 'millrace'\nexport default new HttpProxy({ upstreamPeer: dead })",
    /export default: found an object \(HttpProxy\), allowed: phases, .*; a service is made of them/,
  ],
  [
    'exports a server',
    "import { Server } from 'millrace'\nexport default () => new Server()",
    /export default: found an object \(Server\), allowed: phases, /,
  ],
])('a module that %s fails the start, and nothing stays bound', async (_what, source, message) => {
  const module = source === undefined ? new URL('file:///nowhere/gateway.mjs') : gateway(source)
  const { server, http } = plan(module, { jsThreads: 2 })
  const error = await server.start().then(
    () => undefined,
    (error) => error,
  )
  expect(error).toBeInstanceOf(UsageError)
  expect(error.code).toBe('MODULE_FAILED')
  expect(error.message).toMatch(message)
  expect(() => http.url).toThrow()
})

test('a module without upstreamPeer needs routes or values that say where requests go', async () => {
  const module = gateway(
    'export default { requestFilter({ request }) { if (request.path === "/a") return 201 } }',
  )
  await expect(plan(module).server.start()).rejects.toMatchObject({
    code: 'INVALID_OPTIONS',
    problems: [{ path: 'upstreamPeer' }],
  })
  const { to } = await startThreads(module, { respond: { status: 202 } })
  expect((await once(to, get('/b'))).status).toBe(202)
})

test('a server whose module failed can be started again', async () => {
  const { write } = modules()
  const module = write('gateway.mjs', 'nonsense')
  const { server, http } = plan(module)
  await expect(server.start()).rejects.toMatchObject({ code: 'MODULE_FAILED' })
  write(
    'gateway.mjs',
    "import { HttpPeer } from 'millrace'\nexport default { upstreamPeer: new HttpPeer('127.0.0.1:1'), requestFilter: () => 201 }",
  )
  await server.start()
  expect((await once(http.address, get('/'))).status).toBe(201)
})

test('jsThreads with phases that are given is an option error that shows how it is done', () => {
  const phases = { upstreamPeer: new HttpPeer('127.0.0.1:1') }
  const made = (options: object) => {
    try {
      new HttpProxy(phases, options)
    } catch (error) {
      return (error as Error).message
    }
    return ''
  }
  const form = "new HttpProxy(new URL('./gateway.js', import.meta.url), { jsThreads: 4 })"
  expect(made({ jsThreads: 2 })).toContain(form)
  expect(made({ jsBlockedTimeoutMs: 2 })).toContain(form)
})

test('what cannot go to threads is refused', async () => {
  const module = gateway('export default { upstreamPeer: dead }')
  const problems = (options: object, url = module) => {
    try {
      new HttpProxy(url, options)
    } catch (error) {
      return (error as UsageError).problems.map(({ path }) => path)
    }
    return []
  }
  expect(problems({ jsThreads: 0, jsBlockedTimeoutMs: -1 })).toEqual(['jsThreads', 'jsBlockedTimeoutMs'])
  expect(problems({ jsThreads: 257 })).toEqual(['jsThreads'])
  expect(problems({ routes: [{ match: { path: '/a' }, phases: { requestFilter: () => 204 } }] })).toEqual([
    'routes[0].phases',
  ])
  expect(problems({}, new URL('https://a.example/gateway.js'))).toEqual(['module'])
  expect(problems({ routes: [{ match: { path: 'a' } }] })).toEqual(['routes[0].match.path'])
  await expect(inject(new HttpProxy(module))).rejects.toMatchObject({ code: 'INVALID_OPTIONS' })
  expect(() => new HttpProxy(module).replace({ upstreamPeer: new HttpPeer('127.0.0.1:1') })).toThrow(
    'reload()',
  )
})

test('close waits for the last phases, and its threads end with it', async () => {
  const words = heard('threads-close')
  const source = `
    import { BroadcastChannel } from 'node:worker_threads'
    const channel = new BroadcastChannel('threads-close')
    export default {
      upstreamPeer: dead,
      requestFilter: () => 204,
      async logging() {
        await new Promise((resolve) => setTimeout(resolve, 50))
        channel.postMessage('logged')
      },
    }`
  const { server, to } = await startThreads(gateway(source), { jsThreads: 2 })
  await Promise.all(Array.from({ length: 8 }, () => once(to, get('/'))))
  await server.close()
  await until(() => words.length === 8)
})

const PROGRAM = (module: URL, rest: string, jsThreads = 2) => `
  const server = new Server({ logger: false })
  const proxy = server.addService(new HttpProxy(new URL(${JSON.stringify(module.href)}), { threads: 2, jsThreads: ${jsThreads} }))
  const http = proxy.addTcp('127.0.0.1:0')
  await server.start()
  ${rest}`

test('a program ends by itself once its server has closed', async () => {
  const module = gateway(
    'setInterval(() => {}, 1_000); export default { upstreamPeer: dead, requestFilter: () => 204 }',
  )
  const { ended } = program(PROGRAM(module, 'await fetch(http.url); await server.close()'))
  expect(await ended).toEqual({ code: 0, signal: null, stderr: '' })
})

test('process.exit while threads are busy ends the process with its code', async () => {
  const module = gateway(`export default {
    upstreamPeer: dead,
    async requestFilter() { await new Promise((resolve) => setImmediate(resolve)); return 204 },
  }`)
  const { line, ended, child } = program(
    PROGRAM(module, "console.log(http.address.port); process.on('SIGUSR2', () => process.exit(7))"),
  )
  const port = Number(await line())
  const done = Promise.all(
    Array.from({ length: 16 }, async () => {
      const client = await Client.connect({ host: '127.0.0.1', port })
      for (let n = 0; ; n++) {
        client.write(get('/'))
        if ((await client.reply().catch(() => undefined)) === undefined) break
        if (n === 100) process.kill(child.pid!, 'SIGUSR2')
      }
      await client.end()
    }),
  )
  await done
  expect(await ended).toEqual({ code: 7, signal: null, stderr: '' })
})
