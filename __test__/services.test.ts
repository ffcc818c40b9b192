// Several services of one server, of different kinds.
import { expect, onTestFinished, test } from 'vitest'
import { DemoOrigin, HttpPeer, HttpProxy, Server, UsageError } from '../ts/index.js'
import { Client } from './support/client.js'

const codeOf = (action: () => unknown) => {
  try {
    action()
  } catch (error) {
    if (error instanceof UsageError) return error.code
    throw error
  }
  return undefined
}

test('each has its endpoints and its numbers, also where names are the same', async () => {
  const server = new Server({ logger: false })
  onTestFinished(async () => {
    await server.close({ graceMs: 0 })
  })
  const origin = server.addService(new DemoOrigin({ name: 'same' }))
  const one = origin.addTcp('127.0.0.1:0')
  const two = origin.addTcp('127.0.0.1:0')
  const proxy = server.addService(
    new HttpProxy({ upstreamPeer: new HttpPeer('127.0.0.1:9') }, { name: 'same' }),
  )
  const front = proxy.addTcp('127.0.0.1:0')
  await server.start()
  expect(new Set([one, two, front].map(({ address }) => address.port)).size).toBe(3)

  // A connection is counted once it has been accepted, which its answer shows.
  for (const endpoint of [one, two, front]) {
    const client = await Client.connect(endpoint.address)
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    expect((await client.reply())?.status).toBe(endpoint === front ? 502 : 200)
    onTestFinished(() => void client.socket.destroy())
  }
  expect(server.stats().services).toMatchObject([
    { name: 'same', connections: 2, pool: { open: 0, created: 0 } },
    { name: 'same', connections: 1 },
  ])
})

test('a service belongs to one server, and gets no endpoint after its end', async () => {
  const server = new Server({ logger: false })
  const origin = server.addService(new DemoOrigin())
  expect(codeOf(() => new Server().addService(origin))).toBe('ALREADY_STARTED')
  await server.start()
  await server.close()
  expect(codeOf(() => origin.addTcp('127.0.0.1:0'))).toBe('SERVER_CLOSED')
})

test('the options of an origin are checked', () => {
  expect(codeOf(() => new DemoOrigin({ pauseMs: -1 }))).toBe('INVALID_OPTIONS')
  expect(codeOf(() => new DemoOrigin({ pause: 1 } as object))).toBe('INVALID_OPTIONS')
  expect(codeOf(() => new DemoOrigin().addTcp('localhost:80'))).toBe('INVALID_OPTIONS')
})
