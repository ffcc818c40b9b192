// Bodies far larger than memory has room for, in the clear of a process of its own.

import { once } from 'node:events'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { expect, onTestFinished, test } from 'vitest'
import { program } from './support/child.js'

const GIB = 2 ** 30
const PIECE = Buffer.alloc(256 * 1024, 'x')

function* pieces(bytes: number) {
  for (let sent = 0; sent < bytes; sent += PIECE.length) yield PIECE
}

/** Counts what comes. */
async function count(stream: Readable): Promise<number> {
  let bytes = 0
  for await (const piece of stream) bytes += (piece as Buffer).length
  return bytes
}

/** An origin that tells how long a body was, and sends one of 1 GiB to GET. */
async function startLarge() {
  const origin = createServer((req, res) => {
    const answer = async () => {
      if (req.method !== 'GET') return void res.end(String(await count(req)))
      if (req.url === '/known') res.setHeader('content-length', GIB)
      await pipeline(Readable.from(pieces(GIB)), res)
    }
    answer().catch(() => res.destroy())
  })
  origin.listen(0, '127.0.0.1')
  await once(origin, 'listening')
  onTestFinished(() => {
    origin.closeAllConnections()
    origin.close()
  })
  return (origin.address() as AddressInfo).port
}

test('1 GiB passes up and down, of known and unknown length, and memory stays flat', async () => {
  const origin = await startLarge()
  const { child, line, ended } = program(
    `
    const peer = new HttpPeer('127.0.0.1:${origin}')
    const server = new Server()
    const proxy = new HttpProxy({
      upstreamPeer: () => peer,
      responseFilter(_session, response) { response.headers.set('x-filtered', '1') },
    }, { threads: 1 })
    const http = server.addService(proxy).addTcp('127.0.0.1:0')
    await server.start()
    console.log(http.address.port)
    process.on('SIGUSR2', () => console.log(process.resourceUsage().maxRSS / 1024))
    process.on('SIGTERM', () => server.close())`,
    110_000,
  )
  const port = Number(await line())
  const most = async () => {
    child.kill('SIGUSR2')
    return Number(await line())
  }
  const ask = async (method: string, path: string, headers = {}, bytes = 0) => {
    const req = request({ host: '127.0.0.1', port, method, path, headers })
    const answered = once(req, 'response') as Promise<[Readable]>
    const sending = bytes > 0 ? pipeline(Readable.from(pieces(bytes)), req) : void req.end()
    const [response] = await answered
    const got = method === 'GET' ? await count(response) : Number((await response.toArray()).join(''))
    await sending
    return got
  }
  for (let warm = 0; warm < 200; warm++) await ask('PUT', '/', {}, PIECE.length)
  const before = await most()
  expect(await ask('GET', '/known')).toBe(GIB)
  expect(await ask('GET', '/unknown')).toBe(GIB)
  expect(await ask('PUT', '/known', { 'content-length': GIB }, GIB)).toBe(GIB)
  expect(await ask('PUT', '/unknown', { 'transfer-encoding': 'chunked' }, GIB)).toBe(GIB)
  expect((await most()) - before).toBeLessThan(16)
  child.kill('SIGTERM')
  expect(await ended).toMatchObject({ code: 0, stderr: '' })
}, 120_000)
