// Endpoints come and go while a server runs, and each limit and option of theirs acts.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect as connectH2 } from 'node:http2'
import { get as ask } from 'node:https'
import { type AddressInfo, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { HttpPeer, HttpProxy, type HttpProxyOptions, Server, selfSigned } from '../ts/index.js'
import { Client, get, once } from './support/client.js'
import { DEAD, startOrigin } from './support/origin.js'
import { deferred, startProxy, until } from './support/proxy.js'
import { failure } from './support/refusals.js'
import { tasks } from './support/tasks.js'

const linux = process.platform === 'linux'
const root = process.getuid?.() === 0
const own = {
  upstreamPeer: new HttpPeer(DEAD),
  requestFilter: (session: { client: object; server: object }) => ({
    status: 200,
    body: JSON.stringify([session.client, session.server]),
  }),
}

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'millrace-endpoints-'))
  onTestFinished(() => rmSync(path, { recursive: true }))
  return path
}

/** What is answered over a Unix socket. */
function overUnix(path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path })
    let text = ''
    socket.setEncoding('latin1').on('data', (data: string) => {
      text += data
    })
    socket.on('error', reject).on('close', () => resolve(text))
    socket.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
  })
}

async function planned(options: HttpProxyOptions = {}) {
  const server = new Server({ logger: false })
  onTestFinished(async () => {
    await server.close({ graceMs: 0 })
  })
  return { server, proxy: server.addService(new HttpProxy(own, { threads: 2, ...options })) }
}

describe('while the server runs', () => {
  test('an endpoint is added, has its address at once, and is closed again; the others go on', async () => {
    for (const workStealing of [true, false]) {
      const { proxy, to } = await startProxy(own, { workStealing })
      const more = proxy.addTcp('127.0.0.1:0')
      expect(proxy.endpoints).toHaveLength(2)
      expect(more.address.port).not.toBe(to.port)
      expect((await once(more.address, get('/'))).status).toBe(200)

      const idle = await Client.connect(more.address)
      idle.write(get('/'))
      expect((await idle.reply())?.status).toBe(200)
      await Promise.all([more.close(), more.close()])
      await idle.closed
      expect(proxy.endpoints).toHaveLength(1)
      await expect(once(more.address, get('/'))).rejects.toMatchObject({ code: 'ECONNREFUSED' })
      // Free at once for somebody else.
      const other = createServer()
      await new Promise<void>((resolve) => other.listen(more.address, resolve))
      await new Promise((resolve) => other.close(resolve))
      expect((await once(to, get('/'))).status).toBe(200)
    }
  })

  test('one from the start is closed, and its address taken again', async () => {
    const { proxy, http, to } = await startProxy(own)
    await http.close()
    await expect(once(to, get('/'))).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    const again = proxy.addTcp(`127.0.0.1:${to.port}`)
    expect(again.url).toBe(`http://127.0.0.1:${to.port}`)
    expect((await once(to, get('/'))).status).toBe(200)
  })

  test('what a connection is at when its endpoint closes is done, and is its last', async () => {
    const [asked, go] = [deferred<void>(), deferred<void>()]
    const origin = await startOrigin((_request, response) => {
      asked.resolve()
      void go.promise.then(() => response.end('late'))
    })
    const { http, to } = await startProxy({ upstreamPeer: new HttpPeer(origin.address) })
    const client = await Client.connect(to)
    client.write(get('/'))
    await asked.promise
    await http.close()
    await expect(Client.connect(to)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    go.resolve()
    const reply = await client.reply()
    expect([reply?.status, reply?.body, reply?.header('connection')]).toEqual([200, 'late', 'close'])
    await client.closed
  })

  test('HTTP/2 is told to go away, and a tunnel goes on', async () => {
    const origin = createServer((socket) => {
      socket
        .on('error', () => {})
        .once('data', () => {
          socket.write(
            'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n',
          )
          socket.pipe(socket)
        })
    })
    await new Promise<void>((resolve) => origin.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => void origin.close())
    const { port } = origin.address() as AddressInfo
    const { http, to } = await startProxy({
      upstreamPeer: new HttpPeer(`127.0.0.1:${port}`),
      requestFilter: ({ request }) => (request.path === '/own' ? { status: 200, body: 'own' } : undefined),
    })
    const tunnel = await Client.connect(to)
    tunnel.write('GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n')
    expect((await tunnel.reply())?.status).toBe(101)
    const session = connectH2(`http://127.0.0.1:${to.port}`)
    const stream = session.request({ ':path': '/own' })
    await new Promise((resolve, reject) => stream.resume().on('end', resolve).on('error', reject))

    const goaway = new Promise((resolve) => session.on('goaway', resolve))
    const closed = new Promise((resolve) => session.on('close', resolve))
    await http.close()
    expect(await goaway).toBe(0)
    await closed
    const echo = new Promise((resolve) => tunnel.socket.once('data', (data) => resolve(String(data))))
    tunnel.write('still there')
    expect(await echo).toBe('still there')
    tunnel.socket.destroy()
  })

  test('a failure is thrown, and changes nothing', async () => {
    const { proxy, to } = await startProxy(own)
    expect(failure(() => proxy.addTcp(`127.0.0.1:${to.port}`)).code).toBe('ADDRESS_IN_USE')
    expect(failure(() => proxy.addTcp('192.0.2.1:1')).code).toBe('BIND_FAILED')
    expect(failure(() => proxy.addTcp('localhost:80')).code).toBe('INVALID_OPTIONS')
    expect(proxy.endpoints).toHaveLength(1)
    expect((await once(to, get('/'))).status).toBe(200)
  })

  test('before, an endpoint is taken back; while it starts nothing changes; after, nothing is added', async () => {
    const { server, proxy } = await planned()
    const [kept, gone] = [proxy.addTcp('127.0.0.1:0'), proxy.addTcp('127.0.0.1:0')]
    await gone.close()
    const starting = server.start()
    expect(failure(() => proxy.addTcp('127.0.0.1:0')).code).toBe('ALREADY_STARTED')
    await expect(kept.close()).rejects.toMatchObject({ code: 'ALREADY_STARTED' })
    await starting
    expect(proxy.endpoints).toEqual([kept])
    expect(failure(() => gone.address).code).toBe('NOT_STARTED')
    await server.close()
    expect(failure(() => proxy.addTcp('127.0.0.1:0')).code).toBe('SERVER_CLOSED')
    await kept.close()
  })

  test('endpoints with TLS are added too', async () => {
    const { proxy } = await startProxy(own)
    expect(failure(() => proxy.addTls('127.0.0.1:0', undefined as never)).code).toBe('INVALID_OPTIONS')
    const secure = proxy.addTls('127.0.0.1:0', selfSigned('localhost'))
    expect(secure.url).toMatch(/^https:/)
    const status = await new Promise((resolve, reject) => {
      ask(secure.url, { rejectUnauthorized: false, agent: false }, (response) => {
        response.resume().on('end', () => resolve(response.statusCode))
      }).on('error', reject)
    })
    expect(status).toBe(200)
  })
})

describe.skipIf(process.platform === 'win32')('Unix sockets', () => {
  test('are bound with the permissions asked for, serve, and leave no file', async () => {
    const path = join(folder(), 'a.sock')
    const { server, proxy } = await planned()
    const unix = proxy.addUnix(path, { mode: 0o660, backlog: 64, recvBuffer: 65_536, sendBuffer: 65_536 })
    expect(failure(() => unix.url).code).toBe('NOT_STARTED')
    await server.start()
    expect([unix.asked, unix.url, unix.address]).toEqual([
      `unix:${path}`,
      `unix:${path}`,
      { host: path, port: 0 },
    ])
    expect(statSync(path).mode & 0o777).toBe(0o660)
    const text = await overUnix(path)
    expect(text).toMatch(/^HTTP\/1.1 200 /)
    expect(text).toContain(
      JSON.stringify([
        { host: '', port: 0 },
        { host: path, port: 0 },
      ]),
    )
    await server.close()
    expect(existsSync(path)).toBe(false)
  })

  test('are added and closed while the server runs', async () => {
    const path = join(folder(), 'a.sock')
    const { proxy } = await startProxy(own)
    const unix = proxy.addUnix(path)
    expect(await overUnix(path)).toMatch(/^HTTP\/1.1 200 /)
    expect(failure(() => proxy.addUnix(path)).code).toBe('ADDRESS_IN_USE')
    await unix.close()
    expect(existsSync(path)).toBe(false)
  })

  test('replace what a process has left behind, and nothing else', async () => {
    const path = join(folder(), 'a.sock')
    const program = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`
    spawnSync(process.execPath, ['-e', program])
    expect(existsSync(path)).toBe(true)
    const { proxy } = await startProxy(own)
    const unix = proxy.addUnix(path)
    await unix.close()
    writeFileSync(path, 'precious')
    expect(failure(() => proxy.addUnix(path)).code).toBe('ADDRESS_IN_USE')
  })

  test.skipIf(!root)('owner: the file is given to a user and a group', async () => {
    const path = join(folder(), 'a.sock')
    const { proxy } = await startProxy(own)
    proxy.addUnix(path, { mode: 0o600, owner: { uid: 1234, gid: 4321 } })
    const { uid, gid, mode } = statSync(path)
    expect([uid, gid, mode & 0o777]).toEqual([1234, 4321, 0o600])
  })

  test.skipIf(root || !linux)('owner: who may not give files away is told', async () => {
    const { proxy } = await startProxy(own)
    const path = join(folder(), 'a.sock')
    expect(failure(() => proxy.addUnix(path, { owner: { uid: 0 } })).code).toBe('BIND_FAILED')
    expect(existsSync(path)).toBe(false)
  })

  test.skipIf(!linux)('have a name without a file', async () => {
    const { proxy } = await startProxy(own)
    const name = `@millrace-${process.pid}`
    const unix = proxy.addUnix(name)
    expect(unix.address).toEqual({ host: name, port: 0 })
    const curl = spawn('curl', ['-s', '--abstract-unix-socket', name.slice(1), 'http://a/'])
    let text = ''
    curl.stdout.on('data', (data) => {
      text += data
    })
    const code = await new Promise((resolve) => {
      curl.on('error', () => resolve(undefined)).on('close', resolve)
    })
    if (code !== undefined) expect([code, text]).toEqual([0, expect.stringContaining(name)])
    expect(failure(() => proxy.addUnix(name)).code).toBe('ADDRESS_IN_USE')
    await unix.close()
    expect(failure(() => proxy.addUnix(name, { mode: 0o600 })).problems).toMatchObject([{ path: 'mode' }])
  })

  test('what is no path or no option is refused', () => {
    const proxy = new HttpProxy(own)
    for (const path of ['', 'a.sock', 'unix:/a', '@', '/a\0b', 5])
      expect(failure(() => proxy.addUnix(path as string)).problems).toMatchObject([{ path: 'path' }])
    for (const options of [
      { mode: 0o1777 },
      { mode: 660 },
      { owner: { uid: -1 } },
      { owner: 5 },
      { backlog: 0 },
    ])
      expect(failure(() => proxy.addUnix('/a', options as object)).code).toBe('INVALID_OPTIONS')
    expect(failure(() => proxy.addUnix('/a', { reusePort: true } as object)).message).toContain(
      'no such option',
    )
  })
})

describe('limits on connections', () => {
  test('maxConnectionsPerClient: further ones of a client are closed, until one has ended', async () => {
    const { to, lines } = await startProxy(own, { maxConnectionsPerClient: 2 })
    const open = async (localAddress: string) => {
      const client = await Client.connect(to, { localAddress })
      client.write(get('/'))
      return [client, (await client.reply())?.status] as const
    }
    const [first, status] = await open('127.0.0.1')
    const [, second] = await open('127.0.0.1')
    expect([status, second]).toEqual([200, 200])
    expect((await open('127.0.0.1'))[1]).toBeUndefined()
    if (linux) expect((await open('127.0.0.2'))[1]).toBe(200)
    await until(() =>
      lines.some((line) => /^warn .*127\.0\.0\.1:\d+ has 2 connections, one more was closed/.test(line)),
    )
    first.socket.destroy()
    for (;;) if ((await open('127.0.0.1'))[1] === 200) break
  })

  test('ipv6ClientPrefix: clients of IPv6 are told apart by so many bits', () => {
    // The rule itself is tested where it is: ::1 is all there is of IPv6 here.
    for (const ipv6ClientPrefix of [0, 129])
      expect(failure(() => new HttpProxy(own, { ipv6ClientPrefix })).code).toBe('INVALID_OPTIONS')
    new HttpProxy(own, { ipv6ClientPrefix: 48 })
  })
})

test.skipIf(!linux)('fastOpen: the system says that it is on', async () => {
  const { proxy } = await startProxy(own)
  const { port } = proxy.addTcp('127.0.0.1:0', { fastOpen: 16 }).address
  const data = Buffer.from('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n').toString('hex')
  // MSG_FASTOPEN: data with the SYN where the system lets it, and after it otherwise.
  const program = `import socket;s=socket.socket();s.sendto(bytes.fromhex("${data}"),0x20000000,("127.0.0.1",${port}));print(s.recv(15).decode())`
  const child = spawn('python3', ['-c', program])
  let text = ''
  child.stdout.on('data', (data) => {
    text += data
  })
  const code = await new Promise((resolve) => {
    child.on('error', () => resolve(undefined)).on('close', resolve)
  })
  if (code === 0) expect(text).toContain('HTTP/1.1 200')
})

test.skipIf(!linux)(
  'cpus: each thread runs where it is told to, and only where the process may',
  async () => {
    const places = (start: string) =>
      tasks().flatMap(({ name, cpus }) => (name.startsWith(start) ? [cpus] : []))
    const [mine] = readFileSync('/proc/self/status', 'utf8').match(/(?<=Cpus_allowed_list:\s*)\d+/)!
    const first = Number(mine)
    await startProxy(own, { name: 'pinned', cpus: [first], threads: 2 })
    await until(() => places('pinned').length === 2)
    expect(new Set(places('pinned'))).toEqual(new Set([mine]))
    await startProxy(own, { name: 'spread', cpus: 'spread', threads: 2, workStealing: false })
    expect(places('spread').every((place) => /^\d+$/.test(place))).toBe(true)

    await expect(startProxy(own, { cpus: [1023] })).rejects.toMatchObject({ code: 'START_FAILED' })
    for (const cpus of [[], [-1], [1024], ['0'], 'all', 0])
      expect(failure(() => new HttpProxy(own, { cpus: cpus as number[] })).problems).toMatchObject([
        { path: Array.isArray(cpus) && cpus.length > 0 ? 'cpus[0]' : 'cpus' },
      ])
  },
)

test.skipIf(!linux)('services share no thread', async () => {
  const server = new Server({ logger: false })
  onTestFinished(async () => {
    await server.close({ graceMs: 0 })
  })
  const made = ['left', 'right'].map(
    (name) => new HttpProxy(own, { name, threads: 2, workStealing: name === 'left' }),
  )
  const ends = made.map((proxy) => server.addService(proxy).addTcp('127.0.0.1:0'))
  await server.start()
  for (const { address } of ends) expect((await once(address, get('/'))).status).toBe(200)
  const found = tasks()
    .map(({ name }) => name)
    .filter((name) => /^(?:left|right)/.test(name))
  expect(found.sort()).toEqual(['left-0', 'left-1', 'right-0', 'right-1'])
})
