import { connect, type Socket } from 'node:net'

/** Where to connect to. */
export interface Target {
  host: string
  port: number
}

/** A response as it came over the wire. */
export interface Reply {
  version: string
  status: number
  reason: string
  /** Names in lower case, in order. */
  headers: [string, string][]
  body: string
  /** The first value of a field. */
  header(name: string): string | undefined
  /** All values of a field. */
  all(name: string): string[]
}

/** A client on a bare socket: it sends what it is told to and reads responses one after the other. */
export class Client {
  readonly socket: Socket
  /** Settles when the connection is closed, in whatever way. */
  readonly closed: Promise<void>
  #buffer = Buffer.alloc(0)
  #ended = false
  #wake: (() => void) | undefined

  constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (data) => {
      this.#buffer = this.#buffer.length === 0 ? data : Buffer.concat([this.#buffer, data])
      this.#wake?.()
    })
    socket.on('end', () => this.#end())
    socket.on('error', () => this.#end())
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.#end()
        resolve()
      })
    })
  }

  /** A connection to `to`; `allowHalfOpen` keeps our side open when the other side ends. */
  static connect(to: Target, options: { localAddress?: string } = {}): Promise<Client> {
    return new Promise((resolve, reject) => {
      const socket = connect({ ...to, ...options })
      socket.setNoDelay(true)
      socket.once('error', reject)
      socket.once('connect', () => {
        socket.removeListener('error', reject)
        resolve(new Client(socket))
      })
    })
  }

  #end(): void {
    this.#ended = true
    this.#wake?.()
  }

  /** More bytes, or the end: says which. */
  async #more(): Promise<boolean> {
    const before = this.#buffer.length
    while (this.#buffer.length === before) {
      if (this.#ended) return false
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    return true
  }

  write(data: string | Uint8Array): void {
    this.socket.write(typeof data === 'string' ? Buffer.from(data, 'latin1') : data)
  }

  /** The next response; interim ones count as such. Undefined if the connection ends before its head is whole. */
  async reply(method = 'GET'): Promise<Reply | undefined> {
    let end = this.#buffer.indexOf('\r\n\r\n')
    while (end < 0) {
      if (!(await this.#more())) return undefined
      end = this.#buffer.indexOf('\r\n\r\n')
    }
    const lines = this.#buffer.latin1Slice(0, end).split('\r\n')
    this.#buffer = this.#buffer.subarray(end + 4)
    const [, version, status, reason] = /^HTTP\/(\d\.\d) (\d{3}) ?(.*)$/.exec(lines[0]!) ?? []
    if (version === undefined) throw new Error(`not a status line: ${lines[0]}`)
    const headers = lines.slice(1).map((line): [string, string] => {
      const colon = line.indexOf(':')
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
    })
    const all = (name: string) => headers.filter(([key]) => key === name).map(([, value]) => value)
    const header = (name: string) => all(name)[0]
    const code = Number(status)
    let body = ''
    if (method === 'HEAD' || code < 200 || code === 204 || code === 304) body = ''
    else if (header('transfer-encoding') === 'chunked') body = await this.#chunks()
    else if (header('content-length') !== undefined)
      body = await this.#bytes(Number(header('content-length')))
    else body = await this.rest()
    return { version, status: code, reason: reason ?? '', headers, body, header, all }
  }

  async #bytes(count: number): Promise<string> {
    while (this.#buffer.length < count)
      if (!(await this.#more())) throw new Error(`cut short: ${this.#buffer.length} of ${count} bytes`)
    const text = this.#buffer.latin1Slice(0, count)
    this.#buffer = this.#buffer.subarray(count)
    return text
  }

  async #chunks(): Promise<string> {
    let body = ''
    for (;;) {
      const size = Number.parseInt(await this.#line(), 16)
      if (size === 0) {
        while ((await this.#line()) !== '') {
          // A trailer.
        }
        return body
      }
      body += await this.#bytes(size)
      await this.#line()
    }
  }

  async #line(): Promise<string> {
    let end = this.#buffer.indexOf('\r\n')
    while (end < 0) {
      if (!(await this.#more())) throw new Error('cut short in mid-line')
      end = this.#buffer.indexOf('\r\n')
    }
    const line = this.#buffer.latin1Slice(0, end)
    this.#buffer = this.#buffer.subarray(end + 2)
    return line
  }

  /** Everything up to the end of the connection. */
  async rest(): Promise<string> {
    while (await this.#more()) {
      // Gathers.
    }
    const text = this.#buffer.latin1Slice()
    this.#buffer = Buffer.alloc(0)
    return text
  }

  /** Sends a request and waits for its final response. */
  async ask(request: string, method = request.slice(0, request.indexOf(' '))): Promise<Reply> {
    this.write(request)
    const reply = await this.reply(method)
    if (reply === undefined) throw new Error(`no answer to ${JSON.stringify(request.slice(0, 80))}`)
    return reply
  }

  /** Closes it with a FIN. */
  async end(): Promise<void> {
    this.socket.end()
    this.socket.destroy()
    await this.closed
  }

  /** Closes it with a RST. */
  async reset(): Promise<void> {
    this.socket.resetAndDestroy()
    await this.closed
  }
}

/** A request with `host` and what else is given, without a body. */
export function get(target: string, fields: Record<string, string> = {}, method = 'GET'): string {
  const all = { host: 'a.example', ...fields }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
  return `${method} ${target} HTTP/1.1\r\n${lines.join('')}\r\n`
}

/** A POST with a body and its length. */
export function post(target: string, body: string, fields: Record<string, string> = {}): string {
  return get(target, { 'content-length': String(Buffer.byteLength(body)), ...fields }, 'POST') + body
}

/** One request on a connection of its own. */
export async function once(to: Target, request: string): Promise<Reply> {
  const client = await Client.connect(to)
  try {
    return await client.ask(request)
  } finally {
    await client.end()
  }
}

/** Runs `count` requests over `connections` keep-alive connections, opened anew where one was closed. */
export async function drive(
  to: Target,
  count: number,
  connections: number,
  request: (index: number) => string,
  check: (index: number, reply: Reply | undefined) => void,
): Promise<void> {
  let next = 0
  const lane = async () => {
    let client: Client | undefined
    while (next < count) {
      const index = next++
      client ??= await Client.connect(to)
      const text = request(index)
      client.write(text)
      const reply = await client.reply(text.slice(0, text.indexOf(' ')))
      check(index, reply)
      if (reply === undefined || reply.header('connection') === 'close') {
        await client.end()
        client = undefined
      }
    }
    await client?.end()
  }
  await Promise.all(Array.from({ length: connections }, lane))
}
