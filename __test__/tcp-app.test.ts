// Apps of connections: streams of Node.js at the end of the server's sockets.
import { once as onceOf } from 'node:events'
import { createInterface } from 'node:readline'
import { Duplex } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { connect as connectTls } from 'node:tls'
import { describe, expect, onTestFinished, test } from 'vitest'
import {
  type ConnectionHandler,
  type LogRecord,
  Server,
  selfSigned,
  TcpApp,
  type TcpAppOptions,
  type TcpConnection,
  TcpProxy,
} from '../ts/index.js'
import { startService } from './support/app.js'
import { all, client, ending, opened, text } from './support/connections.js'
import { DEAD } from './support/origin.js'
import { deferred, until } from './support/proxy.js'
import { wrongPaths } from './support/refusals.js'

const start = (handler: ConnectionHandler, options: TcpAppOptions = {}) =>
  startService(new TcpApp(handler, { threads: 2, ...options }))

test('a connection is a stream: pipe, for await, readline', async () => {
  const echo = await start((connection) => void connection.pipe(connection))
  expect(echo.url).toBe(`tcp://127.0.0.1:${echo.to.port}`)
  const one = await client(echo.to)
  one.end('there and back')
  expect(await text(one)).toBe('there and back')

  // Node.js destroys what it has read to the end, before what was written has gone out.
  for (const halfClose of [false, true]) {
    const loud = await start(
      (connection) =>
        pipeline(
          connection,
          async function* (pieces) {
            for await (const piece of pieces) yield String(piece).toUpperCase()
          },
          connection,
        ),
      { halfClose },
    )
    for (let i = 0; i < 50; i++) {
      const two = await client(loud.to)
      two.end('shout')
      expect(await text(two)).toBe('SHOUT')
    }
  }

  // What is written once the client has ended has to be allowed to follow.
  const lines = await start(
    async (connection) => {
      for await (const line of createInterface({ input: connection })) connection.write(`<${line}>`)
      connection.end()
    },
    { halfClose: true },
  )
  const three = await client(lines.to, { allowHalfOpen: true })
  three.end('a\nb\n')
  expect(await text(three)).toBe('<a><b>')
})

test('what was written goes out when a connection is destroyed; with an error it is reset', async () => {
  // More than the system holds: most of it is not on its way yet.
  const much = Buffer.alloc(8 * 1024 * 1024, 'x')
  const closed = await start((connection) => {
    connection.write(much)
    connection.destroy()
  })
  expect((await all(opened(closed.to))).length).toBe(much.length)
  const left = await start(async (connection) => {
    connection.write(much)
    for await (const _ of connection) break
  })
  const socket = await client(left.to)
  socket.write('enough')
  expect((await all(socket)).length).toBe(much.length)
  const broken = await start((connection) => {
    connection.write(much)
    connection.destroy(new Error('no more'))
  })
  const cut = opened(broken.to)
  // Node.js takes a reset behind bytes that it has not read for an end, now and then: then it is too early.
  if ((await ending(cut)) !== 'ECONNRESET') expect(cut.bytesRead).toBeLessThan(much.length)
  // What the stream itself still holds as well.
  const many = await start((connection) => {
    for (let i = 0; i < 20; i++) connection.write(Buffer.alloc(100_000, 'x'))
    connection.destroy()
  })
  expect((await all(opened(many.to))).length).toBe(2_000_000)
})

test('who is connected, and to what', async () => {
  const got = deferred<TcpConnection>()
  const { to } = await start((connection) => got.resolve(connection))
  const socket = await client(to)
  const connection = await got.promise
  expect(connection).toBeInstanceOf(Duplex)
  expect(connection.client).toEqual({ host: '127.0.0.1', port: socket.localPort })
  expect(connection.server).toEqual(to)
  expect(connection.tls).toBeUndefined()
  expect(Number(connection.id)).toBeGreaterThan(0)
})

test('as web streams', async () => {
  const { to } = await start(async (connection) => {
    const { readable, writable } = Duplex.toWeb(connection)
    await (readable as ReadableStream).pipeTo(writable as WritableStream)
  })
  const socket = await client(to)
  socket.end('web')
  expect(await text(socket)).toBe('web')
})

test('over TLS', async () => {
  const { cert, key } = selfSigned('localhost')
  const server = new Server({ logger: false })
  const app = server.addService(
    new TcpApp((connection) => {
      connection.end(`${connection.tls?.version} ${connection.tls?.serverName}`)
    }),
  )
  const endpoint = app.addTls('127.0.0.1:0', { cert, key })
  await server.start()
  onTestFinished(async () => {
    await server.close({ graceMs: 0 })
  })
  expect(endpoint.url).toMatch(/^tls:/)
  const socket = connectTls({ ...endpoint.address, ca: cert, servername: 'localhost' })
  expect(await text(socket)).toBe('TLSv1.3 localhost')
})

test('megabytes go both ways unchanged, in the order they were written', async () => {
  const { to, server } = await start((connection) => void connection.pipe(connection))
  const socket = await client(to)
  const sent = Buffer.alloc(8 << 20, 'abcdefghijk')
  socket.end(sent)
  const pieces: Buffer[] = []
  for await (const piece of socket) pieces.push(piece)
  expect(Buffer.concat(pieces).equals(sent)).toBe(true)
  expect(server.stats().services[0]?.traffic).toEqual({ received: sent.length, sent: sent.length })
})

test('nothing is read that the app does not read, and what the client does not take is waited for', async () => {
  const got = deferred<TcpConnection>()
  const { to } = await start((connection) => got.resolve(connection))
  const socket = await client(to)
  const connection = await got.promise
  const piece = Buffer.alloc(1 << 20)
  let written = 0
  const isFull = async () => {
    socket.write(piece)
    written++
    await new Promise((resolve) => setTimeout(resolve, 10))
    return socket.writableLength > 4 << 20
  }
  while (!(await isFull())) expect(written).toBeLessThan(200)
  connection.resume()
  await until(() => socket.writableLength === 0)

  socket.pause()
  let mine = 0
  while (connection.write(piece) || mine < 2) {
    expect(++mine).toBeLessThan(200)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  let taken = 0
  socket.resume().on('data', (data) => {
    taken += data.length
  })
  await onceOf(connection, 'drain')
  await until(() => taken >= mine << 20)
}, 30_000)

test('the end of the client’s side ends ours, or not with halfClose', async () => {
  const late: ConnectionHandler = (connection) => {
    connection.resume().on('end', () => setTimeout(() => connection.writable && connection.end('late'), 50))
  }
  const both = await start(late)
  const one = await client(both.to, { allowHalfOpen: true })
  one.end('x')
  expect(await text(one)).toBe('')
  const half = await start(late, { halfClose: true })
  const two = await client(half.to, { allowHalfOpen: true })
  two.end('x')
  expect(await text(two)).toBe('late')
})

test('our side may end first, and the client’s goes on', async () => {
  const heard = deferred<string>()
  const { to } = await start(async (connection) => {
    connection.end('bye')
    heard.resolve(await text(connection))
  })
  const socket = await client(to, { allowHalfOpen: true })
  expect(await text(socket)).toBe('bye')
  socket.end('still here')
  expect(await heard.promise).toBe('still here')
})

test('what a handler throws resets its connection, and no other', async () => {
  const { to, lines } = await start(async (connection) => {
    for await (const piece of connection) {
      if (String(piece) === 'bad') throw new Error('boom')
      connection.write('fine')
    }
  })
  const [good, bad] = [await client(to), await client(to)]
  bad.write('bad')
  expect(await ending(bad)).toBe('ECONNRESET')
  good.write('good')
  expect(String((await onceOf(good, 'data'))[0])).toBe('fine')
  await until(() => lines.some((line) => /^error tcp-app: handler: Error: boom \(at /.test(line)))
  const thrown = await start(() => {
    throw new Error('at once')
  })
  expect(await ending(opened(thrown.to))).toBe('ECONNRESET')
  await until(() => thrown.lines.some((line) => line.includes('handler: Error: at once')))
})

describe('a connection that nobody reads', () => {
  test('ends when both sides have', async () => {
    const closed = deferred()
    const { to, server } = await start(
      (connection) => void connection.on('close', closed.resolve).end('noon'),
    )
    expect(await text(opened(to))).toBe('noon')
    await closed.promise
    await until(() => server.stats().services[0]?.connections === 0)
  })

  test('is told of its end', async () => {
    const ends: string[] = []
    const accept: ConnectionHandler = (connection) => {
      connection.on('error', (error: Error & { code?: string }) => ends.push(error.code!))
      connection.on('close', () => ends.push('close'))
    }
    const idle = await start(accept, { idleTimeoutMs: 100 })
    expect(await ending(opened(idle.to))).toBe('ECONNRESET')
    await until(() => ends.length === 2)
    const { to, server } = await start(accept)
    const leaves = await client(to)
    await until(() => server.stats().services[0]?.connections === 1)
    leaves.resetAndDestroy()
    await until(() => ends.length === 4)
    const isCut = ending(await client(to))
    await until(() => server.stats().services[0]?.connections === 1)
    await server.close({ graceMs: 0 })
    expect(await isCut).toBe('ECONNRESET')
    await until(() => ends.length === 6)
    expect(ends.filter((end) => end !== 'close')).toEqual(['READ_TIMEOUT', 'CLIENT_ABORTED', 'SERVER_CLOSED'])
  })

  test('takes 64 KiB of the client, and not much more', async () => {
    const { to } = await start(() => undefined)
    const socket = await client(to)
    const much = Buffer.alloc(64 * 1024 * 1024)
    socket.write(much)
    let before = -1
    await until(() => {
      const rests = before === socket.bytesWritten
      before = socket.bytesWritten
      return rests
    })
    expect(socket.writableLength).toBeGreaterThan(0)
    socket.destroy()
  })
})

test('a client that leaves, or is idle for too long, is an error that nobody has to listen for', async () => {
  const errors: string[] = []
  const { to } = await start(
    (connection) => {
      connection.resume().on('error', (error: Error & { code?: string }) => errors.push(error.code!))
    },
    { idleTimeoutMs: 150 },
  )
  const quiet = await start((connection) => void connection.resume(), { idleTimeoutMs: 150 })
  expect(await ending(opened(quiet.to))).toBe('ECONNRESET')
  expect(await ending(opened(to))).toBe('ECONNRESET')
  const leaves = await client(to)
  leaves.resetAndDestroy()
  await until(() => errors.length === 2)
  expect(errors.sort()).toEqual(['CLIENT_ABORTED', 'READ_TIMEOUT'])
})

test('destroy ends it, by a reset where there is an error, and the signal says that it has ended', async () => {
  const signals: AbortSignal[] = []
  const { to } = await start((connection) => {
    signals.push(connection.signal)
    connection.on('data', (how) => connection.destroy(String(how) === 'fail' ? new Error('mine') : undefined))
  })
  for (const [how, end] of [
    ['fail', 'ECONNRESET'],
    ['leave', 'end'],
  ] as const) {
    const socket = await client(to)
    socket.write(how)
    expect(await ending(socket)).toBe(end)
  }
  await until(() => signals.every(({ aborted }) => aborted))
})

test('a server that closes aborts the signal, waits for the grace, and cuts what is left', async () => {
  const errors: unknown[] = []
  const { to, server } = await start((connection) => {
    connection.on('error', (error: Error & { code?: string }) => errors.push(error.code))
    connection.on('data', (mode) => {
      if (String(mode) === 'polite') connection.signal.addEventListener('abort', () => connection.end('bye'))
      connection.write('ok')
    })
  })
  const [polite, stubborn] = [await client(to), await client(to)]
  polite.write('polite')
  stubborn.write('stubborn')
  await Promise.all([onceOf(polite, 'data'), onceOf(stubborn, 'data')])
  const said = text(polite)
  const ended = ending(stubborn)
  const report = await server.close({ graceMs: 300 })
  expect(await said).toBe('bye')
  expect(await ended).toBe('ECONNRESET')
  expect(report.connections).toEqual({ finished: 1, cut: 1 })
  await until(() => errors.length === 1)
  expect(errors).toEqual(['SERVER_CLOSED'])
})

test('hundreds at once keep to themselves', async () => {
  const { to } = await start((connection) => void connection.pipe(connection))
  const one = async (index: number) => {
    const socket = await client(to)
    socket.end(`${index} `.repeat(100))
    return (await text(socket)) === `${index} `.repeat(100)
  }
  const same = await Promise.all(Array.from({ length: 200 }, (_, index) => one(index)))
  expect(same.every(Boolean)).toBe(true)
})

test('wrong options are refused', () => {
  expect(
    wrongPaths(() => new TcpApp(5 as never, { workStealing: 1, maxQueued: 0, http2: {} } as never)),
  ).toEqual(['http2', 'workStealing', 'maxQueued', 'handler'])
})

test('connections beyond maxQueued are reset, counted as refused and logged', async () => {
  const { server, to, lines } = await start((connection) => void connection.resume().end('taken'), {
    // Of one thread: two may offer one at the same moment.
    threads: 1,
    maxQueued: 1,
  })
  const ends = Array.from({ length: 5 }, () => ending(opened(to)))
  // They connect before anything else runs on this thread, which takes no connection meanwhile.
  await new Promise<void>((resolve) => process.nextTick(resolve))
  const refused = () => server.stats().services[0]!.refused
  for (const limit = Date.now() + 10_000; refused() < 4 && Date.now() < limit; );
  expect(refused()).toBeGreaterThanOrEqual(4)
  const resets = (await Promise.all(ends)).filter((end) => end === 'ECONNRESET')
  expect(resets.length).toBe(refused())
  const told = () => lines.filter((line) => /^warn .*was refused: too many connections wait/.test(line))
  // One each second, as other limits have it.
  await until(() => told().length > 0)
  expect(told().length).toBeLessThan(refused())
})

test('log records name the service, the connection and the client', async () => {
  const records: LogRecord[] = []
  const server = new Server({ onLog: (some) => void records.push(...some) })
  let id = ''
  const app = new TcpApp((connection) => {
    id = connection.id
    throw new Error('boom')
  })
  const endpoint = server.addService(app).addTcp('127.0.0.1:0')
  const proxy = server.addService(new TcpProxy(DEAD)).addTcp('127.0.0.1:0')
  await server.start()
  onTestFinished(() => server.close({ graceMs: 0 }).then(() => undefined))
  for (const { address } of [endpoint, proxy]) expect(await ending(opened(address))).toBe('ECONNRESET')
  await until(() => records.length >= 2)
  const client = expect.stringMatching(/^127\.0\.0\.1:\d+$/)
  const [thrown, failed] = ['tcp-app', 'tcp-proxy'].map((name) =>
    records.find(({ fields }) => fields.service === name),
  )
  expect(thrown).toMatchObject({ level: 'error', fields: { service: 'tcp-app', connection: id, client } })
  expect(failed).toMatchObject({
    level: 'warn',
    fields: { client, connection: expect.any(String), code: 'CONNECT_REFUSED', source: 'upstream' },
  })
})
