import { expect, test } from 'vitest'
import { HttpPeer } from '../ts/index.js'
import { Client, get, once, post } from './support/client.js'
import { descriptors, memory } from './support/memory.js'
import { startOrigin } from './support/origin.js'
import { startProxy, until } from './support/proxy.js'

/** What a bad client sends, how it leaves (or waits to be closed), and the status it gets, if any. */
interface Kind {
  sends: string
  leaves: 'FIN' | 'RST' | 'waits'
  status?: number
  /** Lines in the log. Default: 1. */
  lines?: number
}

const KINDS: Kind[] = [
  { sends: '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n', leaves: 'waits', status: 400 },
  { sends: '\0'.repeat(100), leaves: 'waits', status: 400 },
  { sends: 'garbage\r\n\r\n', leaves: 'waits', status: 400 },
  { sends: 'GET /\r\n\r\n', leaves: 'waits', status: 400 },
  { sends: 'GET / HTTP/1.1\r\nhost: a\r\n folded\r\n\r\n', leaves: 'waits', status: 400 },
  { sends: 'GET / HTTP/1.1\r\nhost : a\r\n\r\n', leaves: 'waits', status: 400 },
  { sends: 'GET / HTTP/1.1\r\nhost: a\r\nbad name: x\r\n\r\n', leaves: 'waits', status: 400 },
  { sends: 'GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n', leaves: 'waits', status: 400 },
  { sends: 'GET / HTTP/1.1\r\n\r\n', leaves: 'waits', status: 400 },
  { sends: get('/', { 'content-length': '1, 2' }, 'POST'), leaves: 'waits', status: 400 },
  { sends: get('/', { 'content-length': '-1' }, 'POST'), leaves: 'waits', status: 400 },
  {
    sends: get('/', { 'content-length': '5', 'transfer-encoding': 'chunked' }, 'POST'),
    leaves: 'waits',
    status: 400,
  },
  { sends: `${get('/', { 'transfer-encoding': 'chunked' }, 'POST')}zz\r\n`, leaves: 'waits', status: 400 },
  { sends: get('/', { x: 'y'.repeat(70_000) }), leaves: 'waits', status: 431 },
  { sends: 'GET / HTTP/1.1\r\nhost: a\r\nx: y', leaves: 'FIN' },
  { sends: 'GET / HTTP/1.1\r\nhost: a\r\nx: y', leaves: 'RST' },
  { sends: 'G', leaves: 'FIN' },
  { sends: get('/', { 'content-length': '100' }, 'POST'), leaves: 'FIN' },
  { sends: `${get('/', { 'content-length': '100' }, 'POST')}some`, leaves: 'RST' },
  { sends: `${get('/', { 'transfer-encoding': 'chunked' }, 'POST')}5\r\nab`, leaves: 'FIN' },
  { sends: get('/silent'), leaves: 'FIN' },
  { sends: get('/silent'), leaves: 'RST' },
  { sends: post('/silent', 'x'), leaves: 'RST' },
  // Nothing was asked: there is nothing to tell.
  { sends: '', leaves: 'FIN', lines: 0 },
  { sends: '', leaves: 'RST', lines: 0 },
]

const COUNT = 10_000
const AT_ONCE = 32
/** For what comes soon, on a machine that may be busy with other tests. */
const PATIENCE_MS = 30_000

test('10,000 bad clients: a defined answer or none, one line in the log each, and nothing is left behind', async () => {
  // It lives on the same thread as the clients, which do not wait for it: all that come have to find
  // room before it gets to them.
  const listen = { host: '127.0.0.1', port: 0, backlog: COUNT }
  const origin = await startOrigin((seen, res) => {
    if (seen.url !== '/silent') res.end('ok')
  }, listen)
  const logged: string[] = []
  const { to, lines, server, environment } = await startProxy({
    upstreamPeer: new HttpPeer(origin.address),
    logging: (session, error) => void logged.push(`${session.client.port} ${error?.code}`),
  })
  const wrong: string[] = []
  /** By the client's port: how many lines there are to be, and how many there may be. */
  const expected = new Map<number, [least: number, most: number]>()
  const run = async (count: number) => {
    let next = 0
    const lane = async () => {
      while (next < count) {
        const { sends, leaves, status, lines = 1 } = KINDS[next++ % KINDS.length]!
        const client = await Client.connect(to)
        const port = client.socket.localPort!
        const [least, most] = expected.get(port) ?? [0, 0]
        // A reset may overtake the accept: then there was no client, and nothing is told of it.
        expected.set(port, [least + (leaves === 'RST' ? 0 : lines), most + lines])
        if (sends !== '')
          await new Promise((resolve) => client.socket.write(Buffer.from(sends, 'latin1'), resolve))
        if (leaves === 'FIN') await client.end()
        else if (leaves === 'RST') await client.reset()
        else {
          const reply = await client.reply()
          if (reply?.status !== status)
            wrong.push(`${reply?.status} for ${JSON.stringify(sends.slice(0, 60))}`)
          if (reply?.header('connection') !== 'close')
            wrong.push(`kept open: ${JSON.stringify(sends.slice(0, 60))}`)
          await client.closed
        }
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, lane))
    await until(() => server.stats().services[0]?.connections === 0, 'every connection is gone', PATIENCE_MS)
    await until(() => environment.native.stats().slots === 0, 'every slot is free', PATIENCE_MS)
    await until(
      () => origin.sockets.size <= server.stats().services[0]!.pool.idle,
      'the origin has no connection in use',
      PATIENCE_MS,
    )
  }
  const count = (text: string[], port: (line: string) => string | undefined) => {
    const counts = new Map<number, number>()
    for (const line of text) {
      const key = Number(port(line))
      counts.set(key, (counts.get(key) ?? 0) + 1)
    }
    return counts
  }
  // As much as is measured: Node.js 26 takes some 20 MiB until it has compiled all that is used here.
  await run(COUNT)
  const forget = () => {
    lines.length = logged.length = origin.seen.length = 0
    expected.clear()
  }
  forget()
  const before = { ...(await memory()), descriptors: descriptors() }
  await run(COUNT)
  // Where nearly all resets come too early to be seen, something is amiss.
  const all = [...expected.values()].reduce((sum, [, most]) => sum + most, 0)
  await until(() => logged.length >= all * 0.9 && lines.length >= logged.length, 'all is logged', PATIENCE_MS)
  expect(wrong.slice(0, 5)).toEqual([])

  const warned = count(lines, (line) => /client 127\.0\.0\.1:(\d+)/.exec(line)?.[1])
  const phases = count(logged, (line) => line.split(' ')[0])
  const odd: string[] = []
  for (const [port, [least, most]] of expected) {
    const [told, called] = [warned.get(port) ?? 0, phases.get(port) ?? 0]
    if (told !== called || told < least || told > most)
      odd.push(`${port}: ${told} lines, ${called} calls of logging, not ${least} to ${most}`)
  }
  expect(odd.slice(0, 5)).toEqual([])
  for (const line of lines) expect(line).toMatch(/^(info 499|warn (4\d\d|5\d\d)) /)

  forget()
  const after = { ...(await memory()), descriptors: descriptors() }
  expect(after.descriptors - before.descriptors).toBeLessThanOrEqual(4)
  expect(after.heap - before.heap).toBeLessThan(4)
  expect(after.native - before.native).toBeLessThan(16)
  expect((await once(to, get('/'))).body).toBe('ok')
}, 180_000)
