// One process takes over from another: under load, no request fails and no connection is refused.
import { spawn, spawnSync } from 'node:child_process'
import { once as event } from 'node:events'
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { type ClientHttp2Session, connect, constants } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { Server } from '../ts/index.js'
import { type Program, program } from './support/child.js'
import { Client, get, once, type Target } from './support/client.js'
import { until } from './support/proxy.js'

const HOST = '127.0.0.1'

/** A path for an upgrade socket, in a folder that is gone with the test. */
function socketPath(): string {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  return join(folder, 'upgrade.sock')
}

/** Prints what is sent to the socket of a service manager, a line for each datagram. */
const LISTENER = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print('bound')
while True: print(s.recv(4096).decode().replace('\\n', ' '))`

const PIECES = 20
const PIECE = 'x'.repeat(16 * 1024)

/** An origin that echoes messages, takes a second for `/long`, and says `hi` otherwise. */
async function startOrigin(): Promise<string> {
  const http = createServer((req, res) => {
    if (req.url !== '/long') return void res.end('hi')
    let left = PIECES
    const timer = setInterval(() => {
      if (left-- === 0) {
        clearInterval(timer)
        res.end()
      } else res.write(PIECE)
    }, 50)
    res.on('close', () => clearInterval(timer))
  })
  const sockets = new WebSocketServer({ server: http })
  sockets.on('connection', (socket) => {
    socket.on('error', () => {})
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }))
  })
  http.listen(0, HOST)
  await event(http, 'listening')
  onTestFinished(() => {
    for (const client of sockets.clients) client.terminate()
    http.closeAllConnections()
    http.close()
  })
  return `${HOST}:${(http.address() as AddressInfo).port}`
}

interface Process extends Program {
  to: Target
  /** The port of HTTP/2 in the clear. */
  h2: Target
}

/** A process of a proxy that runs, and says in each response which one it is. */
async function startProcess(
  socket: string,
  origin: string,
  name: string,
  options = '',
  first = '',
): Promise<Process> {
  const running = program(
    `
    ${first}
    const server = new Server({ upgradeSocket: ${JSON.stringify(socket)}, upgrade: true, graceMs: 60_000,
      logger: { debug() {}, info() {}, warn: (line) => console.log('log', line), error: console.log }, ${options} })
    const proxy = server.addService(new HttpProxy({
      upstreamPeer: new HttpPeer(${JSON.stringify(origin)}),
      responseFilter(_session, response) { response.headers.set('x-process', ${JSON.stringify(name)}) },
    }, { threads: 2, h2c: true, tunnelIdleTimeoutMs: 5_000 }))
    const http = proxy.addTcp('127.0.0.1:0')
    const h2 = proxy.addTcp('127.0.0.1:0')
    const ended = server.run()
    await server.start()
    console.log('ports', http.address.port, h2.address.port)
    await ended
    console.log('ended', JSON.stringify((await server.close()).requests))`,
    120_000,
  )
  const [, http, h2] = (await next(running, 'ports')).split(' ')
  return {
    ...running,
    to: { host: HOST, port: Number(http) },
    h2: { host: HOST, port: Number(h2) },
  }
}

/** The next line that begins with `word`. */
async function next({ line }: Program, word: string): Promise<string> {
  for (;;) {
    const text = await line()
    if (text.startsWith(word)) return text
  }
}

/** Waits for the end of a process that has nothing left: how its requests ended. */
async function endOf(process: Process): Promise<{ finished: number; cut: number }> {
  const report = JSON.parse((await next(process, 'ended')).slice('ended '.length))
  expect(await process.ended).toEqual({ code: 0, signal: null, stderr: '' })
  return report
}

/** Clients of every kind, until they are told to stop. What failed is noted. */
class Load {
  readonly failures: string[] = []
  readonly #counts = new Map<string, number>()
  #stopped = false
  readonly #clients: Promise<void>[] = []

  constructor(to: Target, h2: Target) {
    const kinds: [string, number, () => () => Promise<void>][] = [
      ['new', 3, () => () => fresh(to)],
      ['kept', 3, () => kept(to)],
      ['h2', 2, () => session(h2)],
      ['long', 2, () => () => long(to)],
      ['socket', 2, () => () => echo(to)],
    ]
    for (const [kind, clients, make] of kinds)
      for (let client = 0; client < clients; client++) this.#clients.push(this.#repeat(kind, make()))
  }

  async #repeat(kind: string, once: () => Promise<void>): Promise<void> {
    while (!this.#stopped) {
      try {
        await once()
      } catch (error) {
        this.failures.push(`${kind}: ${error}`)
      }
      this.#counts.set(kind, this.count(kind) + 1)
    }
  }

  /** How many there were of a kind. */
  count(kind: string): number {
    return this.#counts.get(kind) ?? 0
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await Promise.all(this.#clients)
  }
}

function demand(is: boolean, what: string): void {
  if (!is) throw new Error(what)
}

/** A request on a connection of its own. */
async function fresh(to: Target): Promise<void> {
  const reply = await once(to, get('/'))
  demand(reply.status === 200 && reply.body === 'hi', `${reply.status} ${reply.body}`)
}

/** Requests on one connection, until that is to be closed. */
function kept(to: Target): () => Promise<void> {
  let client: Client | undefined
  return async () => {
    client ??= await Client.connect(to)
    const { status, body, header } = await client.ask(get('/'))
    demand(status === 200 && body === 'hi', `${status} ${body}`)
    if (header('connection') !== 'close') return
    await client.end()
    client = undefined
  }
}

/** Requests on one session, until the server says that it goes away. */
function session(to: Target): () => Promise<void> {
  let current: ClientHttp2Session | undefined
  const open = () => {
    const opened = connect(`http://${to.host}:${to.port}`)
    const leave = () => {
      if (current === opened) current = undefined
    }
    opened.on('error', leave).on('goaway', leave).on('close', leave)
    current = opened
    return opened
  }
  return async () => {
    for (;;) {
      const body = await ask(current ?? open())
      if (body !== undefined) return demand(body === 'hi', `body: ${body}`)
    }
  }
}

/**
 * The body of an answer; nothing if the request never left: Node.js takes requests before it sends
 * them, and refuses by itself what it still has when it hears that the server goes away. Clients send
 * that elsewhere (RFC 9113 8.7).
 */
async function ask(session: ClientHttp2Session): Promise<string | undefined> {
  const stream = session.request({ ':path': '/' })
  stream.setEncoding('utf8')
  let body = ''
  stream.on('data', (text) => {
    body += text
  })
  try {
    await event(stream, 'end')
    return body
  } catch (error) {
    if (stream.rstCode === constants.NGHTTP2_REFUSED_STREAM) return undefined
    throw error
  }
}

/** A download of a second. */
async function long(to: Target): Promise<void> {
  const response = await fetch(`http://${to.host}:${to.port}/long`)
  const text = await response.text()
  demand(text === PIECE.repeat(PIECES), `${text.length} bytes`)
}

/** A WebSocket that lives for half a second. */
async function echo(to: Target): Promise<void> {
  const socket = new WebSocket(`ws://${to.host}:${to.port}/`)
  await event(socket, 'open')
  for (let message = 0; message < 10; message++) {
    socket.send(String(message))
    const [data] = await event(socket, 'message')
    demand(String(data) === String(message), `message ${data}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  socket.close(1000)
  const [code] = await event(socket, 'close')
  demand(code === 1000, `closed with ${code}`)
}

describe.skipIf(process.platform === 'win32')('an upgrade', () => {
  test('ten under load: no request fails, and no connection is refused', { timeout: 120_000 }, async () => {
    const [socket, origin] = [socketPath(), await startOrigin()]
    let running = await startProcess(socket, origin, '0')
    const { to, h2 } = running
    const load = new Load(to, h2)
    const ends: Promise<{ finished: number; cut: number }>[] = []
    for (let number = 1; number <= 10; number++) {
      const successor = await startProcess(socket, origin, String(number))
      expect([successor.to, successor.h2]).toEqual([to, h2])
      // Its long requests go on in it for a while.
      ends.push(endOf(running))
      running = successor
      await until(() => ['new', 'kept', 'h2'].every((kind) => load.count(kind) > number * 5))
    }
    await until(() => ['long', 'socket'].every((kind) => load.count(kind) > 10), 'long', 30_000)
    expect((await once(to, get('/'))).header('x-process')).toBe('10')
    await load.stop()
    expect(load.failures).toEqual([])
    running.child.kill('SIGTERM')
    ends.push(endOf(running))
    for (const { cut } of await Promise.all(ends)) expect(cut).toBe(0)
    expect(() => statSync(socket)).toThrow(/ENOENT/)
  })

  test('a new process that fails or dies leaves the old one as it was', async () => {
    const [socket, origin] = [socketPath(), await startOrigin()]
    const old = await startProcess(socket, origin, 'old')
    const failing = program(`
      const server = new Server({ upgradeSocket: ${JSON.stringify(socket)}, upgrade: true, logger: false })
      const proxy = server.addService(new HttpProxy({ upstreamPeer: new HttpPeer('127.0.0.1:1') }))
      proxy.addTcp('127.0.0.1:${old.to.port}')
      proxy.addTcp('192.0.2.1:80')
      await server.start().catch((error) => console.log(error.code))`)
    expect(await failing.line()).toBe('BIND_FAILED')
    expect((await failing.ended).code).toBe(0)
    expect(await next(old, 'log an upgrade failed')).toContain('going on')
    const dying = program(`
      const server = new Server({ upgradeSocket: ${JSON.stringify(socket)}, upgrade: true, logger: false })
      server.addService(new HttpProxy({ upstreamPeer: new HttpPeer('127.0.0.1:1') }))
      const end = process.kill.bind(process, process.pid, 'SIGKILL')
      server.start().then(() => console.log('started'))
      end()`)
    expect((await dying.ended).signal).toBe('SIGKILL')
    expect((await once(old.to, get('/'))).header('x-process')).toBe('old')
    const good = await startProcess(socket, origin, 'good')
    expect((await endOf(old)).cut).toBe(0)
    expect((await once(good.to, get('/'))).header('x-process')).toBe('good')
  })

  test('SIGQUIT waits for a new process, and goes on where none comes', async () => {
    const [socket, origin] = [socketPath(), await startOrigin()]
    const old = await startProcess(socket, origin, 'old', 'upgradeTimeoutMs: 300')
    expect(statSync(socket).mode & 0o777).toBe(0o600)
    old.child.kill('SIGQUIT')
    expect(await next(old, 'log SIGQUIT')).toContain(`for 300 ms a new process is awaited at ${socket}`)
    expect(await next(old, 'log no new process')).toContain('going on as ever')
    expect((await once(old.to, get('/'))).status).toBe(200)
    old.child.kill('SIGQUIT')
    await next(old, 'log SIGQUIT')
    const good = await startProcess(socket, origin, 'good')
    await endOf(old)
    // It was not one of the signals that hurry.
    const client = await Client.connect(good.to)
    client.write(get('/long'))
    await until(() => client.socket.bytesRead > 1_000)
    good.child.kill('SIGQUIT')
    await next(good, 'log SIGQUIT')
    good.child.kill('SIGTERM')
    expect((await client.reply())?.body).toHaveLength(PIECE.length * PIECES)
    expect(await endOf(good)).toEqual({ finished: 1, cut: 0 })
  })

  // Node.js has no datagrams over Unix sockets; Python has, and so do most systems.
  test.skipIf(spawnSync('python3', ['--version']).status !== 0)(
    'systemd is told when a process is ready, that it is the main one now, and when it stops',
    async () => {
      const [socket, origin, manager] = [socketPath(), await startOrigin(), `${socketPath()}.notify`]
      const listener = spawn('python3', ['-uc', LISTENER, manager], { stdio: ['ignore', 'pipe', 'inherit'] })
      onTestFinished(() => void listener.kill('SIGKILL'))
      let told = ''
      listener.stdout.setEncoding('utf8').on('data', (text) => {
        told += text
      })
      const next = async () => {
        await until(() => told.includes('\n'))
        const [line, ...rest] = told.split('\n')
        told = rest.join('\n')
        return line
      }
      expect(await next()).toBe('bound')
      const env = `process.env.NOTIFY_SOCKET = ${JSON.stringify(manager)}`
      const old = await startProcess(socket, origin, 'old', '', env)
      expect(await next()).toBe('READY=1')
      const good = await startProcess(socket, origin, 'good', '', env)
      await endOf(old)
      expect(await next()).toBe(`MAINPID=${good.child.pid} READY=1`)
      good.child.kill('SIGTERM')
      expect(await next()).toBe('STOPPING=1')
      await endOf(good)
      expect(told).toBe('')
    },
  )

  test('with nobody there it is a plain start and a warning', async () => {
    const lonely = await startProcess(socketPath(), '127.0.0.1:1', 'lonely')
    lonely.child.kill('SIGTERM')
    await endOf(lonely)
    const told = program(`
      const server = new Server({ upgradeSocket: ${JSON.stringify(socketPath())}, upgrade: true })
      await server.start()
      await server.close()`)
    expect((await told.ended).stderr).toMatch(
      /warn millrace: nobody to take over from at .+: a plain start\n$/,
    )
  })

  test('without upgrade, a server at the socket is an error that says so', async () => {
    const upgradeSocket = socketPath()
    const servers = [0, 1].map(() => new Server({ upgradeSocket, logger: false }))
    onTestFinished(async () => {
      for (const server of servers) await server.close({ graceMs: 0 })
    })
    await servers[0]!.start()
    await expect(servers[1]!.start()).rejects.toMatchObject({
      code: 'ADDRESS_IN_USE',
      message: `a server is running at ${upgradeSocket}, and was not to be taken over`,
    })
    await servers[0]!.close()
    await servers[1]!.start()
  })

  test('where there is no socket, taking over is an error that says so', async () => {
    const upgradeSocket = socketPath()
    writeFileSync(upgradeSocket, 'a file')
    const server = new Server({ upgradeSocket, upgrade: true, logger: false })
    await expect(server.start()).rejects.toMatchObject({ code: 'ADDRESS_IN_USE' })
  })

  test('wrong options are refused', () => {
    expect(() => new Server({ upgrade: true })).toThrow(/upgrade: found true, allowed: true together with/)
    for (const upgradeSocket of ['relative.sock', `/${'x'.repeat(103)}`, '', '/a\0b'])
      expect(() => new Server({ upgradeSocket }), upgradeSocket).toThrow(
        /upgradeSocket: found .+ absolute path/,
      )
    expect(() => new Server({ upgradeTimeoutMs: -1 })).toThrow(/upgradeTimeoutMs: found -1/)
  })
})
