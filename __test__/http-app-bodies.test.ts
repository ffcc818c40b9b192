// Bodies of apps, which stream in both directions.
import { once as onceOf } from 'node:events'
import { connect as connectH2 } from 'node:http2'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { Handler } from '../ts/index.js'
import { startApp } from './support/app.js'
import { Client, get, once, post } from './support/client.js'
import { deferred, rests, until } from './support/proxy.js'

const MIB = 1 << 20
const chunk = (data: string) => `${Buffer.byteLength(data).toString(16)}\r\n${data}\r\n`
const chunked = (target: string, fields = {}) =>
  get(target, { 'transfer-encoding': 'chunked', ...fields }, 'POST')
const echo: Handler = (request) => new Response(request.body)

/** Reads up to `wanted` of what the connection brings. */
async function reads(client: Client, wanted: string): Promise<string> {
  let seen = ''
  const take = (data: Buffer) => {
    seen += data.latin1Slice()
  }
  client.socket.on('data', take)
  await until(() => seen.includes(wanted), wanted)
  client.socket.off('data', take)
  return seen
}

test('a body comes back while it is still being sent, over HTTP/1.1', async () => {
  const { to } = await startApp(echo)
  const client = await Client.connect(to)
  client.write(chunked('/') + chunk('first'))
  expect(await reads(client, 'first')).toMatch(/^HTTP\/1\.1 200 /)
  client.write(chunk('second'))
  await reads(client, 'second')
  client.write('0\r\n\r\n')
  await reads(client, '0\r\n\r\n')
  await client.end()
  // And the connection carries another after it.
  const another = await Client.connect(to)
  for (const body of ['one', '', 'three'.repeat(10_000)])
    expect((await another.ask(post('/', body))).body).toBe(body)
  await another.end()
})

test('a body comes back while it is still being sent, over HTTP/2', async () => {
  const { url } = await startApp(echo)
  const session = connectH2(url)
  onTestFinished(() => session.destroy())
  const stream = session.request({ ':method': 'POST', ':path': '/' })
  const pieces: string[] = []
  stream.setEncoding('utf8').on('data', (piece) => pieces.push(piece))
  stream.write('first')
  await until(() => pieces.join('') === 'first')
  stream.end('second')
  await onceOf(stream, 'end')
  expect(pieces.join('')).toBe('firstsecond')
})

test('8 MiB go through both ways unchanged', async () => {
  const { url } = await startApp(async (request) => {
    const body = new Uint8Array(await request.arrayBuffer())
    return new Response(body, { headers: { 'x-length': String(body.length) } })
  })
  const body = Buffer.alloc(8 * MIB, 'abcdefg')
  const response = await fetch(url, { method: 'POST', body })
  expect(response.headers.get('x-length')).toBe(String(body.length))
  expect(Buffer.from(await response.arrayBuffer()).equals(body)).toBe(true)
})

test('nothing of a body is read that the handler does not ask for', async () => {
  const asked = deferred()
  const { to } = await startApp(async (request) => {
    await asked.promise
    let length = 0
    for await (const piece of request.body!) length += piece.length
    return new Response(String(length))
  })
  const client = await Client.connect(to)
  let written = 0
  client.write(get('/', { 'content-length': String(64 * MIB) }, 'POST'))
  const piece = Buffer.alloc(MIB)
  while (written < 64 && client.socket.writableLength < 4 * MIB) {
    client.socket.write(piece)
    written++
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  // The system holds some; what is left of 64 MiB waits here.
  expect(written).toBeLessThan(64)
  asked.resolve()
  while (written++ < 64) client.socket.write(piece)
  expect((await client.reply())?.body).toBe(String(64 * MIB))
  await client.end()
}, 30_000)

test('a response is made no faster than the client takes it', async () => {
  let made = 0
  const { to } = await startApp(
    () =>
      new Response(
        new ReadableStream({
          pull(controller) {
            made++
            controller.enqueue(new Uint8Array(MIB))
            if (made === 128) controller.close()
          },
        }),
      ),
  )
  const client = await Client.connect(to)
  client.socket.pause()
  client.write(get('/'))
  await rests(() => made)
  expect(made).toBeLessThan(100)
  client.socket.resume()
  expect((await client.reply())?.body.length).toBe(128 * MIB)
  await client.end()
}, 30_000)

describe('Expect: 100-continue', () => {
  const asks = (length: number) =>
    get('/', { 'content-length': String(length), expect: '100-continue' }, 'POST')

  test('the client is asked for its body when the handler reads it', async () => {
    const { to } = await startApp(async (request) => new Response(await request.text()))
    const client = await Client.connect(to)
    client.write(asks(4))
    expect((await client.reply())?.status).toBe(100)
    client.write('body')
    expect((await client.reply())?.body).toBe('body')
    await client.end()
  })

  test('it is not where the handler answers without', async () => {
    const { to } = await startApp(() => 403)
    const reply = await once(to, asks(4))
    expect([reply.status, reply.header('connection')]).toEqual([403, 'close'])
  })

  test('a body that is asked for just before the response is there is waited for before its head', async () => {
    const { to } = await startApp(echo, { threads: 2 })
    const one = async () => {
      const client = await Client.connect(to)
      client.write(asks(4))
      const first = (await client.reply())?.status
      client.write('body')
      const body = (await client.reply())?.body
      await client.end()
      return [first, body]
    }
    for (let i = 0; i < 15; i++)
      expect(await Promise.all(Array.from({ length: 20 }, one))).toEqual(Array(20).fill([100, 'body']))
  })

  test('a response that may still ask for the body invites it before its head', async () => {
    const { to } = await startApp(({ body }) => ({
      status: 200,
      body: (async function* () {
        await new Promise((resolve) => setTimeout(resolve, 20))
        yield* body!
      })(),
    }))
    const client = await Client.connect(to)
    client.write(asks(4))
    expect((await client.reply())?.status).toBe(100)
    client.write('body')
    expect((await client.reply())?.body).toBe('body')
    await client.end()
  })

  test('a response that is the body waits for it as well', async () => {
    const { to } = await startApp(echo)
    const client = await Client.connect(to)
    client.write(asks(4))
    expect((await client.reply())?.status).toBe(100)
    client.write('body')
    expect((await client.reply())?.body).toBe('body')
    await client.end()
  })
})

test('an answer that comes before the body was read leaves the connection to go on after a small one', async () => {
  const { to } = await startApp((request) => (request.method === 'POST' ? 403 : 200))
  const client = await Client.connect(to)
  expect((await client.ask(post('/', 'never read'))).status).toBe(403)
  expect((await client.ask(get('/'))).status).toBe(200)
  await client.end()
  const large = await Client.connect(to)
  large.write(get('/', { 'content-length': String(64 * MIB) }, 'POST'))
  const reply = await large.reply()
  expect([reply?.status, reply?.header('connection')]).toEqual([403, 'close'])
  await large.end()
})

test('a body that is cut, too long or too slow is an error of reading it, and the client’s fault', async () => {
  const failures: unknown[] = []
  const { to, lines } = await startApp(
    async (request) => {
      try {
        return new Response(await request.text())
      } catch (error) {
        failures.push((error as { code: string }).code)
        throw error
      }
    },
    { maxRequestBodyBytes: 10, bodyReadTimeoutMs: 200 },
  )
  expect((await once(to, chunked('/') + chunk('more than ten bytes'))).status).toBe(413)
  expect((await once(to, `${get('/', { 'content-length': '8' }, 'POST')}half`)).status).toBe(408)
  expect((await once(to, `${chunked('/')}zzz\r\n`)).status).toBe(400)
  const client = await Client.connect(to)
  client.write(`${get('/', { 'content-length': '8' }, 'POST')}half`)
  await client.end()
  await until(() => failures.length === 4)
  expect(failures).toEqual(['BODY_TOO_LARGE', 'REQUEST_TIMEOUT', 'BAD_REQUEST', 'CLIENT_ABORTED'])
  expect(lines.filter((line) => line.includes('PHASE_FAILED'))).toEqual([])
})

test('it is the client’s fault too where the response, which has begun, is made of it', async () => {
  const { to, lines } = await startApp(({ body }) => new Response(body), {
    maxRequestBodyBytes: 10,
    bodyReadTimeoutMs: 200,
  })
  const cases = [
    [chunked('/') + chunk('more than ten bytes'), 'BODY_TOO_LARGE'],
    [`${get('/', { 'content-length': '8' }, 'POST')}half`, 'REQUEST_TIMEOUT'],
    [`${chunked('/')}${chunk('some')}zzz\r\n`, 'BAD_REQUEST'],
  ] as const
  for (const [index, [request, code]] of cases.entries()) {
    const client = await Client.connect(to)
    client.write(request)
    await client.closed
    await until(() => lines.length > index)
    expect(lines[index]).toContain(`${code} (downstream)`)
  }
})

test('what a response fails of by itself is not, though the body has failed too', async () => {
  const { to, lines } = await startApp(
    ({ body }) => ({
      status: 200,
      body: (async function* () {
        yield 'some'
        try {
          yield* body!
        } catch {
          throw new Error('of its own')
        }
      })(),
    }),
    { maxRequestBodyBytes: 10 },
  )
  const client = await Client.connect(to)
  client.write(chunked('/') + chunk('more than ten bytes'))
  await client.closed
  await until(() => lines.length > 0)
  expect(lines[0]).toContain('PHASE_FAILED (internal)')
})

test.each([5, 70_000, 3 * MIB])(
  'a body of %i bytes that is read only once the response is there is whole',
  async (length) => {
    const { to } = await startApp((request) => ({
      status: 200,
      body: (async function* () {
        await new Promise((resolve) => setTimeout(resolve, 20))
        yield* request.body ?? []
      })(),
    }))
    const body = 'abcde'.repeat(length / 5 + 1).slice(0, length)
    for (const framed of [post('/', body), `${chunked('/')}${chunk(body)}0\r\n\r\n`]) {
      const client = await Client.connect(to)
      client.write(framed)
      expect((await client.reply())?.body).toBe(body)
      // Small ones leave the connection as it was.
      if (length === 5 && !framed.includes('chunked')) expect((await client.ask(get('/'))).status).toBe(200)
      client.socket.destroy()
    }
  },
)

test('waiting for the client’s body is no time of the handler’s', async () => {
  const { to } = await startApp(async (request) => new Response(await request.text()), {
    callbackTimeoutMs: 150,
  })
  const client = await Client.connect(to)
  client.write(`${get('/', { 'content-length': '8' }, 'POST')}half`)
  await new Promise((resolve) => setTimeout(resolve, 600))
  client.write('half')
  expect(await client.reply()).toMatchObject({ status: 200, body: 'halfhalf' })
  await client.end()
})

test('what a handler takes between two pieces of the client’s body is its time, all together', async () => {
  const { to } = await startApp(
    async (request) => {
      let pieces = 0
      for await (const _ of request.body!) {
        pieces++
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
      return new Response(`${pieces}`)
    },
    { callbackTimeoutMs: 200 },
  )
  const client = await Client.connect(to)
  client.write(get('/', { 'content-length': `${8 * MIB}` }, 'POST'))
  client.socket.write(Buffer.alloc(8 * MIB))
  expect((await client.reply())?.status).toBe(504)
  client.socket.destroy()
})

test('a body that is read when its response has ended is that of a request that is over', async () => {
  const codes: string[] = []
  const { to } = await startApp((request) => {
    const read = () =>
      request
        .text()
        .then(() => 'read')
        .catch((error) => error.code ?? error.cause?.code)
    void read().then((code) => codes.push(code))
    return new Response('done')
  })
  for (let i = 0; i < 10; i++) {
    const client = await Client.connect(to)
    client.write(get('/', { 'content-length': '10' }, 'POST'))
    expect((await client.reply())?.status).toBe(200)
    client.socket.destroy()
  }
  await until(() => codes.length === 10)
  expect(codes.filter((code) => code !== 'SESSION_ENDED' && code !== 'CLIENT_ABORTED')).toEqual([])
})

test('a response’s body that fails midway cuts its own response off, and the log says why', async () => {
  const fails: Record<string, () => ReadableStream> = {
    '/throw': () =>
      new ReadableStream({
        async pull(controller) {
          if ((this as { sent?: boolean }).sent) throw new Error('midway')
          ;(this as { sent?: boolean }).sent = true
          controller.enqueue(Buffer.from('some'))
          await new Promise((resolve) => setTimeout(resolve, 20))
        },
      }),
    '/type': () =>
      new ReadableStream({
        async pull(controller) {
          await new Promise((resolve) => setTimeout(resolve, 20))
          controller.enqueue(5)
        },
      }),
  }
  const { to, lines } = await startApp((request) => {
    const make = fails[new URL(request.url).pathname]
    return make === undefined ? new Response('ok') : new Response(make())
  })
  for (const path of Object.keys(fails)) {
    const client = await Client.connect(to)
    client.write(get(path))
    await expect(client.reply()).rejects.toThrow(/cut short/)
    await client.end()
  }
  await until(() => lines.some((line) => /handler: .*midway/.test(line)))
  expect((await once(to, get('/ok'))).body).toBe('ok')
})

test('sourceTimeoutMs bounds the wait between two pieces; without it a response may be silent for longer', async () => {
  const quiet: Handler = () =>
    new Response(
      new ReadableStream({
        async start(controller) {
          controller.enqueue(Buffer.from('a'))
          await new Promise((resolve) => setTimeout(resolve, 500))
          controller.enqueue(Buffer.from('b'))
          controller.close()
        },
      }),
    )
  const patient = await startApp(quiet, { callbackTimeoutMs: 100 })
  expect((await once(patient.to, get('/'))).body).toBe('ab')
  const strict = await startApp(quiet, { sourceTimeoutMs: 100 })
  await expect(once(strict.to, get('/'))).rejects.toThrow(/cut short/)
})

test('a client that leaves a streamed response cancels what makes it, and aborts the signal', async () => {
  const [cancelled, aborted] = [deferred(), deferred()]
  const { to } = await startApp((request) => {
    request.signal.addEventListener('abort', () => aborted.resolve())
    return new Response(
      new ReadableStream({
        pull: (controller) => controller.enqueue(new Uint8Array(1024)),
        cancel: () => cancelled.resolve(),
      }),
    )
  })
  const client = await Client.connect(to)
  client.write(get('/'))
  await reads(client, '200')
  await client.reset()
  await cancelled.promise
  await aborted.promise
})

test('a body kept beyond its request cannot be read, and is nobody else’s', async () => {
  let kept: Request | undefined
  const { to } = await startApp((request) => {
    kept ??= request
    return 200
  })
  const client = await Client.connect(to)
  await client.ask(post('/', 'first'))
  await client.ask(get('/'))
  client.write(`${get('/', { 'content-length': '6' }, 'POST')}second`)
  await client.reply()
  await expect(kept!.text()).rejects.toThrow()
  await client.end()
})

test('many at once keep to themselves', async () => {
  const { to } = await startApp(echo)
  const one = async (index: number) => {
    const body = String(index).repeat(1 + index * 50)
    return (await once(to, post('/', body))).body === body
  }
  const all = await Promise.all(Array.from({ length: 100 }, (_, index) => one(index)))
  expect(all.filter((same) => !same)).toEqual([])
})

describe('a Response that says its length', () => {
  const made = (said: string, pieces: number, apart: number) => {
    let left = pieces
    const body = new ReadableStream<Uint8Array>({
      async pull(controller) {
        if (apart > 0) await new Promise((resolve) => setTimeout(resolve, apart))
        if (left-- > 0) controller.enqueue(new Uint8Array(1_000))
        else controller.close()
      },
    })
    return new Response(body, { headers: { 'content-length': said } })
  }

  test('keeps it where its body streams', async () => {
    const { url } = await startApp(() => made('3000', 3, 10))
    const response = await fetch(url)
    expect(response.headers.get('content-length')).toBe('3000')
    expect(response.headers.get('transfer-encoding')).toBeNull()
    expect((await response.arrayBuffer()).byteLength).toBe(3_000)
  })

  test('is cut off where its body is shorter, and carries no more where it is longer', async () => {
    const { url, lines } = await startApp(({ url }) => made(new URL(url).pathname.slice(1), 3, 10))
    await expect(fetch(`${url}/4000`).then((response) => response.arrayBuffer())).rejects.toThrow()
    const longer = await fetch(`${url}/2000`).then((response) => response.arrayBuffer())
    expect(longer.byteLength).toBe(2_000)
    await until(() => lines.some((line) => line.includes('has not the 2000 bytes')))
  })

  test('is refused where its body is there at once, and is not so long', async () => {
    const { url } = await startApp(() => made('4000', 3, 0))
    expect((await fetch(url)).status).toBe(500)
  })

  test('says what there would be in answer to HEAD', async () => {
    const { url } = await startApp(() => new Response(null, { headers: { 'content-length': '12345' } }))
    const response = await fetch(url, { method: 'HEAD' })
    expect([response.status, response.headers.get('content-length')]).toEqual([200, '12345'])
  })
})
