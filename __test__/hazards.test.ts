import { once as event } from 'node:events'
import { Worker } from 'node:worker_threads'
import { describe, expect, test } from 'vitest'
import {
  type AnyPhases,
  HttpPeer,
  type HttpProxyOptions,
  type PhaseName,
  ProxyError,
  type Session,
} from '../ts/index.js'
import { program } from './support/child.js'
import { Client, get, once } from './support/client.js'
import { DEAD, startOrigin, startRaw } from './support/origin.js'
import { deferred, startProxy, until } from './support/proxy.js'

/** What a phase that misbehaves does, and the error it leads to. */
const WAYS: [string, () => unknown, string, RegExp][] = [
  [
    'throws',
    () => {
      throw new Error('secret')
    },
    'PHASE_FAILED',
    /secret/,
  ],
  [
    'throws what is no Error',
    () => {
      throw 'secret'
    },
    'PHASE_FAILED',
    /threw "secret", which is not an Error/,
  ],
  [
    'throws nothing',
    () => {
      throw undefined
    },
    'PHASE_FAILED',
    /threw undefined/,
  ],
  [
    'throws what throws when it is looked at',
    () => {
      const trap = () => {
        throw new Error('trap')
      }
      throw new Proxy({}, { get: trap, has: trap, getPrototypeOf: trap })
    },
    'PHASE_FAILED',
    /cannot be read/,
  ],
  [
    'throws what looks like a ProxyError',
    () => {
      throw Object.assign(Object.create(ProxyError.prototype), { status: 429, fields: 7 })
    },
    'PHASE_FAILED',
    /./,
  ],
  ['rejects', () => Promise.reject(new Error('secret')), 'PHASE_FAILED', /secret/],
  ['rejects with what is no Error', () => Promise.reject(null), 'PHASE_FAILED', /threw null/],
  ['returns what it may not', () => true, 'PHASE_RETURN', /returned true/],
  ['promises what it may not', () => Promise.resolve('secret'), 'PHASE_RETURN', /returned "secret"/],
]

/** A proxy whose phase `name` misbehaves for `/bad` alone, and the errors it logs. */
async function misbehaving(name: PhaseName, act: () => unknown, options: HttpProxyOptions = {}) {
  const origin = await startOrigin()
  const broken = await startRaw((socket) => socket.once('data', () => socket.destroy()))
  const good = new HttpPeer(origin.address)
  const addresses: Partial<Record<PhaseName, string>> = {
    failToConnect: DEAD,
    errorWhileProxy: broken.address,
  }
  const bad = new HttpPeer(addresses[name] ?? origin.address)
  const errors: ProxyError[] = []
  const usual: Record<string, (session: Session) => unknown> = {
    upstreamPeer: ({ request }) => (request.path === '/bad' ? bad : good),
  }
  const phases = {
    ...usual,
    [name]: (session: Session) => (session.request.path === '/bad' ? act() : usual[name]?.(session)),
    logging(_s: Session, error: ProxyError | undefined) {
      if (error !== undefined) errors.push(error)
    },
  } as unknown as AnyPhases
  return { errors, ...(await startProxy(phases, options)) }
}

describe.each([
  'earlyRequestFilter',
  'requestFilter',
  'proxyUpstreamFilter',
  'upstreamPeer',
  'failToConnect',
  'connectedToUpstream',
  'upstreamRequestFilter',
  'upstreamResponseFilter',
  'responseFilter',
  'errorWhileProxy',
] as PhaseName[])('%s', (name) => {
  test.each(WAYS)('that %s is an error that names it; other requests go on', async (...way) => {
    const [, act, code, message] = way
    const { to, errors, environment } = await misbehaving(name, act)
    const client = await Client.connect(to)
    const reply = await client.ask(get('/bad'))
    expect(reply.status).toBe(500)
    expect(JSON.stringify([reply.headers, reply.body])).not.toContain('secret')
    expect((await client.ask(get('/good'))).body).toBe('GET /good ')
    await client.end()
    await until(() => environment.native.stats().slots === 0)
    expect(errors).toHaveLength(1)
    expect(errors[0]).toMatchObject({ code, phase: name, status: 500 })
    expect(errors[0]?.message).toMatch(message)
  })

  test('that never settles is ended by its deadline; other requests go on', async () => {
    const act = () => new Promise(() => {})
    const { to, errors, environment } = await misbehaving(name, act, { callbackTimeoutMs: 100 })
    const [slow, fast] = await Promise.all([once(to, get('/bad')), once(to, get('/good'))])
    expect([slow.status, fast.status]).toEqual([504, 200])
    await until(() => environment.native.stats().slots === 0)
    expect(errors).toHaveLength(1)
    expect(errors[0]).toMatchObject({ code: 'PHASE_TIMEOUT', phase: name, status: 504 })
  })
})

test.each(WAYS)('failToProxy that %s leaves the plain page and the first error', async (_way, act) => {
  const logged = deferred<ProxyError | undefined>()
  const { to } = await startProxy({
    upstreamPeer: new HttpPeer(DEAD),
    failToProxy: act as never,
    logging: (_s, error) => logged.resolve(error),
  })
  const reply = await once(to, get('/'))
  expect([reply.status, reply.body]).toEqual([502, '502 Bad Gateway\n'])
  expect((await logged.promise)?.code).toBe('CONNECT_REFUSED')
})

test.each(WAYS)('logging that %s is told to the log, and hurts nobody', async (way, act) => {
  const { to, lines, environment } = await startProxy({
    upstreamPeer: new HttpPeer(DEAD),
    requestFilter: () => 204,
    logging: act as never,
  })
  const client = await Client.connect(to)
  expect((await client.ask(get('/'))).status).toBe(204)
  expect((await client.ask(get('/'))).status).toBe(204)
  await client.end()
  await until(() => environment.native.stats().slots === 0)
  const failed = lines.filter((line) => line.startsWith('error logging failed'))
  expect(failed).toHaveLength(way.includes('may not') ? 0 : 2)
})

test.each(WAYS.slice(0, 3))('newCtx that %s is an error that names it', async (_way, act, code) => {
  const logged = deferred<ProxyError | undefined>()
  let fails = true
  const { to } = await startProxy({
    newCtx: () => (fails ? act() : 1),
    upstreamPeer: new HttpPeer(DEAD),
    requestFilter: () => 204,
    logging: (_s, error) => logged.resolve(error),
  })
  expect((await once(to, get('/'))).status).toBe(500)
  expect(await logged.promise).toMatchObject({ code, phase: 'newCtx' })
  fails = false
  expect((await once(to, get('/'))).status).toBe(204)
})

test('a promise that settles after its deadline is counted and does nothing', async () => {
  const late = deferred<number>()
  const logged: unknown[] = []
  const { to, environment } = await startProxy(
    {
      upstreamPeer: new HttpPeer(DEAD),
      requestFilter: ({ request }) => (request.path === '/late' ? late.promise : 204),
      logging: (_s, error) => void logged.push(error?.code),
    },
    { callbackTimeoutMs: 50 },
  )
  expect((await once(to, get('/late'))).status).toBe(504)
  // On either side: what settles before JavaScript knows of the deadline goes over for nothing.
  const count = () => environment.crossing.late + environment.native.stats().late
  const before = count()
  late.resolve(200)
  await until(() => count() > before)
  expect((await once(to, get('/next'))).status).toBe(204)
  await until(() => logged.length === 2)
  expect(logged).toEqual(['PHASE_TIMEOUT', undefined])
})

test('while the event loop is blocked for 2 s, traffic without phases goes on, and the phases recover', async () => {
  const worker = new Worker(new URL('./support/traffic.mjs', import.meta.url))
  const exited = event(worker, 'exit')
  const [{ port }] = await event(worker, 'message')
  const peer = new HttpPeer(`127.0.0.1:${port}`)
  const fixed = await startProxy({ upstreamPeer: peer })
  let block = 0
  let second: Client | undefined
  const totals = new Map<string, number>()
  const blocked = await startProxy(
    {
      upstreamPeer: peer,
      requestFilter({ request }) {
        if (request.path !== '/block') return
        second?.write(get('/waits'))
        block = Date.now()
        while (Date.now() - block < 2_000) {
          // Nothing else can run.
        }
      },
      logging: (session) => void totals.set(session.request.path, session.timings.totalMs ?? 0),
    },
    { callbackTimeoutMs: 500 },
  )
  worker.postMessage({ url: fixed.http.url })
  await event(worker, 'message')
  const client = await Client.connect(blocked.to)
  second = await Client.connect(blocked.to)
  expect((await client.ask(get('/before'))).body).toBe('/before')
  // One is in the phase that blocks, another waits for the event loop: both are answered at their deadline.
  expect((await client.ask(get('/block'))).status).toBe(504)
  expect((await second.reply())?.status).toBe(503)
  expect((await once(blocked.to, get('/after'))).body).toBe('/after')
  worker.postMessage({})
  const [{ answered, failed }] = (await event(worker, 'message')) as [
    { answered: number[]; failed: string[] },
  ]
  expect(failed).toEqual([])
  const meanwhile = answered.filter((at) => at > block + 100 && at < block + 1_900)
  expect(meanwhile.length).toBeGreaterThan(50)
  for (const at of Array.from({ length: 8 }, (_, n) => block + 100 + n * 200))
    expect(meanwhile.some((time) => time >= at && time <= at + 400)).toBe(true)
  await until(() => blocked.environment.native.stats().slots === 0)
  for (const path of ['/block', '/waits']) {
    expect(totals.get(path)).toBeGreaterThan(450)
    expect(totals.get(path)).toBeLessThan(1_500)
  }
  await exited
})

/** A proxy in a program of its own, asked again and again from outside; `busy` is its requestFilter. */
const busy = (body: string) => `
  let count = 0
  const server = new Server({ logger: false })
  const proxy = server.addService(new HttpProxy({
    upstreamPeer: new HttpPeer('127.0.0.1:1'),
    async requestFilter(session) {
      count++
      ${body}
      await new Promise((resolve) => setImmediate(resolve))
      return { status: 200, body: session.request.path }
    },
  }, { threads: 2 }))
  const http = proxy.addTcp('127.0.0.1:0')
  await server.start()
`

/** Keeps a proxy busy until it goes away; `then` is called at the 500th answer. What came back that is wrong. */
async function press(port: number, then = () => {}): Promise<string[]> {
  const wrong: string[] = []
  let answers = 0
  const lane = async (lane: number) => {
    const client = await Client.connect({ host: '127.0.0.1', port }).catch(() => undefined)
    for (let n = 0; client !== undefined; n++) {
      client.write(get(`/${lane}-${n}`))
      const reply = await client.reply().catch(() => undefined)
      if (reply === undefined) break
      if (reply.status === 200 && reply.body !== `/${lane}-${n}`) wrong.push(reply.body)
      if (++answers === 500) then()
    }
    await client?.end()
  }
  await Promise.all(Array.from({ length: 32 }, (_, n) => lane(n)))
  return wrong
}

test('process.exit while busy ends the process with its code', async () => {
  const { line, ended } = program(`${busy('if (count === 2000) process.exit(7)')}
    console.log(http.address.port)`)
  const wrong = await press(Number(await line()))
  expect(wrong).toEqual([])
  expect(await ended).toEqual({ code: 7, signal: null, stderr: '' })
})

test('process.exit while phases never settle ends the process with its code', async () => {
  const { line, ended } = program(`${busy('if (count === 40) process.exit(8); await new Promise(() => {})')}
    console.log(http.address.port)`)
  const port = Number(await line())
  const clients = await Promise.all(
    Array.from({ length: 40 }, () => Client.connect({ host: '127.0.0.1', port })),
  )
  for (const client of clients) client.write(get('/'))
  await Promise.all(clients.map(({ closed }) => closed))
  expect(await ended).toEqual({ code: 8, signal: null, stderr: '' })
})

test('an exception outside of the phases, while busy, ends the process as Node ends it', async () => {
  const { line, ended } =
    program(`${busy("if (count === 500) setImmediate(() => { throw new Error('floating') })")}
    console.log(http.address.port)`)
  await press(Number(await line()))
  expect(await ended).toMatchObject({ code: 1, signal: null, stderr: expect.stringContaining('floating') })
})

test('a worker thread that is terminated while busy leaves the process well', async () => {
  const source = `${busy('')}
    const { parentPort } = await import('node:worker_threads')
    parentPort.postMessage(http.address.port)`
  const { line, ended, child } = program(`
    import { Worker } from 'node:worker_threads'
    import { once } from 'node:events'
    const dist = ${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)}
    const source = 'import { Server, HttpProxy, HttpPeer } from ' + JSON.stringify(dist) + ${JSON.stringify(`\n${source}`)}
    for (let round = 0; round < 3; round++) {
      const worker = new Worker(new URL('data:text/javascript,' + encodeURIComponent(source)))
      const [port] = await once(worker, 'message')
      console.log(port)
      await once(process, 'SIGUSR2')
      console.log(await worker.terminate())
    }
    // The addon serves the main thread afterwards.
    ${busy('')}
    const reply = await fetch(http.url + '/main')
    console.log(await reply.text())
    await server.close({ graceMs: 0 })
  `)
  for (let round = 0; round < 3; round++) {
    const pressed = press(Number(await line()), () => child.kill('SIGUSR2'))
    expect(await line()).toBe('1')
    expect(await pressed).toEqual([])
  }
  expect(await line()).toBe('/main')
  expect(await ended).toEqual({ code: 0, signal: null, stderr: '' })
})

test('several worker threads have proxies of their own at the same time', async () => {
  const source = `${busy('')}
    const { parentPort } = await import('node:worker_threads')
    parentPort.once('message', () => server.close({ graceMs: 0 }))
    parentPort.postMessage(http.url)`
  const { line, ended } = program(`
    import { Worker } from 'node:worker_threads'
    import { once } from 'node:events'
    const dist = ${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)}
    const source = 'import { Server, HttpProxy, HttpPeer } from ' + JSON.stringify(dist) + ${JSON.stringify(`\n${source}`)}
    const workers = [1, 2, 3].map(() => new Worker(new URL('data:text/javascript,' + encodeURIComponent(source))))
    const urls = (await Promise.all(workers.map((worker) => once(worker, 'message')))).flat()
    const ask = async (url, n) => (await fetch(url + '/' + n)).text()
    const answers = await Promise.all(Array.from({ length: 300 }, (_, n) => ask(urls[n % 3], n)))
    console.log(answers.every((answer, n) => answer === '/' + n))
    for (const worker of workers) worker.postMessage('close')
    console.log((await Promise.all(workers.map((worker) => once(worker, 'exit')))).flat().join())
  `)
  expect(await line()).toBe('true')
  expect(await line()).toBe('0,0,0')
  expect(await ended).toEqual({ code: 0, signal: null, stderr: '' })
})
