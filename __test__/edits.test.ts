import { describe, expect, test } from 'vitest'
import { HttpPeer, type RequestHeader, type ResponseHeader, UsageError } from '../ts/index.js'
import { Client, get, once } from './support/client.js'
import { DEAD, startOrigin } from './support/origin.js'
import { startProxy, until } from './support/proxy.js'
import { WAYS_TO_WRITE } from './support/recorder.js'

describe.each(WAYS_TO_WRITE)('%s', (_name, through) => {
  test('edits of request and response reach origin and client', async () => {
    const origin = await startOrigin((_seen, res) => {
      res.writeHead(200, [
        ['Set-Cookie', 'a=1'],
        ['Set-Cookie', 'b=2'],
        ['X-Gone', '1'],
        ['X-Kept', '1'],
      ] as unknown as string[])
      res.end('ok')
    })
    const peer = new HttpPeer(origin.address)
    const readBack: unknown[] = []
    const { reply } = await through(
      {
        upstreamPeer: () => peer,
        upstreamRequestFilter: (session, request: RequestHeader) => {
          readBack.push(request.headers.get('X-ONE'), request.headers.getAll('x-two'))
          request.method = 'PUT'
          request.target = '/other?q=1'
          request.host = 'other.example:81'
          request.headers.set('X-One', 'changed')
          request.headers.append('x-TWO', 'c')
          request.headers.delete('X-Three')
          request.headers.set('x-many', ['1', '2'])
          readBack.push(request.headers.get('x-one'), request.headers.has('x-three'), request.host)
          readBack.push(session.request.method, session.request.headers.get('x-one'))
        },
        upstreamResponseFilter: (_s, response: ResponseHeader) => {
          response.headers.append('set-cookie', 'c=3')
          response.headers.delete('x-gone')
        },
        responseFilter: (session, response: ResponseHeader) => {
          response.status = 203
          response.headers.set('X-Via', 'me')
          readBack.push(response.headers.getAll('SET-COOKIE'), session.response?.status)
        },
        logging: (session) => {
          readBack.push(session.response?.status, session.response?.headers.getAll('set-cookie').length)
        },
      },
      get('/path', { 'x-one': '1', 'x-two': 'a', 'X-TWO': 'b', 'x-three': '3' }),
    )
    const seen = origin.seen[0]!
    expect([seen.method, seen.url, seen.header('host')]).toEqual(['PUT', '/other?q=1', 'other.example:81'])
    const values = (name: string) =>
      seen.headers.filter(([key]) => key.toLowerCase() === name).map(([, value]) => value)
    expect([values('x-one'), values('x-two'), values('x-three'), values('x-many')]).toEqual([
      ['changed'],
      ['a', 'b', 'c'],
      [],
      ['1', '2'],
    ])
    expect([reply.status, reply.header('x-via'), reply.header('x-gone'), reply.header('x-kept')]).toEqual([
      203,
      'me',
      undefined,
      '1',
    ])
    expect(reply.all('set-cookie')).toEqual(['a=1', 'b=2', 'c=3'])
    await until(() => readBack.length >= 11)
    expect(readBack).toEqual([
      '1',
      ['a', 'b'],
      'changed',
      false,
      'other.example:81',
      'GET',
      '1',
      ['a=1', 'b=2', 'c=3'],
      203,
      203,
      3,
    ])
  })

  test('names and values that are not valid are refused by name', async () => {
    const origin = await startOrigin()
    const peer = new HttpPeer(origin.address)
    const refused: string[] = []
    const attempt = (run: () => void) => {
      try {
        run()
        refused.push('accepted')
      } catch (error) {
        refused.push(error instanceof UsageError ? `${error.code} ${error.message}` : String(error))
      }
    }
    const { reply } = await through(
      {
        upstreamPeer: () => peer,
        upstreamRequestFilter: (_s, request: RequestHeader) => {
          attempt(() => request.headers.set('bad name', 'x'))
          attempt(() => request.headers.append('x-value', 'a\r\nx-smuggled: 1'))
          attempt(() => request.headers.set('transfer-encoding', 'chunked'))
          attempt(() => {
            request.target = '/a b'
          })
          attempt(() => {
            request.target = '/é'
          })
          attempt(() => {
            request.target = '*'
          })
          attempt(() => {
            request.method = 'G T'
          })
          attempt(() => {
            request.host = 'a/b'
          })
        },
        responseFilter: (_s, response: ResponseHeader) => {
          attempt(() => {
            response.status = 99
          })
        },
      },
      get('/same'),
    )
    expect(reply.status).toBe(200)
    const named = ['bad name', 'x-value', 'transfer-encoding', '/a b', '/é', 'target *', 'G T', 'a/b', '99']
    expect(refused.length).toBe(named.length)
    for (const [index, name] of named.entries()) {
      expect(refused[index]).toMatch(/^INVALID_HEADER/)
      expect(refused[index]).toContain(name)
    }
    expect(origin.seen[0]?.url).toBe('/same')
    expect(origin.seen[0]?.header('x-smuggled')).toBeUndefined()
  })
})

test('edits of a phase that failed are dropped', async () => {
  const origin = await startOrigin()
  const peers = [new HttpPeer(origin.address)]
  const { to } = await startProxy({
    upstreamPeer: peers[0]!,
    upstreamResponseFilter: (_s, response) => response.headers.set('x-one', '1'),
    responseFilter: (_s, response) => {
      response.headers.set('x-two', '2')
      throw new Error('no')
    },
  })
  const reply = await once(to, get('/'))
  expect([reply.status, reply.header('x-one'), reply.header('x-two')]).toEqual([500, undefined, undefined])
})

test('an answer keeps each set-cookie, and HEAD gets its length but no body', async () => {
  const { to } = await startProxy({
    upstreamPeer: new HttpPeer(DEAD),
    requestFilter: () => ({ status: 200, headers: { 'Set-Cookie': ['a=1', 'b=2'] }, body: 'hello' }),
  })
  const client = await Client.connect(to)
  const head = await client.ask(get('/', {}, 'HEAD'))
  expect([head.header('content-length'), head.body]).toEqual(['5', ''])
  const full = await client.ask(get('/'))
  expect([full.body, full.all('set-cookie')]).toEqual(['hello', ['a=1', 'b=2']])
  await client.end()
})
