// Which clients an endpoint takes: lists, a function, and what becomes of connections that it says nothing of.
import { describe, expect, test } from 'vitest'
import {
  type ConnectionCheck,
  type ConnectionFilterOptions,
  HttpPeer,
  HttpProxy,
  type IncomingConnection,
  selfSigned,
  type UsageError,
} from '../ts/index.js'
import { Client, get } from './support/client.js'
import { DEAD } from './support/origin.js'
import { startProxy, until } from './support/proxy.js'

const own = { upstreamPeer: new HttpPeer(DEAD), requestFilter: () => ({ status: 200, body: 'own' }) }
/** All of 127.0.0.0/8 is this host, on Linux. */
const linux = process.platform === 'linux'

/** A proxy, and a second endpoint of it with this filter. */
async function filtered(connectionFilter: ConnectionFilterOptions | ConnectionCheck) {
  const running = await startProxy(own)
  const endpoint = running.proxy.addTcp('127.0.0.1:0', { connectionFilter })
  /** The status that a client gets; undefined if it is closed. */
  const ask = async (localAddress = '127.0.0.1') => {
    const client = await Client.connect(endpoint.address, { localAddress })
    client.write(get('/'))
    const status = (await client.reply())?.status
    client.socket.destroy()
    return status
  }
  /** What was logged, but for what only those want who look for a fault. */
  const told = () => running.lines.filter((line) => !line.startsWith('debug'))
  return { ...running, endpoint, ask, told }
}

describe('lists', () => {
  test.skipIf(!linux)('deny is stronger than allow, and who is on neither does not get in', async () => {
    const { ask } = await filtered({ allow: ['127.0.0.0/24'], deny: ['127.0.0.2', '127.0.0.8/30'] })
    const got: [string, number | undefined][] = []
    for (const host of ['127.0.0.1', '127.0.0.2', '127.0.0.7', '127.0.0.9', '127.0.1.1'])
      got.push([host, await ask(host)])
    expect(got).toEqual([
      ['127.0.0.1', 200],
      ['127.0.0.2', undefined],
      ['127.0.0.7', 200],
      ['127.0.0.9', undefined],
      ['127.0.1.1', undefined],
    ])
  })

  test('an empty list of those that may lets nobody in; the other endpoints are as they were', async () => {
    const { ask, to } = await filtered({ allow: [] })
    expect(await ask()).toBeUndefined()
    const client = await Client.connect(to)
    client.write(get('/'))
    expect((await client.reply())?.status).toBe(200)
  })

  test('names stand for networks, and a Unix socket is one of them', async () => {
    expect(await (await filtered({ deny: ['loopback'] })).ask()).toBeUndefined()
    expect(await (await filtered({ allow: ['unix', 'private'] })).ask()).toBeUndefined()
    expect(await (await filtered({ allow: ['loopback'], deny: ['unix'] })).ask()).toBe(200)
  })

  test('what is no list, no network or no option is refused', () => {
    const proxy = new HttpProxy(own)
    for (const [connectionFilter, path, allowed = ''] of [
      [{ allow: '10.0.0.0/8' }, 'connectionFilter.allow'],
      [{ deny: ['10.0.0.0/33'] }, 'connectionFilter.deny[0]'],
      [{ deny: ['loopback', 'localhost'] }, 'connectionFilter.deny[1]'],
      [{ deny: ['::ffff:10.0.0.0/8'] }, 'connectionFilter.deny[0]', '::ffff:10.0.0.0/104 and the like'],
      [{ deny: ['10.1.2.3/8'] }, 'connectionFilter.deny[0]', '10.0.0.0/8 for the network, or 10.1.2.3 for'],
      [{ deny: ['1'.repeat(1_000_000)] }, 'connectionFilter.deny[0]', 'an address, a network such as'],
      [{ check: true }, 'connectionFilter.check'],
      [{ timeoutMs: 0 }, 'connectionFilter.timeoutMs'],
      [{ onFailure: 'open' }, 'connectionFilter.onFailure'],
      [{ allowed: [] }, 'connectionFilter.allowed'],
      ['127.0.0.1', 'connectionFilter'],
    ] as const) {
      let problems: unknown
      try {
        proxy.addTcp('127.0.0.1:0', { connectionFilter: connectionFilter as ConnectionFilterOptions })
      } catch (error) {
        problems = (error as UsageError).problems
      }
      expect(problems).toMatchObject([{ path, allowed: expect.stringContaining(allowed) }])
    }
  })
})

describe('a function', () => {
  test('is asked once for each connection, about both of its ends, before it is read', async () => {
    const asked: IncomingConnection[] = []
    const { ask, endpoint } = await filtered((connection) => {
      asked.push(connection)
      return asked.length !== 2
    })
    expect([await ask(), await ask(), await ask()]).toEqual([200, undefined, 200])
    expect(asked).toHaveLength(3)
    expect(asked[0]).toEqual({
      client: { host: '127.0.0.1', port: expect.any(Number) },
      server: endpoint.address,
    })
    expect(new Set(asked.map(({ client }) => client.port)).size).toBe(3)
  })

  test('may take its time, and holds up nobody else', async () => {
    let release: (isTaken: boolean) => void = () => {}
    const first = new Promise<boolean>((resolve) => {
      release = resolve
    })
    let count = 0
    const { ask } = await filtered({ check: () => (++count === 1 ? first : true), timeoutMs: 30_000 })
    const waiting = ask()
    await until(() => count === 1)
    expect(await ask()).toBe(200)
    release(true)
    expect(await waiting).toBe(200)
  })

  test.skipIf(!linux)('is not asked about those that a list is against', async () => {
    const asked: string[] = []
    const check: ConnectionCheck = ({ client }) => asked.push(client.host) > 0
    const { ask } = await filtered({ deny: ['127.0.0.2'], check })
    expect([await ask('127.0.0.2'), await ask('127.0.0.3')]).toEqual([undefined, 200])
    expect(asked).toEqual(['127.0.0.3'])
  })

  const failures: [string, () => unknown, RegExp][] = [
    ['throws', () => { throw new Error('no idea') }, /Error: no idea/],
    ['rejects', () => Promise.reject(new Error('no answer')), /Error: no answer/],
    ['returns something else', () => 'yes', /it returned "yes", not true or false/],
    ['resolves with something else', async () => undefined, /it returned undefined, not true or false/],
    ['never settles', () => new Promise(() => {}), /the check said nothing within 100 ms/],
  ] // biome-ignore format: a table
  test.each(failures)(
    'that %s says nothing: refused, or let in where that is asked for',
    async (_what, check, line) => {
      for (const onFailure of ['refuse', 'accept'] as const) {
        const { ask, told } = await filtered({ check: check as ConnectionCheck, timeoutMs: 100, onFailure })
        expect(await ask()).toBe(onFailure === 'accept' ? 200 : undefined)
        await until(() => told().some((each) => line.test(each)))
        expect(told().find((each) => line.test(each))).toMatch(
          /^error (?:connectionFilter failed for|service proxy: .* a connection from) 127\.0\.0\.1\b/,
        )
        // Once, whoever tells it.
        expect(told()).toHaveLength(1)
      }
    },
  )

  test('is asked before the handshake: who is refused gets not a byte', async () => {
    const { proxy } = await startProxy(own)
    const { address } = proxy.addTls('127.0.0.1:0', selfSigned('localhost'), {
      connectionFilter: () => false,
    })
    const client = await Client.connect(address)
    expect(await client.rest()).toBe('')
  })

  test('is asked about so many at once and no more: further ones are refused while the loop is blocked', async () => {
    let asked = 0
    const { endpoint, server, told } = await filtered({
      check: () => {
        asked++
        return new Promise(() => {})
      },
      timeoutMs: 60_000,
    })
    const before = server.stats().javascript
    const clients: Client[] = []
    for (let at = 0; at < 1_060; at += 106)
      clients.push(
        ...(await Promise.all(Array.from({ length: 106 }, () => Client.connect(endpoint.address)))),
      )
    // Several threads accept, so that it may be any of them.
    let closed = 0
    for (const client of clients) void client.closed.then(() => closed++)
    await until(() => closed === clients.length - 1_024)
    expect(asked).toBe(1_024)
    await until(() => server.stats().services[0]!.connections === 1_024)
    const { queued, items, crossings } = server.stats().javascript
    expect(queued).toBe(0)
    // What was left of others is among them.
    for (const count of [items - before.items, crossings - before.crossings])
      expect(count).toBeGreaterThanOrEqual(1_024)
    const said =
      'warn service proxy: the check was not asked, as 1024 connections wait for its answer: a connection from 127.0.0.1 was not taken'
    await until(() => told().length >= 10)
    expect(told()).toEqual(Array.from({ length: 10 }, () => said))
    for (const client of clients) client.socket.destroy()
  })

  test('that answers too late, as JavaScript is blocked, is told', async () => {
    let asked = 0
    let queued = 0
    const check = () => {
      if (++asked > 1) return true
      const start = performance.now()
      const isOver = () => performance.now() - start > (queued === 1 ? 300 : 10_000)
      while (!isOver()) queued = server.stats().javascript.queued
      return true
    }
    const { endpoint, told, server } = await filtered({ check, timeoutMs: 50 })
    const before = server.stats().javascript
    const clients = await Promise.all([0, 1].map(() => Client.connect(endpoint.address)))
    for (const client of clients) await client.closed
    await until(() => asked === 2 && told().length === 2)
    const said =
      'error service proxy: the check said nothing within 50 ms: a connection from 127.0.0.1 was not taken'
    expect(told()).toEqual([said, said])
    expect(queued).toBe(1)
    await until(() => server.stats().javascript.late === before.late + 2)
  })

  test('goes on with its server alone: one that closes does not wait for it', async () => {
    let asked = false
    const { endpoint, server } = await filtered({
      check: () => {
        asked = true
        return new Promise(() => {})
      },
      timeoutMs: 60_000,
    })
    const client = await Client.connect(endpoint.address)
    await until(() => asked)
    const { connections } = await server.close({ graceMs: 30_000 })
    await client.closed
    expect(connections).toEqual({ finished: 0, cut: 0 })
    expect(server.stats()).toMatchObject({ accepted: 0, rejected: 0, refused: 1 })
  })
})
