import { once as event } from 'node:events'
import { expect, onTestFinished, test } from 'vitest'
import { HttpPeer, HttpProxy, Server } from '../ts/index.js'
import { Client, get, once } from './support/client.js'
import { descriptors, memory } from './support/memory.js'
import { startRaw } from './support/origin.js'
import { startProxy, until } from './support/proxy.js'
import { modules, plan, startThreads } from './support/threads.js'

const HEAD = "import { HttpPeer } from 'millrace'\nimport { threadId } from 'node:worker_threads'\n"

/** A module that imports one that imports another, whose word it answers with. */
function nested(word: string) {
  const { write } = modules()
  const say = (text: string) => write('lib/inner.mjs', `export const word = ${JSON.stringify(text)}\n`)
  say(word)
  write('middle.mjs', "export { word } from './lib/inner.mjs'\n")
  const module = write(
    'gateway.mjs',
    `${HEAD}import { word } from './middle.mjs'
    export default {
      upstreamPeer: new HttpPeer('127.0.0.1:1'),
      async requestFilter({ request }) {
        if (request.path === '/slow') await new Promise((resolve) => setTimeout(resolve, 300))
        if (request.path === '/never') await new Promise(() => {})
        return { status: 200, body: word + ' ' + threadId }
      },
    }`,
  )
  return { module, say, write }
}

const words = async (to: { host: string; port: number }, path = '/') =>
  (await once(to, get(path))).body.split(' ')

test('an edit two imports deep takes effect, on connections that are open too', async () => {
  const { module, say } = nested('one')
  const { to, proxy } = await startThreads(module, { jsThreads: 2 })
  const client = await Client.connect(to)
  expect((await client.ask(get('/'))).body).toMatch(/^one /)
  say('two')
  expect((await words(to))[0]).toBe('one')
  await proxy.reload()
  expect((await words(to))[0]).toBe('two')
  expect((await client.ask(get('/'))).body).toMatch(/^two /)
  await client.end()
})

test.each([
  ['a syntax error', 'export const word = \n\n= 1', /: .*lib\/inner\.mjs:3:1: Expression expected$/],
  ['an error', '\n\nthrow new Error("no")\nexport const word = 1', /: .*lib\/inner\.mjs:3:7: no$/],
  ['a missing export', 'export const other = 1', /: .*middle\.mjs:1:10: .*'word'$/],
])(
  '%s two imports deep leaves the old one serving, and is told with its place',
  async (_what, source, message) => {
    const { module, say, write } = nested('one')
    const { to, proxy } = await startThreads(module, { jsThreads: 2 })
    const [, thread] = await words(to)
    write('lib/inner.mjs', source)
    await expect(proxy.reload()).rejects.toMatchObject({
      code: 'MODULE_FAILED',
      message: expect.stringMatching(message),
    })
    expect(await words(to)).toEqual(['one', thread])
    say('two')
    await proxy.reload()
    expect((await words(to))[0]).toBe('two')
  },
)

test('which phases there are may change; what is wrong with them changes nothing', async () => {
  const { write } = modules()
  const exporting = (phases: string) =>
    write(
      'gateway.mjs',
      `${HEAD}const peer = new HttpPeer('127.0.0.1:1')\nexport default { upstreamPeer: peer, ${phases} }`,
    )
  const { to, proxy } = await startThreads(exporting('requestFilter: () => 201'))
  exporting('failToProxy: () => 202, requestFilter: { match: { path: "/a" }, handler: () => 203 }')
  await proxy.reload()
  const status = async (path: string) => (await once(to, get(path))).status
  expect([await status('/'), await status('/a')]).toEqual([202, 203])
  exporting('requestfilter: () => 204')
  await expect(proxy.reload()).rejects.toMatchObject({ message: expect.stringContaining('requestFilter') })
  exporting('requestFilter: { match: { path: "a" }, handler: () => 203 }')
  await expect(proxy.reload()).rejects.toMatchObject({
    code: 'INVALID_OPTIONS',
    problems: [{ path: 'requestFilter.match.path' }],
  })
  expect([await status('/'), await status('/a')]).toEqual([202, 203])
})

test('the threads before end with their last request, or WebSocket; requests that begin are for the new ones', async () => {
  const origin = await startRaw((socket) => {
    socket.once('data', () => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n')
      socket.on('data', (piece) => socket.write(piece))
    })
  })
  const { write } = modules()
  const source = (word: string) => `${HEAD}
    import { BroadcastChannel } from 'node:worker_threads'
    const channel = new BroadcastChannel('reload-ends')
    channel.onmessage = ({ data }) => { if (data === 'who') channel.postMessage('${word}') }
    export default {
      upstreamPeer: new HttpPeer('${origin.address}'),
      async requestFilter({ request }) {
        if (request.path === '/slow') await new Promise((resolve) => setTimeout(resolve, 300))
        if (request.path !== '/socket') return { status: 200, body: '${word}' }
      },
      logging({ request }) { channel.postMessage('${word} ' + request.path) },
    }`
  const { BroadcastChannel } = await import('node:worker_threads')
  const channel = new BroadcastChannel('reload-ends')
  const heard: string[] = []
  channel.onmessage = ({ data }) => void heard.push(data)
  try {
    const { to, proxy } = await startThreads(write('gateway.mjs', source('old')))
    const [slow, socket] = await Promise.all([Client.connect(to), Client.connect(to)])
    socket.write(
      'GET /socket HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n',
    )
    await event(socket.socket, 'data')
    slow.write(get('/slow'))
    write('gateway.mjs', source('new'))
    await proxy.reload()
    expect((await once(to, get('/'))).body).toBe('new')
    expect((await slow.reply())?.body).toBe('old')
    expect((await slow.ask(get('/'))).body).toBe('new')
    // Who is there? The old thread is, for the WebSocket.
    heard.length = 0
    channel.postMessage('who')
    await until(() => heard.includes('old') && heard.includes('new'))
    socket.write('ping')
    expect(String((await event(socket.socket, 'data'))[0])).toBe('ping')
    await socket.end()
    await until(() => heard.includes('old /socket'))
    const isGone = async () => {
      heard.length = 0
      channel.postMessage('who')
      await until(() => heard.includes('new'))
      return !heard.includes('old')
    }
    while (!(await isGone())) await new Promise((resolve) => setTimeout(resolve, 5))
    await slow.end()
  } finally {
    channel.close()
  }
})

test('after graceMs the threads before end all the same', async () => {
  const { module, say } = nested('one')
  const { to, proxy, lines } = await startThreads(module)
  const stuck = await Client.connect(to)
  stuck.write(get('/never'))
  const slow = once(to, get('/slow'))
  expect((await words(to))[0]).toBe('one')
  say('two')
  await proxy.reload({ graceMs: 500 })
  expect((await slow).body).toMatch(/^one /)
  expect((await stuck.reply())?.status).toBe(503)
  expect((await stuck.ask(get('/'))).body).toMatch(/^two /)
  expect(lines.some((line) => line.includes('/never') && line.includes('PHASES_LOST'))).toBe(true)
  await stuck.end()
})

test('calls at the same time follow one another, and the last one takes in the last edit', async () => {
  const { module, say } = nested('one')
  const { to, proxy } = await startThreads(module)
  say('two')
  const first = proxy.reload()
  say('three')
  const second = proxy.reload()
  await Promise.all([first, second])
  expect((await words(to))[0]).toBe('three')
})

test('what stats() counts of a thread goes on with the one in its place, while those before still have requests too', async () => {
  const { module, say } = nested('0')
  const { to, proxy, server } = await startThreads(module, { jsThreads: 2 })
  const counts = () => {
    const threads = server.stats().services[0]!.threads!
    expect(threads).toHaveLength(2)
    return threads.map(({ crossings, items }) => ({ crossings, items }))
  }
  let before = counts()
  const goesUp = () => {
    const now = counts()
    for (const [at, { crossings, items }] of before.entries()) {
      expect(now[at]!.crossings).toBeGreaterThanOrEqual(crossings)
      expect(now[at]!.items).toBeGreaterThanOrEqual(items)
    }
    before = now
  }
  for (let round = 1; round <= 3; round++) {
    for (let i = 0; i < 10; i++) await words(to)
    goesUp()
    const client = await Client.connect(to)
    client.write(get('/slow'))
    say(String(round))
    await proxy.reload()
    goesUp()
    expect((await words(to))[0]).toBe(String(round))
    goesUp()
    expect((await client.reply())?.status).toBe(200)
    await client.end()
    goesUp()
  }
  // At least an item for each request, of which there are 36.
  const items = () => counts().reduce((sum, one) => sum + one.items, 0)
  await until(() => items() >= 36)
})

test('a thread that ends after a reload is replaced with what is loaded', async () => {
  const { module, write } = nested('one')
  const { to, proxy, lines } = await startThreads(module)
  await proxy.reload()
  write(
    'gateway.mjs',
    "import { HttpPeer } from 'millrace'\nexport default { upstreamPeer: new HttpPeer('127.0.0.1:1'), requestFilter: () => process.exit(1) }",
  )
  await proxy.reload()
  expect((await once(to, get('/'))).status).toBe(503)
  await until(() => lines.some((line) => line.includes('replaced at once: it ended with exit code 1')))
})

test('there is nothing to reload without a module, before the start, and after the end', async () => {
  const { proxy } = await startProxy({ upstreamPeer: new HttpPeer('127.0.0.1:1') })
  await expect(proxy.reload()).rejects.toMatchObject({
    code: 'INVALID_OPTIONS',
    message: expect.stringContaining("new URL('./gateway.js', import.meta.url)"),
  })
  const { module } = nested('one')
  await expect(new HttpProxy(module).reload()).rejects.toMatchObject({ code: 'NOT_STARTED' })
  const { server, proxy: other } = plan(module)
  await server.start()
  await expect(other.reload({ graceMs: -1 })).rejects.toMatchObject({ code: 'INVALID_OPTIONS' })
  const late = other.reload()
  await server.close({ graceMs: 0 })
  await expect(late).rejects.toMatchObject({ code: 'SERVER_CLOSED' })
  await expect(other.reload()).rejects.toMatchObject({ code: 'SERVER_CLOSED' })
  expect(server).toBeInstanceOf(Server)
})

test('what is being loaded when the server closes ends with it', async () => {
  const { module, write } = nested('one')
  const { proxy, server } = await startThreads(module)
  const channel = new BroadcastChannel('reload-hangs')
  onTestFinished(() => channel.close())
  const begun = new Promise((resolve) => {
    channel.onmessage = resolve
  })
  write(
    'lib/inner.mjs',
    "export const word = 'two'\nnew BroadcastChannel('reload-hangs').postMessage('begun')\nawait new Promise((resolve) => setTimeout(resolve, 1e6))",
  )
  const hangs = expect(proxy.reload()).rejects.toMatchObject({ code: 'SERVER_CLOSED' })
  const waits = expect(proxy.reload()).rejects.toMatchObject({ code: 'SERVER_CLOSED' })
  await begun
  await server.close({ graceMs: 0 })
  await Promise.all([hangs, waits])
})

test('TypeScript is loaded where Node.js strips types', async () => {
  const { write } = modules()
  const module = write(
    'gateway.ts',
    `import { HttpPeer, type Session } from 'millrace'
    export default { upstreamPeer: new HttpPeer('127.0.0.1:1'), requestFilter: ({ request }: Session): number => 201 }`,
  )
  const { features } = process as { features: { typescript?: unknown } }
  if (features.typescript) {
    const { to } = await startThreads(module)
    expect((await once(to, get('/'))).status).toBe(201)
  } else
    await expect(plan(module).server.start()).rejects.toMatchObject({
      message: expect.stringContaining('.ts'),
    })
})

/** As many as suit a run of all tests; `MILLRACE_RELOADS=500` was run by hand. */
const RELOADS = Number(process.env.MILLRACE_RELOADS ?? 40)

test('many reloads under load lose no request, and leave memory and descriptors as they were', {
  timeout: 60_000 + RELOADS * 1_000,
}, async () => {
  const { module, say } = nested('one')
  const { to, proxy } = await startThreads(module, { jsThreads: 1 })
  // Node.js warns of listeners that pile up.
  const warnings: string[] = []
  const warned = ({ message }: Error) => void warnings.push(message)
  process.on('warning', warned)
  onTestFinished(() => void process.off('warning', warned))
  let [answered, wrong, running] = [0, 0, true]
  const clients = Array.from({ length: 4 }, async () => {
    const client = await Client.connect(to)
    while (running) {
      const { status } = await client.ask(get('/'))
      if (status === 200) answered++
      else wrong++
    }
    await client.end()
  })
  const round = async () => {
    for (let n = 0; n < RELOADS / 2; n++) {
      say(`word-${n}`)
      await proxy.reload()
      const seen = answered
      await until(() => answered > seen)
    }
    return { ...(await memory()), files: descriptors() }
  }
  await round()
  const first = await round()
  const second = await round()
  running = false
  await Promise.all(clients)
  if (process.env.MILLRACE_RELOADS !== undefined) console.log({ answered, first, second })
  expect([wrong, warnings]).toEqual([0, []])
  expect(second.heap - first.heap).toBeLessThan(4)
  expect(second.native - first.native).toBeLessThan(40)
  expect(second.files - first.files).toBeLessThan(12)
})
