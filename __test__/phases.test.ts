import { describe, expect, test } from 'vitest'
import {
  type Answer,
  type AnyPhases,
  HttpPeer,
  ProxyError,
  type ResponseHeader,
  type Session,
} from '../ts/index.js'
import { get, once, post } from './support/client.js'
import { DEAD, startOrigin, startRaw } from './support/origin.js'
import { startProxy, until } from './support/proxy.js'
import { WAYS_TO_WRITE } from './support/recorder.js'

const dead = new HttpPeer(DEAD)

const REQUEST_SIDE = ['newCtx', 'earlyRequestFilter', 'requestFilter', 'proxyUpstreamFilter', 'upstreamPeer']
const CONNECTED = ['connectedToUpstream', 'upstreamRequestFilter']
const RESPONSE_SIDE = [
  'upstreamResponseFilter',
  'responseFilter',
  'upstreamResponseBodyFilter',
  'responseBodyFilter',
]

/** The calls, where a body that comes in several pieces counts as one. */
const inOrder = (calls: string[]) =>
  calls.filter((name, at) => !(name.endsWith('BodyFilter') && calls.indexOf(name) < at))

describe.each(WAYS_TO_WRITE)('%s', (_name, through) => {
  test('they run in order', async () => {
    const origin = await startOrigin()
    const peer = new HttpPeer(origin.address)
    const { reply, calls } = await through({ upstreamPeer: () => peer }, get('/a?b'))
    expect([reply.status, reply.body]).toEqual([200, 'GET /a?b '])
    expect(inOrder(calls)).toEqual([...REQUEST_SIDE, ...CONNECTED, ...RESPONSE_SIDE, 'logging'])
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
    expect(inOrder(calls)).toEqual([
      ...REQUEST_SIDE,
      'failToConnect',
      'upstreamPeer',
      ...CONNECTED,
      'requestBodyFilter',
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
    expect(inOrder(calls)).toEqual([
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
