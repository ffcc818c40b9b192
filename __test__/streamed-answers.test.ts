// Answers whose bodies are made piece by piece.
import { once as event } from 'node:events'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { HttpPeer, type ProxyError } from '../ts/index.js'
import { ask, VERSIONS } from './support/bodies.js'
import { Client, get, once } from './support/client.js'
import { deferred, startProxy, until } from './support/proxy.js'

describe('answers that are made piece by piece', () => {
  async function answering(body: unknown, headers = {}) {
    const errors: (ProxyError | undefined)[] = []
    const { to } = await startProxy({
      upstreamPeer: new HttpPeer('127.0.0.1:1'),
      requestFilter: () => (body instanceof Response ? body : { status: 200, headers, body: body as never }),
      logging: (_session, error) => void errors.push(error),
    })
    return { to, errors }
  }
  async function* counting(count: number) {
    for (let index = 0; index < count; index++) yield `${index} `
  }

  test.each<[string, () => unknown]>([
    ['an async iterable', () => counting(3)],
    ['an iterable', () => ['0 ', Buffer.from('1 '), '2 ']],
    ['a Readable', () => Readable.from(counting(3))],
    ['a web stream', () => Readable.toWeb(Readable.from(['0 ', '1 ', '2 ']))],
    ['a Response of a stream', () => new Response(ReadableStream.from(slowly()) as never)],
  ])('%s', async (_, body) => {
    for (const version of VERSIONS) {
      const { to } = await answering(body())
      expect((await ask(version, to, '/')).body).toBe('0 1 2 ')
    }
  })

  async function* slowly() {
    for (let index = 0; index < 3; index++) {
      await sleep(2)
      yield Buffer.from(`${index} `)
    }
  }

  test('a Response that is there at once has its length', async () => {
    const { to } = await answering(new Response('there'))
    const reply = await once(to, get('/'))
    expect([reply.body, reply.header('content-length')]).toEqual(['there', '5'])
  })

  test('they come as they are made', async () => {
    const gate = deferred()
    async function* body() {
      yield 'first'
      await gate.promise
      yield 'second'
    }
    const { to } = await answering(body())
    const client = await Client.connect(to)
    client.write(get('/'))
    await event(client.socket, 'data')
    gate.resolve()
    expect((await client.reply())?.body).toBe('firstsecond')
  })

  test('a length that is given has to be right', async () => {
    const right = await answering(counting(2), { 'content-length': '4' })
    const reply = await once(right.to, get('/'))
    expect([reply.body, reply.header('content-length')]).toEqual(['0 1 ', '4'])
    for (const length of ['3', '5']) {
      const { to, errors } = await answering(counting(2), { 'content-length': length })
      await expect(once(to, get('/'))).rejects.toThrow()
      await until(() => errors.length === 1)
      expect(errors[0]?.code).toBe('PHASE_RETURN')
    }
  })

  test('one that fails cuts the connection, and is told', async () => {
    const { to, errors } = await answering(
      (async function* () {
        yield 'x'
        throw new Error('broken')
      })(),
    )
    await expect(once(to, get('/'))).rejects.toThrow()
    await until(() => errors.length === 1)
    expect(errors[0]?.cause).toMatchObject({ message: 'broken' })
    expect(errors[0]?.phase).toBe('requestFilter')
  })

  test('one that gives promises in place of bytes is told so, also where they reject', async () => {
    const { to, errors } = await answering(
      (function* () {
        yield Promise.reject(new Error('nobody waits for it')) as never
      })(),
    )
    await expect(once(to, get('/'))).rejects.toThrow()
    await until(() => errors.length === 1)
    expect(errors[0]?.code).toBe('PHASE_RETURN')
  })

  test('HEAD, and a client that leaves, end what makes it', async () => {
    let ended = 0
    const endless = () =>
      (async function* () {
        try {
          for (;;) yield 'x'.repeat(10_000)
        } finally {
          ended++
        }
      })()
    const { to, errors } = await startProxy({
      upstreamPeer: new HttpPeer('127.0.0.1:1'),
      requestFilter: (session) => {
        const body = endless()
        void body.next()
        session.respond({ status: 200, body })
      },
      logging: () => void logged++,
    }).then(({ to: address }) => ({ to: address, errors: 0 }))
    let logged = 0
    expect(errors).toBe(0)
    expect((await once(to, get('/', {}, 'HEAD'))).status).toBe(200)
    await until(() => ended === 1)
    const client = await Client.connect(to)
    client.write(get('/'))
    await event(client.socket, 'data')
    await client.reset()
    await until(() => ended === 2 && logged === 2)
  })
})
