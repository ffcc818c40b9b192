// What a server emits, and that no listener can hurt it.
import { expect, onTestFinished, test } from 'vitest'
import { BackgroundService, HttpPeer, HttpProxy, Server, type ServerOptions } from '../ts/index.js'
import { program } from './support/child.js'
import { DEAD } from './support/origin.js'
import { deferred, until } from './support/proxy.js'

function makeServer(options: ServerOptions = { logger: false }) {
  const server = new Server(options)
  onTestFinished(async () => {
    await server.close({ graceMs: 0 })
  })
  const proxy = server.addService(new HttpProxy({ upstreamPeer: new HttpPeer(DEAD) }, { threads: 1 }))
  return { server, proxy, http: proxy.addTcp('127.0.0.1:0') }
}

test('the states of a server and of its services, in their order', async () => {
  const { server, proxy } = makeServer()
  const told: string[] = []
  server.on('state', (state) => {
    expect(server.state).toBe(state)
    told.push(state)
  })
  server.on('service', (service, state, error) => {
    expect(service).toBe(proxy)
    expect(service.state).toBe(state)
    expect(error).toBeUndefined()
    told.push(`proxy ${state}`)
  })
  expect([server.state, proxy.state]).toEqual(['new', 'new'])
  await server.start()
  await server.close()
  await until(() => proxy.state === 'stopped')
  const states = (of: string) => told.filter((line) => line.startsWith('proxy ') === (of === 'proxy'))
  expect(states('server')).toEqual(['starting', 'running', 'closing', 'closed'])
  expect(states('proxy')).toEqual(['proxy starting', 'proxy ready', 'proxy stopping', 'proxy stopped'])
})

test('a start that fails rejects, emits no error, and leaves the server as new', async () => {
  const { server, http } = makeServer()
  await server.start()
  const other = makeServer().server
  const taken = new HttpProxy({ upstreamPeer: new HttpPeer(DEAD) })
  taken.addTcp(`127.0.0.1:${http.address.port}`)
  other.addService(taken)
  const told: unknown[] = []
  other.on('state', (state) => void told.push(state))
  other.on('error', (error) => void told.push(error))
  await expect(other.start()).rejects.toMatchObject({ code: 'ADDRESS_IN_USE' })
  expect(told).toEqual(['starting', 'new'])
})

test('a listener that throws or rejects is logged, and the server goes on', async () => {
  const lines: string[] = []
  const log = (line: string) => void lines.push(line)
  const { server } = makeServer({ logger: { debug: log, info: log, warn: log, error: log } })
  server.on('state', (state) => {
    if (state === 'running') throw new Error('as asked')
  })
  const heard: string[] = []
  server.on('state', (state) => heard.push(state))
  server.on('service', async () => {
    throw new TypeError('asynchronously')
  })
  await server.start()
  expect(server.state).toBe('running')
  await until(() => lines.some((line) => line.startsWith("a listener of 'service' failed: TypeError")))
  expect(lines).toContainEqual(expect.stringMatching(/^a listener of 'state' failed: Error: as asked/))
  expect(heard).toEqual(['starting', 'running'])
})

test('listeners are those of any emitter: once, off, and abort signals', async () => {
  const { server } = makeServer()
  const seen: string[] = []
  const gone = (state: string) => void seen.push(`gone ${state}`)
  server.on('state', gone).off('state', gone)
  server.once('state', (state) => void seen.push(state))
  await server.start()
  expect(seen).toEqual(['starting'])
  expect(server.listenerCount('state')).toBe(0)
})

test('an error without a listener ends no process', async () => {
  const { line, ended } = program(`
    const server = new Server()
    const proxy = server.addService(new HttpProxy({ upstreamPeer: new HttpPeer('127.0.0.1:1') }, { threads: 1 }))
    proxy.addTcp('127.0.0.1:0')
    let fail
    const failing = new Promise((_, reject) => { fail = reject })
    const service = new BackgroundService('db', async ({ ready }) => {
      ready()
      await failing
    }, { onFailure: 'continue' })
    server.addService(service)
    await server.start()
    fail(new Error('no more'))
    while (service.state !== 'failed') await new Promise((resolve) => setTimeout(resolve, 5))
    await new Promise((resolve) => setTimeout(resolve, 50))
    console.log(server.state)
    await server.close()`)
  expect(await line()).toBe('running')
  const { code, stderr } = await ended
  expect(code).toBe(0)
  expect(stderr).toMatch(/error millrace: service db: it failed: Error: no more/)
})

test('a failure is told with its service and what it threw', async () => {
  const { server } = makeServer()
  const fail = deferred()
  const thrown = new Error('no more')
  const db = new BackgroundService('db', async ({ ready }) => {
    ready()
    await fail.promise
    throw thrown
  })
  server.addService(db)
  const told = new Promise<unknown[]>((resolve) => {
    server.on('error', (...given) => resolve(given))
  })
  await server.start()
  fail.resolve()
  const [error, service] = await told
  expect(error).toMatchObject({ code: 'SERVICE_FAILED', cause: thrown })
  expect(service).toBe(db)
})
