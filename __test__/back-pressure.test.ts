// Back-pressure through the body phases: a slow filter slows the sender, and memory stays flat.
import { createHash } from 'node:crypto'
import { once as event } from 'node:events'
import { describe, expect, test } from 'vitest'
import { HttpPeer } from '../ts/index.js'
import { echoing } from './support/bodies.js'
import { Client, get } from './support/client.js'
import { startRaw } from './support/origin.js'
import { deferred, startProxy, until } from './support/proxy.js'

describe('back-pressure', () => {
  const MIB = 1024 * 1024

  test('a slow filter slows the sender: what is under way stays bounded', async () => {
    const gate = deferred()
    let seen = 0
    const { to } = await startProxy({
      upstreamPeer: await echoing('h1'),
      requestBodyFilter: async (_session, chunk) => {
        seen += chunk.length
        await gate.promise
        return null
      },
    })
    const client = await Client.connect(to)
    client.write(get('/', { 'content-length': String(64 * MIB) }, 'POST'))
    const piece = Buffer.alloc(MIB)
    for (let sent = 0; sent < 64; sent++) client.socket.write(piece)
    await until(() => seen > 0)
    // It stands still: the system's buffers are full, and nothing more is read.
    let before = -1
    await until(() => {
      const now = client.socket.bytesWritten - client.socket.writableLength
      const same = now === before
      before = now
      return same && seen > 0
    })
    expect(seen).toBeLessThanOrEqual(64 * 1024)
    gate.resolve()
    expect((await client.reply('POST'))?.status).toBe(200)
  })

  test('1 GiB through a filter, with flat memory and the same bytes', { timeout: 120_000 }, async () => {
    const SIZE = 1024 * MIB
    const piece = Buffer.alloc(MIB, 'x')
    const origin = await startRaw((socket) => {
      socket.once('data', async () => {
        socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${SIZE}\r\n\r\n`)
        for (let sent = 0; sent < SIZE; sent += MIB) if (!socket.write(piece)) await event(socket, 'drain')
      })
    })
    const hash = createHash('sha1')
    const { to } = await startProxy({
      upstreamPeer: new HttpPeer(origin.address),
      responseBodyFilter: (_session, chunk) => void hash.update(chunk),
    })
    const client = await Client.connect(to)
    const own = createHash('sha1')
    let received = 0
    client.socket.removeAllListeners('data')
    const before = process.memoryUsage().rss
    client.write(get('/'))
    let peak = 0
    for await (const data of client.socket) {
      received += data.length
      own.update(data)
      peak = Math.max(peak, process.memoryUsage().rss)
      if (received >= SIZE && data.subarray(-5).toString() === '0\r\n\r\n') break
    }
    expect(received).toBeGreaterThan(SIZE)
    expect(hash.digest('hex')).toBe(
      (() => {
        const all = createHash('sha1')
        for (let sent = 0; sent < SIZE; sent += MIB) all.update(piece)
        return all.digest('hex')
      })(),
    )
    expect((peak - before) / MIB).toBeLessThan(96)
  })
})
