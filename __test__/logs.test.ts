// The log as data: records, batches, levels, and which logger gets what.
import { Console } from 'node:console'
import { once as event } from 'node:events'
import { Writable } from 'node:stream'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import {
  type AnyPart,
  BackgroundService,
  HttpPeer,
  HttpProxy,
  type LogRecord,
  Server,
  type ServerOptions,
} from '../ts/index.js'
import { leastLevel, makeLog } from '../ts/logger.js'
import { toStderr } from '../ts/stderr.js'
import { program } from './support/child.js'
import { get, once } from './support/client.js'
import { DEAD } from './support/origin.js'
import { deferred, until } from './support/proxy.js'

const dead = new HttpPeer(DEAD)

async function start(options: ServerOptions, phases: Partial<AnyPart> = {}) {
  const server = new Server(options)
  const proxy = server.addService(
    new HttpProxy({ upstreamPeer: dead, ...phases }, { threads: 1, name: 'front' }),
  )
  const http = proxy.addTcp('127.0.0.1:0')
  await server.start()
  onTestFinished(async () => {
    await server.close({ graceMs: 0 })
  })
  return { server, to: http.address }
}

function collector() {
  const records: LogRecord[] = []
  return { records, onLog: (batch: readonly LogRecord[]) => void records.push(...batch) }
}

test.each([
  ['the addon', {}],
  ['phases have a say in it', { suppressErrorLog: () => false }],
])('a failed request as data, the same where %s', async (_who, phases) => {
  const { records, onLog } = collector()
  const { to } = await start({ onLog }, phases)
  const before = Date.now()
  await once(to, get('/a?b'))
  await until(() => records.length === 1)
  const [record] = records
  expect(record).toEqual({
    time: expect.any(Number),
    level: 'warn',
    message: expect.stringMatching(
      /^502 GET \/a\?b, Host: a\.example, client 127\.0\.0\.1:\d+: CONNECT_REFUSED \(upstream\): /,
    ),
    fields: {
      request: expect.stringMatching(/^\d+$/),
      connection: expect.stringMatching(/^\d+$/),
      client: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
      method: 'GET',
      target: '/a?b',
      host: 'a.example',
      status: 502,
      code: 'CONNECT_REFUSED',
      source: 'upstream',
      attempt: 1,
      service: 'front',
    },
  })
  expect(record!.time).toBeGreaterThanOrEqual(before - 1)
  expect(record!.time).toBeLessThanOrEqual(Date.now() + 1)
})

test('the ids are those of the session', async () => {
  const { records, onLog } = collector()
  const ids: string[] = []
  const { to } = await start({ onLog }, { logging: ({ id, connection }) => void ids.push(id, connection.id) })
  await once(to, get('/'))
  await until(() => records.length === 1 && ids.length === 2)
  expect([records[0]!.fields.request, records[0]!.fields.connection]).toEqual(ids)
})

test('with onLog nothing goes to stderr, and with a logger both get it', async () => {
  const { line, ended } = program(`
    const lines = []
    const log = (line) => lines.push(line)
    const records = []
    for (const logger of [undefined, { debug: log, info: log, warn: log, error: log }]) {
      const server = new Server({ logger, onLog: (batch) => records.push(...batch) })
      const proxy = server.addService(new HttpProxy({ upstreamPeer: new HttpPeer('127.0.0.1:1') }, { threads: 1 }))
      const http = proxy.addTcp('127.0.0.1:0')
      await server.start()
      await fetch(http.url)
      await server.close()
    }
    console.log(JSON.stringify([lines.length, records.length, records[1].message === lines[0]]))`)
  expect(JSON.parse(await line())).toEqual([1, 2, true])
  expect((await ended).stderr).toBe('')
})

test('a pino logger gets the fields first, any other the line alone', async () => {
  const calls: Record<'pino' | 'other', unknown[][]> = { pino: [], other: [] }
  const make = (to: unknown[][]) => {
    const log = (...given: unknown[]) => void to.push(given)
    return { debug: log, info: log, warn: log, error: log }
  }
  const pino = { ...make(calls.pino), level: 'info', bindings: () => ({}) }
  for (const logger of [pino, make(calls.other)]) {
    const { to } = await start({ logger })
    await once(to, get('/'))
  }
  await until(() => calls.pino.length === 1 && calls.other.length === 1)
  const line = expect.stringMatching(/^502 GET \//)
  expect(calls.pino).toEqual([[expect.objectContaining({ code: 'CONNECT_REFUSED', status: 502 }), line]])
  expect(calls.other).toEqual([[line]])
})

test('console gets lines, as people read them', async () => {
  const written: string[] = []
  const stream = new Writable({
    write(chunk, _encoding, done) {
      written.push(String(chunk))
      done()
    },
  })
  const { to } = await start({ logger: new Console(stream), logLevel: 'warn' })
  await once(to, get('/'))
  await until(() => written.length === 1)
  expect(written[0]).toMatch(/^502 GET \/, Host: a\.example, client .+\n$/)
})

test('onLog gets all that waits in one call, and one that throws or rejects hurts nobody', async () => {
  const sizes: number[] = []
  const { to, server } = await start({
    onLog: async (batch) => {
      sizes.push(batch.length)
      throw new Error('as asked')
    },
  })
  await Promise.all(Array.from({ length: 50 }, () => once(to, get('/'))))
  await until(() => sizes.reduce((sum, size) => sum + size, 0) === 50)
  expect(sizes.length).toBeLessThan(50)
  expect(server.state).toBe('running')
})

test('records that JavaScript does not take in time are dropped, and their number is told', async () => {
  const { line } = program(
    `
    import { spawn } from 'node:child_process'
    const records = []
    const server = new Server({ onLog: (batch) => records.push(...batch) })
    // No phase is asked, so that a thread that is held up holds up no request.
    const peer = new HttpPeer('127.0.0.1:1')
    const proxy = server.addService(new HttpProxy({ upstreamPeer: peer }, { threads: 1 }))
    const http = proxy.addTcp('127.0.0.1:0')
    await server.start()
    const client = spawn(process.execPath, ['--input-type=module', '-e', \`
      const all = []
      for (let i = 0; i < 20; i++) all.push((async () => {
        for (let j = 0; j < 100; j++) await fetch('\${http.url}').then((r) => r.arrayBuffer())
      })())
      await Promise.all(all)\`])
    const ended = new Promise((resolve) => client.on('close', resolve))
    // Held up until all has been logged.
    while (server.stats().requests.total < 2000) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20)
    while (server.stats().requests.active > 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20)
    await ended
    while (!records.some(({ fields }) => fields.dropped)) await new Promise((resolve) => setTimeout(resolve, 5))
    const { message, level, fields } = records.find(({ fields }) => fields.dropped)
    console.log(JSON.stringify([records.length, level, message, fields.dropped, server.stats().javascript.droppedLogs]))
    await server.close()`,
    60_000,
  )
  const [kept, level, message, dropped, counted] = JSON.parse(await line())
  expect([kept, level, dropped, counted]).toEqual([1_025, 'warn', 976, 976])
  expect(message).toBe('976 log lines were dropped')
}, 60_000)

test('levels: what is off is not made', async () => {
  const { records, onLog } = collector()
  const { to } = await start(
    { onLog, logLevel: 'error' },
    {
      logging() {
        throw new Error('as asked')
      },
    },
  )
  await once(to, get('/'))
  await until(() => records.length === 1)
  expect(records.map(({ level, fields }) => [level, fields.service])).toEqual([['error', 'front']])
})

test.each([
  ['debug', true],
  ['info', false],
])('with logLevel %s the libraries beneath speak: %s', async (logLevel, speaks) => {
  const { line } = program(`
    import { connect } from 'node:http2'
    const records = []
    const server = new Server({ onLog: (batch) => records.push(...batch), logLevel: '${logLevel}' })
    const proxy = server.addService(new HttpProxy({}, { threads: 1, respond: { status: 200 } }))
    const http = proxy.addTcp('127.0.0.1:0')
    await server.start()
    const session = connect(http.url)
    const stream = session.request({ ':path': '/' })
    stream.resume()
    await new Promise((resolve) => stream.on('close', resolve))
    await new Promise((resolve) => session.close(resolve))
    await server.close()
    const theirs = records.filter(({ fields }) => fields.module?.startsWith('h2'))
    console.log(JSON.stringify([theirs.length > 0, theirs.every(({ level }) => level === 'debug')]))`)
  expect(JSON.parse(await line())).toEqual([speaks, true])
})

test('which level is the least, where nobody says', () => {
  const log = () => {}
  const own = { debug: log, info: log, warn: log, error: log }
  const pino = (level: string) => ({ ...own, level, bindings: log })
  const onLog = log
  const of = (options: Parameters<typeof leastLevel>[0]) => leastLevel(options)
  expect(of({})).toBe(2)
  expect(of({ logger: false })).toBe(4)
  expect(of({ logger: false, onLog })).toBe(1)
  expect(of({ onLog })).toBe(1)
  expect(of({ logger: own })).toBe(0)
  expect(
    ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'].map((level) =>
      of({ logger: pino(level) }),
    ),
  ).toEqual([0, 0, 1, 2, 3, 3, 4])
  expect(of({ logger: own, logLevel: 'warn' })).toBe(2)
  expect(of({ logger: pino('silent'), logLevel: 'info' })).toBe(1)
})

test('background services say which they are', async () => {
  const { records, onLog } = collector()
  const server = new Server({ onLog })
  onTestFinished(async () => {
    await server.close({ graceMs: 0 })
  })
  const fail = deferred()
  const work = async ({ ready }: { ready(): void }) => {
    ready()
    await fail.promise
    throw new Error('no more')
  }
  server.addService(new BackgroundService('db', work, { onFailure: 'continue' }))
  await server.start()
  fail.resolve()
  await until(() => records.length === 1)
  expect(records[0]).toMatchObject({ level: 'error', fields: { service: 'db' } })
  expect(records[0]!.message).toMatch(/^service db: it failed: Error: no more/)
})

test('logLevel and onLog are checked', () => {
  const problems = (options: object) => {
    try {
      new Server(options)
    } catch (error) {
      return (error as { problems: { path: string }[] }).problems.map(({ path }) => path)
    }
    return []
  }
  expect(problems({ logLevel: 'trace', onLog: {} })).toEqual(['onLog', 'logLevel'])
})

test('a logger that throws for one record gets the next', () => {
  const lines: string[] = []
  const log = (line: string) => {
    lines.push(line)
    throw new Error('as asked')
  }
  const { take } = makeLog({ debug: log, info: log, warn: log, error: log })
  const record = (message: string): LogRecord => ({ time: 1, level: 'warn', message, fields: {} })
  take([record('a'), record('b')])
  expect(lines).toEqual(['a', 'b'])
})

describe('stderr', () => {
  /** A server that fails as many requests as it is told to by signals, and says so. */
  const failing = `
    const server = new Server()
    const proxy = new HttpProxy({ upstreamPeer: new HttpPeer('127.0.0.1:1') })
    const endpoint = server.addService(proxy).addTcp('127.0.0.1:0')
    await server.start()
    process.on('SIGUSR2', async () => {
      for (let i = 0; i < 20; i++) await (await fetch(endpoint.url)).text()
      console.log('failed', server.stats().requests.statuses['5xx'])
    })
    process.on('SIGTERM', () => server.close())
    console.log(endpoint.url)
  `

  test.skipIf(process.platform === 'win32')('that is closed ends no process', async () => {
    const { child, line, ended } = program(failing)
    await line()
    child.stderr!.destroy()
    for (const count of [20, 40]) {
      child.kill('SIGUSR2')
      expect(await line()).toBe(`failed ${count}`)
    }
    child.kill('SIGTERM')
    expect(await ended).toMatchObject({ code: 0 })
  })

  test.skipIf(process.platform === 'win32')(
    'that is a full pipe holds no process, and one that is read slowly loses no line',
    { timeout: 40_000 },
    async () => {
      for (const isRead of [false, true]) {
        const { child, line } = program(`
          const server = new Server()
          const proxy = new HttpProxy({ upstreamPeer: new HttpPeer('127.0.0.1:1') })
          const http = server.addService(proxy).addTcp('127.0.0.1:0')
          void server.run()
          await server.start()
          const ask = async (path) => (await fetch(http.url + path)).text()
          for (let i = 0; i < 2_000; i += 20)
            await Promise.all(Array.from({ length: 20 }, (_, at) => ask('/' + (i + at) + 'x'.repeat(200))))
          console.log('failed')`)
        const stderr = child.stderr!
        stderr.removeAllListeners('data').pause()
        expect(await line()).toBe('failed')
        const [exited, ended] = [event(child, 'exit'), event(stderr, 'end')]
        child.kill('SIGTERM')
        let text = ''
        // Whoever reads gets all of it, also where the process has nothing else left to do.
        if (isRead)
          stderr.on('data', (piece) => {
            text += piece
            stderr.pause()
            setTimeout(() => stderr.resume(), 20)
          })
        if (isRead) stderr.resume()
        expect((await exited)[0]).toBe(0)
        if (!isRead) continue
        await ended
        expect(text.match(/^\S+ (?:warn|error) millrace: .*$/gm)).toHaveLength(2_000)
      }
    },
  )

  test('that nobody reads holds 1 MiB, and then lines are dropped and counted', () => {
    const written: string[] = []
    const write = vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
      written.push(String(text))
      return true
    })
    let waiting = 0
    Object.defineProperty(process.stderr, 'writableLength', { get: () => waiting, configurable: true })
    onTestFinished(() => {
      write.mockRestore()
      delete (process.stderr as { writableLength?: number }).writableLength
    })
    toStderr('warn', 'first')
    waiting = 1_048_577
    for (let i = 0; i < 3; i++) toStderr('warn', 'lost')
    waiting = 0
    toStderr('error', 'last')
    expect(written.join('').replace(/^\S+ /gm, '')).toBe(
      'warn millrace: first\nerror millrace: 3 lines were dropped, as nobody read stderr\nerror millrace: last\n',
    )
  })
})
