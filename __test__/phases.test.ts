import { describe, expect, test } from 'vitest'
import {
  type Answer,
  type AnyPhases,
  HttpPeer,
  type PhaseName,
  ProxyError,
  type RequestHeader,
  type ResponseHeader,
  type Session,
  UsageError,
} from '../ts/index.js'
import { PHASES } from '../ts/phases.js'
import { Client, get, once, post, type Reply } from './support/client.js'
import { DEAD, startOrigin, startRaw } from './support/origin.js'
import { startProxy, until } from './support/proxy.js'

const dead = new HttpPeer(DEAD)

/** What a phase does in a test; undefined: nothing. */
type Script = Partial<Record<PhaseName, (session: Session, ...args: never[]) => unknown>>

/** All phases; each notes its name, then does what the script says. */
class Recorder {
  calls: string[] = []
  readonly #script: Script
  readonly #isAsync: boolean

  constructor(script: Script, isAsync: boolean) {
    this.#script = script
    this.#isAsync = isAsync
  }

  run(name: PhaseName, args: unknown[]): never {
    this.calls.push(name)
    const act = () => this.#script[name]?.(...(args as [Session, ...never[]]))
    if (!this.#isAsync || name === 'newCtx') return act() as never
    return Promise.resolve()
      .then(() => null)
      .then(act) as never
  }

  newCtx(...args: unknown[]): unknown {
    return this.run('newCtx', args)
  }
  earlyRequestFilter(...args: unknown[]): Promise<void> {
    return this.run('earlyRequestFilter', args)
  }
  requestFilter(...args: unknown[]): Answer | undefined {
    return this.run('requestFilter', args)
  }
  proxyUpstreamFilter(...args: unknown[]): Answer | undefined {
    return this.run('proxyUpstreamFilter', args)
  }
  upstreamPeer(...args: unknown[]): HttpPeer {
    return this.run('upstreamPeer', args)
  }
  failToConnect(...args: unknown[]): 'retry' | 'fail' | undefined {
    return this.run('failToConnect', args)
  }
  connectedToUpstream(...args: unknown[]): Promise<void> {
    return this.run('connectedToUpstream', args)
  }
  upstreamRequestFilter(...args: unknown[]): Promise<void> {
    return this.run('upstreamRequestFilter', args)
  }
  upstreamResponseFilter(...args: unknown[]): Promise<void> {
    return this.run('upstreamResponseFilter', args)
  }
  responseFilter(...args: unknown[]): Answer | undefined {
    return this.run('responseFilter', args)
  }
  errorWhileProxy(...args: unknown[]): 'retry' | 'fail' | undefined {
    return this.run('errorWhileProxy', args)
  }
  failToProxy(...args: unknown[]): Answer | undefined {
    return this.run('failToProxy', args)
  }
  logging(...args: unknown[]): Promise<void> {
    return this.run('logging', args)
  }
}

const REQUEST_SIDE = ['newCtx', 'earlyRequestFilter', 'requestFilter', 'proxyUpstreamFilter', 'upstreamPeer']
const CONNECTED = ['connectedToUpstream', 'upstreamRequestFilter']
const RESPONSE_SIDE = ['upstreamResponseFilter', 'responseFilter']

describe.each([
  ['sync phases of a class', false, false],
  ['async phases of a class', true, false],
  ['sync phases of a bag', false, true],
  ['async phases of a bag', true, true],
])('%s', (_name, isAsync, isBag) => {
  /** Sends one request through a proxy with this script: its answer, and which phases ran. */
  async function through(script: Script, request: string): Promise<{ reply: Reply; calls: string[] }> {
    const recorder = new Recorder(script, isAsync)
    const bag = () =>
      Object.fromEntries(
        PHASES.map((name) => [name, (...args: unknown[]) => recorder[name](...args)]),
      ) as unknown as AnyPhases
    const { to } = await startProxy(isBag ? bag() : recorder)
    const reply = await once(to, request)
    await until(() => recorder.calls.includes('logging'))
    return { reply, calls: recorder.calls }
  }

  test('they run in order', async () => {
    const origin = await startOrigin()
    const peer = new HttpPeer(origin.address)
    const { reply, calls } = await through({ upstreamPeer: () => peer }, get('/a?b'))
    expect([reply.status, reply.body]).toEqual([200, 'GET /a?b '])
    expect(calls).toEqual([...REQUEST_SIDE, ...CONNECTED, ...RESPONSE_SIDE, 'logging'])
  })

  test.each(['requestFilter', 'proxyUpstreamFilter'] as const)(
    'an answer of %s skips what is left of the request side',
    async (name) => {
      for (const answer of [(session: Session) => session.respond(403), () => 403]) {
        const { reply, calls } = await through({ [name]: answer, upstreamPeer: () => dead }, get('/'))
        expect(reply.status).toBe(403)
        expect(calls).toEqual([...REQUEST_SIDE.slice(0, REQUEST_SIDE.indexOf(name) + 1), 'logging'])
      }
    },
  )

  test('a retry after a failed connect asks for a peer again', async () => {
    const origin = await startOrigin()
    const peers = [dead, new HttpPeer(origin.address)]
    let failed: unknown[] = []
    const { reply, calls } = await through(
      {
        upstreamPeer: () => peers.shift(),
        failToConnect: (session, peer: HttpPeer, error: ProxyError) => {
          failed = [peer, error.code, error.canRetry, session.upstream]
          return 'retry'
        },
      },
      post('/', 'body'),
    )
    expect([reply.status, reply.body]).toEqual([200, 'POST / body'])
    expect(failed).toEqual([dead, 'CONNECT_REFUSED', true, undefined])
    expect(calls).toEqual([
      ...REQUEST_SIDE,
      'failToConnect',
      'upstreamPeer',
      ...CONNECTED,
      ...RESPONSE_SIDE,
      'logging',
    ])
  })

  test.each(['fail', undefined])(
    'a failed connect given up with %j leads to failToProxy',
    async (decision) => {
      const { reply, calls } = await through(
        { upstreamPeer: () => dead, failToConnect: () => decision },
        get('/'),
      )
      expect(reply.status).toBe(502)
      expect(calls).toEqual([...REQUEST_SIDE, 'failToConnect', 'failToProxy', 'logging'])
    },
  )

  test('failToProxy may answer', async () => {
    const { reply } = await through(
      {
        upstreamPeer: () => dead,
        failToProxy: (_s, error: ProxyError) => ({ status: 299, body: error.code }),
      },
      get('/'),
    )
    expect([reply.status, reply.body]).toEqual([299, 'CONNECT_REFUSED'])
  })

  test('a retry after a failed exchange asks for a peer again', async () => {
    const broken = await startRaw((socket) => socket.once('data', () => socket.destroy()))
    const origin = await startOrigin()
    const peers = [new HttpPeer(broken.address), new HttpPeer(origin.address)]
    const errors: unknown[] = []
    const { reply, calls } = await through(
      {
        upstreamPeer: () => peers.shift(),
        errorWhileProxy: (session, _peer, error: ProxyError) => {
          errors.push(error.code, error.canRetry, session.upstream?.attempt)
          return 'retry'
        },
      },
      get('/x'),
    )
    expect([reply.status, reply.body]).toEqual([200, 'GET /x '])
    expect(errors).toEqual(['UPSTREAM_CLOSED', true, 1])
    expect(calls).toEqual([
      ...REQUEST_SIDE,
      ...CONNECTED,
      'errorWhileProxy',
      'upstreamPeer',
      ...CONNECTED,
      ...RESPONSE_SIDE,
      'logging',
    ])
  })

  test('a failed exchange given up leads to failToProxy', async () => {
    const broken = await startRaw((socket) => socket.once('data', () => socket.destroy()))
    const peer = new HttpPeer(broken.address)
    const { reply, calls } = await through({ upstreamPeer: () => peer }, get('/'))
    expect(reply.status).toBe(502)
    expect(calls).toEqual([...REQUEST_SIDE, ...CONNECTED, 'errorWhileProxy', 'failToProxy', 'logging'])
  })

  test('a retry of a POST that may have been processed is refused', async () => {
    const broken = await startRaw((socket) => socket.once('data', () => socket.destroy()))
    const peer = new HttpPeer(broken.address)
    let logged: ProxyError | undefined
    const { reply, calls } = await through(
      {
        upstreamPeer: () => peer,
        errorWhileProxy: () => 'retry',
        logging: (_s, error: ProxyError) => {
          logged = error
        },
      },
      post('/', 'x'),
    )
    expect(reply.status).toBe(500)
    expect(broken.connections).toBe(1)
    expect(calls.slice(-3)).toEqual(['errorWhileProxy', 'failToProxy', 'logging'])
    await until(() => logged !== undefined)
    expect([logged?.code, logged?.phase]).toEqual(['RETRY_UNSAFE', 'errorWhileProxy'])
  })

  test.each([
    'earlyRequestFilter',
    'requestFilter',
    'proxyUpstreamFilter',
    'upstreamPeer',
    'connectedToUpstream',
    'upstreamRequestFilter',
    'upstreamResponseFilter',
    'responseFilter',
  ] as const)('a throw of %s leads to failToProxy', async (name) => {
    const origin = await startOrigin()
    const peer = new HttpPeer(origin.address)
    const boom = () => {
      throw new ProxyError({ status: 418, message: 'boom' })
    }
    const { reply, calls } = await through({ upstreamPeer: () => peer, [name]: boom }, get('/'))
    const all = [...REQUEST_SIDE, ...CONNECTED, ...RESPONSE_SIDE]
    const asked = REQUEST_SIDE.includes(name) ? [] : ['errorWhileProxy']
    expect(reply.status).toBe(418)
    expect(calls).toEqual([...all.slice(0, all.indexOf(name) + 1), ...asked, 'failToProxy', 'logging'])
  })

  test.each([
    ['connectedToUpstream', 'POST', true],
    ['upstreamRequestFilter', 'POST', true],
    ['upstreamResponseFilter', 'GET', true],
    ['responseFilter', 'GET', true],
    ['upstreamResponseFilter', 'POST', false],
    ['responseFilter', 'POST', false],
  ] as const)('%s may refuse an upstream; for %s, is another try safe? %s', async (name, method, safe) => {
    const [first, second] = [await startOrigin(), await startOrigin()]
    const peers = [new HttpPeer(first.address), new HttpPeer(second.address)]
    const asked: unknown[] = []
    let logged: unknown
    const { reply } = await through(
      {
        upstreamPeer: () => peers.shift(),
        [name]: (session: Session) => {
          if (session.upstream?.address === first.address)
            throw new ProxyError({ status: 418, message: 'not this one' })
        },
        errorWhileProxy: (session, peer: HttpPeer, error: ProxyError) => {
          asked.push(session.upstream?.address, peer.address, error.phase, error.status, error.canRetry)
          return error.canRetry ? 'retry' : 'fail'
        },
        logging: (session, error?: ProxyError) => {
          logged = [error?.code, session.summary().includes('PHASE_FAILED')]
        },
      },
      method === 'GET' ? get('/') : post('/', 'x'),
    )
    expect(asked).toEqual([first.address, first.address, name, 418, safe])
    expect([reply.status, second.seen.length]).toEqual(safe ? [200, 1] : [418, 0])
    await until(() => logged !== undefined)
    expect(logged).toEqual(safe ? [undefined, false] : ['PHASE_FAILED', true])
  })

  test('a request that is refused is logged, and meets no other phase', async () => {
    const { reply, calls } = await through(
      { upstreamPeer: () => dead },
      'GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n',
    )
    expect(reply.status).toBe(400)
    expect(calls).toEqual(['newCtx', 'logging'])
  })

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
    const named = ['bad name', 'x-value', 'transfer-encoding', '/a b', 'G T', 'a/b', '99']
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

test('logging runs once for each request, with bytes, times and the error', async () => {
  const origin = await startOrigin()
  const logs: { path: string; error: unknown; status: unknown; bytes: Session['bytes']; total: unknown }[] =
    []
  const { to } = await startProxy({
    upstreamPeer: new HttpPeer(origin.address),
    requestFilter: ({ request }) => {
      if (request.path === '/throw') throw new Error('x')
      return request.path === '/own' ? 202 : undefined
    },
    logging: (session, error) =>
      void logs.push({
        path: session.request.path,
        error: error?.code,
        status: session.response?.status,
        bytes: session.bytes,
        total: session.timings.totalMs,
      }),
  })
  const client = await Client.connect(to)
  const sent = post('/up', 'body')
  const reply = await client.ask(sent)
  expect(reply.body).toBe('POST /up body')
  await client.ask(get('/own'))
  await client.ask(get('/throw'))
  const length = reply.body.length
  const bad = await client.ask('GET /bad HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n')
  expect(bad.status).toBe(400)
  await client.closed
  for (const [request, status] of [
    ['garbage\r\n\r\n', 400],
    [`GET /big HTTP/1.1\r\nhost: a\r\nx: ${'y'.repeat(70_000)}\r\n\r\n`, 431],
    ['CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n', 405],
    ['GET / HTTP/3.7\r\nhost: a\r\n\r\n', 505],
  ] as const)
    expect((await once(to, request)).status).toBe(status)
  await until(() => logs.length >= 8)
  const seen = logs.map(({ path, error, status }) => [path, error, status])
  expect(seen).toEqual([
    ['/up', undefined, 200],
    ['/own', undefined, 202],
    ['/throw', 'PHASE_FAILED', 500],
    ['/bad', 'BAD_REQUEST', 400],
    [expect.anything(), 'BAD_REQUEST', 400],
    ['/big', 'HEADER_TOO_LARGE', 431],
    [expect.anything(), 'METHOD_NOT_ALLOWED', 405],
    ['/', 'VERSION_NOT_SUPPORTED', 505],
  ])
  expect(logs[0]?.bytes.received).toBe(sent.length)
  expect(logs[0]?.bytes.sent).toBeGreaterThan(length)
  for (const { total } of logs) expect(total).toBeGreaterThanOrEqual(0)
})

test('line 11: CONNECT and heads that cannot be parsed are logged too', async () => {
  const logs: unknown[] = []
  const { to } = await startProxy({
    upstreamPeer: dead,
    logging: (session, error) => void logs.push([session.request.method, error?.status]),
  })
  expect((await once(to, 'CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n')).status).toBe(405)
  expect((await once(to, 'GET / HTTP/1.1\r\nbad header\r\n\r\n')).status).toBe(400)
  await until(() => logs.length === 2)
  expect(logs).toEqual([
    ['CONNECT', 405],
    ['GET', 400],
  ])
})

test('an answer keeps each set-cookie, and HEAD gets its length but no body', async () => {
  const { to } = await startProxy({
    upstreamPeer: dead,
    requestFilter: () => ({ status: 200, headers: { 'Set-Cookie': ['a=1', 'b=2'] }, body: 'hello' }),
  })
  const client = await Client.connect(to)
  const head = await client.ask(get('/', {}, 'HEAD'))
  expect([head.header('content-length'), head.body]).toEqual(['5', ''])
  const full = await client.ask(get('/'))
  expect([full.body, full.all('set-cookie')]).toEqual(['hello', ['a=1', 'b=2']])
  await client.end()
})

test('responseFilter runs on answers of our own only with filterOwnResponses', async () => {
  for (const filterOwnResponses of [false, true]) {
    const { to } = await startProxy(
      {
        upstreamPeer: dead,
        requestFilter: () => 204,
        responseFilter: (_s, response) => response.headers.set('x-filtered', 'yes'),
      },
      { filterOwnResponses },
    )
    const reply = await once(to, get('/'))
    expect(reply.header('x-filtered')).toBe(filterOwnResponses ? 'yes' : undefined)
  }
})

test('a context is the request’s own', async () => {
  const origin = await startOrigin()
  const logs: unknown[] = []
  let made = 0
  const phases = {
    newCtx: () => ({ number: ++made, seen: [] as string[] }),
    upstreamPeer: new HttpPeer(origin.address),
    requestFilter: (_s: Session, ctx: { seen: string[] }) => void ctx.seen.push('filter'),
    responseFilter: async (_s: Session, _r: ResponseHeader, ctx: { seen: string[] }) =>
      void ctx.seen.push('response'),
    logging: (_s: Session, _e: unknown, ctx: unknown) => void logs.push(ctx),
  }
  const { to } = await startProxy(phases)
  await once(to, get('/'))
  await once(to, get('/'))
  await until(() => logs.length === 2)
  expect(logs).toEqual([
    { number: 1, seen: ['filter', 'response'] },
    { number: 2, seen: ['filter', 'response'] },
  ])
})

test('retries stop at maxRetries', async () => {
  for (const maxRetries of [0, 2]) {
    let asked = 0
    const { to } = await startProxy(
      {
        upstreamPeer: () => {
          asked++
          return dead
        },
        failToConnect: () => 'retry',
      },
      { maxRetries },
    )
    expect((await once(to, get('/'))).status).toBe(502)
    expect(asked).toBe(maxRetries + 1)
  }
})

test('misspelt phases are refused, in a bag and on a class', async () => {
  class Misspelt {
    upstreamPeer = dead
    request_filter() {}
  }
  const bag = { upstreamPeer: dead, requestFiltr() {} } as AnyPhases
  await expect(startProxy(new Misspelt())).rejects.toThrow(/request_filter: .*did you mean requestFilter\?/)
  await expect(startProxy(bag)).rejects.toThrow(/requestFiltr: .*did you mean requestFilter\?/)
})

test('a phase can be replaced while the proxy runs, and this is the object', async () => {
  const phases = {
    status: 201,
    upstreamPeer: dead,
    requestFilter(): Answer {
      return 200
    },
  }
  const instance = Object.create(phases) as typeof phases
  const { to } = await startProxy(instance as AnyPhases)
  expect((await once(to, get('/'))).status).toBe(200)
  instance.requestFilter = function () {
    return this.status
  }
  expect((await once(to, get('/'))).status).toBe(201)
})
