// Processes that take over from each other, and clients of every kind meanwhile.
import { once as event } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { type ClientHttp2Session, connect, constants } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { type Program, program } from './child.js'
import { Client, get, once, type Target } from './client.js'

const HOST = '127.0.0.1'
const ANY: Target = { host: HOST, port: 0 }

/** A path for an upgrade socket, in a folder that is gone with the test. */
export function socketPath(): string {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  return join(folder, 'upgrade.sock')
}

const PIECES = 20
const PIECE = 'x'.repeat(16 * 1024)

/** How long the body of `/long` is. */
export const LONG = PIECES * PIECE.length

/** An origin that echoes messages, takes a second for `/long`, and says `hi` otherwise. */
export async function startOrigin(): Promise<string> {
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

export interface Process extends Program {
  to: Target
  /** Another port; all of them serve HTTP/2 in the clear too. */
  h2: Target
}

interface How {
  /** More options of its server, as they are written. */
  options?: string
  /** What it does first. */
  first?: string
  /** Where it listens. Default: where the one that it takes over from does, or where the system says. */
  at?: readonly Target[]
}

/** A process of a proxy that runs, and says in each response which one it is. */
export async function startProcess(
  socket: string,
  origin: string,
  name: string,
  { options = '', first = '', at = [ANY, ANY] }: How = {},
): Promise<Process> {
  const [to, other] = at.map(({ host, port }) => `'${host}:${port}'`)
  const running = program(
    `
    ${first}
    const server = new Server({ upgradeSocket: ${JSON.stringify(socket)}, upgrade: true, graceMs: 60_000,
      logger: { debug() {}, info() {}, warn: (line) => console.log('log', line), error: console.log }, ${options} })
    const proxy = server.addService(new HttpProxy({
      upstreamPeer: new HttpPeer(${JSON.stringify(origin)}),
      responseFilter(_session, response) { response.headers.set('x-process', ${JSON.stringify(name)}) },
    }, { threads: 2, h2c: true, tunnelIdleTimeoutMs: 5_000 }))
    const http = proxy.addTcp(${to})
    const h2 = proxy.addTcp(${other})
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
    to: { host: at[0]?.host ?? HOST, port: Number(http) },
    h2: { host: at[1]?.host ?? HOST, port: Number(h2) },
  }
}

/** The next line that begins with `word`. */
export async function next({ line }: Program, word: string): Promise<string> {
  for (;;) {
    const text = await line()
    if (text.startsWith(word)) return text
  }
}

/** Waits for the end of a process that has nothing left: how its requests ended. */
export async function endOf(process: Process): Promise<{ finished: number; cut: number }> {
  const report = JSON.parse((await next(process, 'ended')).slice('ended '.length))
  expect(await process.ended).toEqual({ code: 0, signal: null, stderr: '' })
  return report
}

/** Clients of every kind, until they are told to stop. What failed is noted. */
export class Load {
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
export async function fresh(to: Target): Promise<void> {
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
