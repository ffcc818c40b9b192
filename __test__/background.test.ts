// Services that work in the background, and services that depend on others.
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import {
  BackgroundService,
  type BackgroundServiceOptions,
  DemoOrigin,
  HttpProxy,
  Server,
  type ServerOptions,
  type Service,
  UsageError,
} from '../ts/index.js'
import { deferred, until } from './support/proxy.js'
import { wrongPaths } from './support/refusals.js'

/** A server, closed with the test, and what has been told of its services. */
function makeServer(options: ServerOptions = {}) {
  const server = new Server({ logger: false, ...options })
  onTestFinished(async () => {
    await server.close({ graceMs: 0 })
  })
  const told: string[] = []
  server.on('service', (service, state) => void told.push(`${service.name} ${state}`))
  return { server, told }
}

const proxyOf = (name = 'proxy') => {
  const proxy = new HttpProxy({ upstreamPeer: async () => never() }, { name, threads: 1 })
  return { proxy, http: proxy.addTcp('127.0.0.1:0') }
}
const never = () => new Promise<never>(() => {})
const rejection = (promise: Promise<unknown>): Promise<UsageError> =>
  promise.then(
    () => {
      throw new Error('it was to be rejected')
    },
    (error: unknown) => {
      expect(error).toBeInstanceOf(UsageError)
      return error as UsageError
    },
  )

test('a service starts when those it depends on are ready, and they stop when it has stopped', async () => {
  const { server, told } = makeServer()
  const connected = deferred()
  const steps: string[] = []
  const db = new BackgroundService('db', {
    async start() {
      await connected.promise
    },
    stop: () => void steps.push(`stopped while the proxy is ${proxy.state}`),
  })
  const { proxy, http } = proxyOf()
  server.addService(proxy, { dependsOn: [db] })
  server.addService(db)
  const started = server.start()
  await until(() => db.state === 'starting')
  expect(proxy.state).toBe('new')
  expect(server.state).toBe('starting')
  connected.resolve()
  await started
  expect(told).toEqual(['db starting', 'db ready', 'proxy starting', 'proxy ready'])
  expect(http.address.port).toBeGreaterThan(0)
  await server.close()
  expect(steps).toEqual(['stopped while the proxy is stopped'])
  await until(() => db.state === 'stopped')
  expect(told.slice(4)).toEqual(['proxy stopping', 'proxy stopped', 'db stopping', 'db stopped'])
})

test('a function says itself when it is ready, and hears when it is to stop', async () => {
  const { server } = makeServer()
  const heard: unknown[] = []
  const service = new BackgroundService('watcher', async ({ signal, ready }) => {
    expect(signal.aborted).toBe(false)
    ready()
    ready()
    await once(signal, 'abort')
    heard.push(signal.reason.name)
  })
  server.addService(service)
  await server.start()
  expect(service.state).toBe('ready')
  await server.close()
  expect(heard).toEqual(['AbortError'])
})

test.each<[string, BackgroundServiceOptions, string, (context: { signal: AbortSignal }) => Promise<void>]>([
  [
    'throws',
    {},
    'Error: the database is away',
    async () => {
      await Promise.resolve()
      throw new Error('the database is away')
    },
  ],
  ['returns', {}, 'it ended before it was ready', async () => {}],
  [
    'takes too long',
    { readyTimeoutMs: 50 },
    'it was not ready after 50 ms',
    ({ signal }) => sleep(60_000, undefined, { signal }),
  ],
])(
  'Pingora shortcomings, line 18: one that %s before it is ready fails those that depend on it',
  async (_what, options, reason, work) => {
    const { server, told } = makeServer()
    let signal: AbortSignal | undefined
    const db = new BackgroundService(
      'db',
      (context) => {
        signal = context.signal
        return work(context)
      },
      options,
    )
    const { proxy, http } = proxyOf()
    server.addService(db)
    server.addService(proxy, { dependsOn: [db] })
    const error = await rejection(server.start())
    expect(error.code).toBe('SERVICE_FAILED')
    expect(error.message).toContain(`service db: ${reason}`)
    expect(error.message).toMatch(/; not started, as they depend on it: proxy$/)
    if (reason.startsWith('Error')) expect(error.cause).toEqual(new Error('the database is away'))
    await until(() => db.state === 'new')
    expect(told).not.toContain('proxy starting')
    expect(() => http.address).toThrow()
    if (reason.includes('after')) await until(() => signal!.aborted, 'it is told to stop')
    expect(server.state).toBe('new')
  },
)

test('a start that failed may be tried again', async () => {
  const { server } = makeServer()
  let attempts = 0
  const db = new BackgroundService('db', {
    start() {
      if (++attempts === 1) throw new Error('not yet')
    },
  })
  const { proxy, http } = proxyOf()
  server.addService(db)
  server.addService(proxy, { dependsOn: [db] })
  expect((await rejection(server.start())).message).toMatch(/^service db: Error: not yet/)
  await server.start()
  expect(http.address.port).toBeGreaterThan(0)
  await until(() => db.state === 'ready')
})

test('close() ends a start that waits', async () => {
  const { server } = makeServer()
  const heard = deferred()
  server.addService(
    new BackgroundService('slow', async ({ signal }) => {
      await once(signal, 'abort')
      heard.resolve()
    }),
  )
  const started = rejection(server.start())
  await until(() => server.state === 'starting')
  await server.close()
  expect((await started).code).toBe('SERVER_CLOSED')
  await heard.promise
})

test('what is up when a start is given up has the grace it was promised', async () => {
  const steps: string[] = []
  const written = () =>
    new BackgroundService('ledger', async ({ signal, ready }) => {
      ready()
      await once(signal, 'abort')
      await sleep(1_500)
      steps.push('written')
    })
  const failing = makeServer()
  const ledger = failing.server.addService(written())
  const broken = new BackgroundService('broken', () => Promise.reject(new Error('not today')))
  failing.server.addService(broken, { dependsOn: [ledger] })
  expect((await rejection(failing.server.start())).message).toContain('service broken: Error: not today')
  expect(steps).toEqual(['written'])

  const { server, told } = makeServer({ graceMs: 0 })
  const slow = new BackgroundService('slow', ({ signal }) => once(signal, 'abort').then(() => undefined))
  server.addService(slow, { dependsOn: [server.addService(written())] })
  const started = rejection(server.start())
  await until(() => told.includes('slow starting'))
  await server.close({ graceMs: 60_000 })
  expect((await started).code).toBe('SERVER_CLOSED')
  expect(steps).toEqual(['written', 'written'])
})

test('a shorter grace ends that of a start that is given up', async () => {
  const { server, told } = makeServer()
  const ledger = new BackgroundService('ledger', ({ ready }) => {
    ready()
    return never()
  })
  const slow = new BackgroundService('slow', ({ signal }) => once(signal, 'abort').then(() => undefined))
  server.addService(slow, { dependsOn: [server.addService(ledger)] })
  const started = rejection(server.start())
  await until(() => told.includes('slow starting'))
  const closed = server.close({ graceMs: 600_000 })
  await until(() => told.includes('ledger stopping'))
  expect(server.state).toBe('closing')
  await server.close({ graceMs: 0 })
  await closed
  expect((await started).code).toBe('SERVER_CLOSED')
})

test('services that depend on each other are refused, with the way round', async () => {
  const { server } = makeServer()
  const make = (name: string) => new BackgroundService(name, { start() {} })
  const [a, b, c] = [make('a'), make('b'), make('c')]
  server.addService(a, { dependsOn: [b] })
  server.addService(b, { dependsOn: [c] })
  server.addService(c, { dependsOn: [a] })
  const error = await rejection(server.start())
  expect(error.code).toBe('DEPENDENCY_CYCLE')
  expect(error.message).toBe('services depend on each other: c → a → b → c')

  const alone = makeServer().server
  alone.addService(new BackgroundService('x', { start() {} }), { dependsOn: [new DemoOrigin()] })
  expect((await rejection(alone.start())).message).toContain('which this server does not have')
})

test('a service that fails after it was ready closes the server, and run() rejects', async () => {
  const { server, told } = makeServer()
  const fail = deferred()
  const thrown = new TypeError('no more')
  const errors: [UsageError, Service][] = []
  server.on('error', (error, service) => void errors.push([error, service]))
  const db = new BackgroundService('db', async ({ ready }) => {
    ready()
    await fail.promise
    throw thrown
  })
  server.addService(db)
  server.addService(proxyOf().proxy)
  const running = rejection(server.run())
  await until(() => server.state === 'running')
  fail.resolve()
  const error = await running
  expect(error).toMatchObject({ code: 'SERVICE_FAILED', cause: thrown })
  expect(error.message).toMatch(/^service db: TypeError: no more \(at /)
  expect(errors).toEqual([[error, db]])
  expect(server.state).toBe('closed')
  expect(db.state).toBe('failed')
  expect(told).toContain('proxy stopped')
})

test('one that fails as the others go on is only told of', async () => {
  const { server } = makeServer()
  const fail = deferred()
  const work = async ({ ready }: { ready(): void }) => {
    ready()
    await fail.promise
    throw undefined
  }
  const db = server.addService(new BackgroundService('db', work, { onFailure: 'continue' }))
  const { proxy, http } = proxyOf()
  server.addService(proxy)
  await server.start()
  // Nobody listens to 'error', which must not end the process.
  fail.resolve()
  await until(() => db.state === 'failed')
  await new Promise((resolve) => setImmediate(resolve))
  expect(server.state).toBe('running')
  expect(http.address.port).toBeGreaterThan(0)
})

test('one that is to be started again is', async () => {
  const { server, told } = makeServer()
  const errors: string[] = []
  server.on('error', ({ message }) => void errors.push(message))
  let runs = 0
  const service = new BackgroundService(
    'poller',
    async ({ signal, ready }) => {
      ready()
      if (++runs < 3) throw new Error(`failure ${runs}`)
      await once(signal, 'abort')
    },
    { onFailure: 'restart', restartDelayMs: 1, maxRestartDelayMs: 5 },
  )
  server.addService(service)
  await server.start()
  await until(() => runs === 3 && service.state === 'ready')
  expect(told.filter((line) => line === 'poller restarting')).toHaveLength(2)
  expect(told.filter((line) => line === 'poller ready')).toHaveLength(3)
  expect(server.state).toBe('running')
  await server.close()
  await until(() => service.state === 'stopped')
})

test('one that has done its work has ended, and nothing has failed', async () => {
  const { server } = makeServer()
  const warm = new BackgroundService('warm-up', { start() {}, run() {} })
  server.addService(warm)
  server.addService(proxyOf().proxy, { dependsOn: [warm] })
  await server.start()
  await until(() => warm.state === 'stopped')
  expect(server.state).toBe('running')
})

test('one that does not stop is left behind at the end of the grace', async () => {
  const lines: string[] = []
  const log = (line: string) => void lines.push(line)
  const { server } = makeServer({ logger: { debug: log, info: log, warn: log, error: log } })
  const end = deferred()
  server.addService(
    new BackgroundService('deaf', async ({ ready }) => {
      ready()
      await end.promise
      throw new Error('too late for anybody')
    }),
  )
  await server.start()
  await server.close({ graceMs: 20 })
  await until(() => lines.includes('service deaf: it did not stop in time and is cut off'))
  end.resolve()
  await new Promise((resolve) => setImmediate(resolve))
})

test('what a service rejects with because it was told to stop is no failure', async () => {
  const { server } = makeServer()
  const service = server.addService(
    new BackgroundService('ticker', {
      run: ({ signal }) => sleep(60_000, undefined, { signal }),
    }),
  )
  const running = server.run()
  await until(() => server.state === 'running')
  await server.close()
  await running
  await until(() => service.state === 'stopped')
})

test('what it is made of is checked', () => {
  const make = (...given: unknown[]) =>
    wrongPaths(() => new (BackgroundService as new (...given: unknown[]) => unknown)(...given))
  expect(make('a', () => {})).toEqual([])
  expect(make()).toEqual(['name', 'work'])
  expect(make('a', {})).toEqual(['work'])
  expect(make('a', { start: 1 })).toEqual(['work.start'])
  expect(make('', { run() {} }, { onFailure: 'ignore', restartDelayMs: 0, x: 1 })).toEqual([
    'name',
    'x',
    'onFailure',
    'restartDelayMs',
  ])
  expect(make('a', { strat() {}, run() {}, helper() {}, state: 1 })).toEqual(['work.strat'])
  class Work {
    Start() {}
    run() {}
  }
  expect(make('a', new Work())).toEqual(['work.Start'])
  expect(make('a', () => {}, { restartDelayMs: 400, maxRestartDelayMs: 50 })).toEqual(['maxRestartDelayMs'])
  expect(make('a', () => {}, { restartDelayMs: 100_000 })).toEqual([])
  const service = new BackgroundService('a', () => {})
  expect(wrongPaths(() => service.addTcp('127.0.0.1:0'))).toEqual(['address'])
  const add = (options: object) => wrongPaths(() => new Server().addService(service, options))
  expect(add({ dependsOn: service })).toEqual(['dependsOn'])
  expect(add({ dependsOn: [{}] })).toEqual(['dependsOn[0]'])
  expect(add({ after: [] })).toEqual(['after'])
})
