// Several objects with phases that make up one proxy.
import { gzipSync } from 'node:zlib'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import {
  type AnyPart,
  definePart,
  HttpPeer,
  HttpProxy,
  PHASES,
  ProxyError,
  type ProxyPart,
  type ResponseHeader,
  type Session,
} from '../ts/index.js'
import { Client, get, once, post } from './support/client.js'
import { DEAD, startOrigin } from './support/origin.js'
import { startProxy, until } from './support/proxy.js'
import { wrongPaths } from './support/refusals.js'

const INWARDS = [
  'earlyRequestFilter',
  'requestFilter',
  'proxyUpstreamFilter',
  'upstreamPeer',
  'connectedToUpstream',
  'upstreamRequestFilter',
]

/** A part that notes each of its phases, under its own name, and finds its own context in each. */
function recording(name: string, calls: string[], own: AnyPart = {}, isAsync = false): AnyPart {
  const part: Record<string, unknown> = { newCtx: () => ({ name }) }
  for (const phase of PHASES) {
    if (phase === 'newCtx' || (phase === 'upstreamPeer' && own.upstreamPeer === undefined)) continue
    const run = (...args: unknown[]) => {
      expect(args.at(-1)).toEqual({ name })
      calls.push(`${name}.${phase}`)
      return (own[phase] as ((...args: unknown[]) => unknown) | undefined)?.apply(part, args)
    }
    part[phase] = isAsync ? async (...args: unknown[]) => run(...args) : run
  }
  return part as AnyPart
}

describe.each([
  ['sync', false],
  ['async', true],
])('%s', (_name, isAsync) => {
  test('on the way in they run in order, on the way out in reverse', async () => {
    const origin = await startOrigin((_seen, res) => {
      res.writeHead(200, { trailer: 'x-sum' })
      res.write('body')
      res.addTrailers({ 'x-sum': '1' })
      res.end()
    })
    const calls: string[] = []
    const peer = new HttpPeer(origin.address)
    const { to } = await startProxy([
      recording('a', calls, {}, isAsync),
      recording('b', calls, { upstreamPeer: () => peer }, isAsync),
      recording('c', calls, {}, isAsync),
    ])
    const reply = await once(to, get('/', { te: 'trailers', connection: 'te' }))
    expect(reply.body).toBe('body')
    await until(() => calls.includes('a.logging'))
    for (const phase of new Set(calls.map((call) => call.slice(2)))) {
      const parts = calls.filter((call) => call.slice(2) === phase).map((call) => call[0])
      const rounds = parts.join('').replace(/^(.+?)\1*$/, '$1')
      const ours = phase === 'upstreamPeer' ? 'b' : INWARDS.includes(phase) ? 'abc' : 'cba'
      expect([phase, rounds]).toEqual([phase, ours])
    }
    const once2 = calls.filter((call, at) => calls.indexOf(call) === at)
    expect(once2.slice(0, 10)).toEqual(
      ['early', 'request', 'proxyUpstream']
        .flatMap((p) => ['a', 'b', 'c'].map((n) => expect.stringMatching(new RegExp(`${n}\\.${p}.*Filter`))))
        .concat('b.upstreamPeer'),
    )
    expect(once2.map((call) => call.slice(2))).toContain('responseTrailerFilter')
  })

  test('they run until one answers, and all of them log it', async () => {
    const calls: string[] = []
    const { to } = await startProxy([
      recording('a', calls, {}, isAsync),
      recording('b', calls, { requestFilter: (session) => session.respond(401) }, isAsync),
      recording('c', calls, { upstreamPeer: () => new HttpPeer(DEAD) }, isAsync),
    ])
    expect((await once(to, get('/'))).status).toBe(401)
    await until(() => calls.includes('a.logging'))
    expect(calls).toEqual([
      'a.earlyRequestFilter',
      'b.earlyRequestFilter',
      'c.earlyRequestFilter',
      'a.requestFilter',
      'b.requestFilter',
      'c.logging',
      'b.logging',
      'a.logging',
    ])
  })

  test('the first that decides of a failed connect is the last that is asked, from the inside out', async () => {
    const origin = await startOrigin()
    const calls: string[] = []
    const peers = [new HttpPeer(DEAD), new HttpPeer(origin.address)]
    const { to } = await startProxy([
      recording('a', calls, { failToConnect: () => 'fail' }, isAsync),
      recording('b', calls, { failToConnect: () => 'retry', upstreamPeer: () => peers.shift()! }, isAsync),
      recording('c', calls, {}, isAsync),
    ])
    expect((await once(to, get('/'))).status).toBe(200)
    expect(calls.filter((call) => call.endsWith('failToConnect'))).toEqual([
      'c.failToConnect',
      'b.failToConnect',
    ])
  })

  test('the first error page is the one, from the inside out', async () => {
    const calls: string[] = []
    const page = (status: number) => ({ failToProxy: () => ({ status, body: 'own' }) })
    const { to } = await startProxy([
      recording('a', calls, page(500), isAsync),
      recording('b', calls, page(503), isAsync),
      recording('c', calls, { upstreamPeer: () => new HttpPeer(DEAD) }, isAsync),
    ])
    const reply = await once(to, get('/'))
    expect([reply.status, reply.body]).toEqual([503, 'own'])
    expect(calls.filter((call) => call.endsWith('failToProxy'))).toEqual(['c.failToProxy', 'b.failToProxy'])
  })

  test('bodies are piped through the parts, and what one drops or ends the next sees so', async () => {
    const origin = await startOrigin()
    const seen: [string, string, boolean][] = []
    const mark = (name: string) => ({
      requestBodyFilter: (_s: Session, chunk: Buffer, end: boolean) => {
        seen.push([name, chunk.toString(), end])
        return `${chunk}${chunk.length === 0 ? '' : name}`
      },
      responseBodyFilter: (_s: Session, chunk: Buffer) =>
        chunk.length === 0 ? undefined : `${chunk}${name}`,
    })
    const { to } = await startProxy([
      recording('a', [], mark('a'), isAsync),
      recording('b', [], { ...mark('b'), upstreamPeer: () => new HttpPeer(origin.address) }, isAsync),
      recording('c', [], { requestBodyFilter: () => ({ chunk: 'short', end: true }) }, isAsync),
      recording('d', [], mark('d'), isAsync),
    ])
    expect((await once(to, post('/', 'text'))).body).toBe('POST / shortddba')
    expect(seen[0]![1]).toBe('text')
    expect(seen.filter(([name]) => name === 'd')).toEqual([['d', 'short', true]])
    expect(origin.seen[0]!.header('content-length') ?? 'chunked').toBe('chunked')
  })

  test('a piece that one drops is not shown to the next', async () => {
    const origin = await startOrigin()
    const shown: string[] = []
    const { to } = await startProxy([
      recording('a', [], { requestBodyFilter: (_s, _chunk, end) => (end ? 'all' : null) }, isAsync),
      recording(
        'b',
        [],
        {
          requestBodyFilter: (_s, chunk) => void shown.push(String(chunk)),
          upstreamPeer: () => new HttpPeer(origin.address),
        },
        isAsync,
      ),
    ])
    const body = 'x'.repeat(300_000)
    expect((await once(to, post('/', body))).body).toBe('POST / all')
    expect(shown).toEqual(['all'])
  })

  test('each sees the edits of those before it, in the head as in the trailers', async () => {
    const origin = await startOrigin((seen, res) => {
      res.writeHead(200, { 'x-in': seen.header('x-in') ?? '', trailer: 'x-t' })
      res.write('b')
      res.addTrailers({ 'x-t': '0' })
      res.end()
    })
    const part = (name: string): AnyPart => ({
      upstreamRequestFilter: (_s, request) =>
        request.headers.set('x-in', `${request.headers.get('x-in') ?? ''}${name}`),
      responseFilter: (_s, response) => {
        response.headers.set('x-out', `${response.headers.get('x-out') ?? ''}${name}`)
      },
      responseTrailerFilter: (_s, trailers) => trailers.set('x-t', `${trailers.get('x-t')}${name}`),
    })
    const { to } = await startProxy([
      recording('a', [], part('a'), isAsync),
      recording('b', [], { ...part('b'), upstreamPeer: () => new HttpPeer(origin.address) }, isAsync),
    ])
    const client = await Client.connect(to)
    client.write(get('/', { te: 'trailers', connection: 'te, close' }))
    const text = await client.rest()
    expect(text).toMatch(/x-in: ab\r\n/)
    expect(text).toMatch(/x-out: ba\r\n/)
    expect(text).toMatch(/\r\nx-t: 0ba\r\n/)
  })
})

test('all parts share the crossings of one', async () => {
  // Without a body, which may come in one piece or in two.
  const origin = await startOrigin((_seen, res) => res.writeHead(204).end())
  const peer = new HttpPeer(origin.address)
  const plain = (own: AnyPart = {}) => recording('a', [], own)
  const count = async (phases: AnyPart | AnyPart[]) => {
    const { to, environment } = await startProxy(phases as AnyPart[])
    const client = await Client.connect(to)
    // That it closes is told in an item of its own.
    onTestFinished(() => client.end())
    const before = environment.native.stats().items
    await client.ask(get('/'))
    await until(() => environment.crossing.sessions === 0)
    return environment.native.stats().items - before
  }
  const one = await count(plain({ upstreamPeer: () => peer }))
  const five = await count([plain(), plain(), plain({ upstreamPeer: () => peer }), plain(), plain()])
  // The request, the connection, the response, and the end.
  expect([one, five]).toEqual([4, 4])
})

test('a part that is sync stays sync', async () => {
  const origin = await startOrigin()
  const order: string[] = []
  const part = (name: string): AnyPart => ({
    requestFilter: () => {
      order.push(name)
      queueMicrotask(() => order.push(`after ${name}`))
    },
  })
  const { to } = await startProxy([part('a'), { ...part('b'), upstreamPeer: new HttpPeer(origin.address) }])
  await once(to, get('/'))
  expect(order).toEqual(['a', 'b', 'after a', 'after b'])
})

test('a throw names the phase, ends the request, and the log is told by all parts', async () => {
  const logged: unknown[] = []
  const log = (error: ProxyError | undefined) => void logged.push(error?.phase, error?.code)
  let reached = false
  const { to } = await startProxy([
    {
      requestFilter: () => Promise.reject(new ProxyError({ status: 429, message: 'slower' })),
      logging: (_s, error) => log(error),
    },
    {
      upstreamPeer: () => {
        reached = true
        return new HttpPeer(DEAD)
      },
      logging: (_s, error) => log(error),
    },
  ])
  expect((await once(to, get('/'))).status).toBe(429)
  await until(() => logged.length === 4)
  expect(logged).toEqual(['requestFilter', 'PHASE_FAILED', 'requestFilter', 'PHASE_FAILED'])
  expect(reached).toBe(false)
})

test('a logging that throws or rejects does not keep the others from it', async () => {
  const origin = await startOrigin()
  const logged: string[] = []
  const { to, lines, environment } = await startProxy([
    { logging: () => void logged.push('a') },
    { logging: () => Promise.reject(new Error('late')) },
    {
      logging: () => {
        throw new Error('at once')
      },
    },
    {
      logging: async (session) => {
        await null
        logged.push(session.summary())
      },
      upstreamPeer: new HttpPeer(origin.address),
    },
  ])
  await once(to, get('/x'))
  await until(() => environment.crossing.sessions === 0 && logged.length === 2)
  expect(logged).toEqual(['a', expect.stringContaining('/x 200')])
  expect(lines.filter((line) => line.startsWith('error logging failed'))).toHaveLength(2)
})

test("the body is changed by each part that wants to, the inner first, and filterBody is the part's own", async () => {
  const origin = await startOrigin((_seen, res) => {
    res.setHeader('content-encoding', 'gzip')
    res.end(gzipSync('text'))
  })
  const seen: string[] = []
  const { to } = await startProxy([
    {
      responseFilter: (_s, response) => response.transformBody({}, (whole) => `[${whole}]`),
      responseBodyFilter: () => void seen.push('outer'),
    },
    {
      responseFilter: (_s, response) => {
        response.body = (stream) =>
          stream.pipeThrough(
            new TransformStream({
              transform: (chunk, controller) =>
                controller.enqueue(Buffer.from(String(Buffer.from(chunk)).toUpperCase())),
            }),
          )
      },
    },
    {
      responseFilter: (_s, response: ResponseHeader) => {
        response.filterBody = false
        response.transformBody({}, (whole) => `<${whole}>`)
      },
      responseBodyFilter: () => void seen.push('inner'),
      upstreamPeer: new HttpPeer(origin.address),
    },
  ])
  const reply = await once(to, get('/'))
  expect(reply.body).toBe('[<TEXT>]')
  expect(reply.header('content-length')).toBe('8')
  expect(new Set(seen)).toEqual(new Set(['outer']))
})

test('a long body passes a chain of streams', async () => {
  const size = 3_000_000
  const origin = await startOrigin((_seen, res) => res.end('x'.repeat(size)))
  const through = (from: string, to: string): AnyPart => ({
    responseFilter: (_s, response) => {
      response.body = (stream) =>
        stream.pipeThrough(
          new TransformStream({
            transform: (chunk, controller) =>
              controller.enqueue(Buffer.from(Buffer.from(chunk).toString().replaceAll(from, to))),
          }),
        )
    },
  })
  const { to } = await startProxy([
    through('y', 'z'),
    { ...through('x', 'y'), upstreamPeer: new HttpPeer(origin.address) },
  ])
  const { body } = await once(to, get('/'))
  expect([body.length, new Set(body)]).toEqual([size, new Set('z')])
})

test('a part has its own object as `this`, and its functions are looked up at each call', async () => {
  class Part implements ProxyPart {
    readonly name = 'part'
    requestFilter(session: Session) {
      session.respond({ status: 200, body: this.name })
    }
  }
  const part = new Part()
  const { to } = await startProxy([part, { upstreamPeer: new HttpPeer(DEAD) }])
  expect((await once(to, get('/'))).body).toBe('part')
  vi.spyOn(part, 'requestFilter').mockImplementation((session) => session.respond(204))
  expect((await once(to, get('/'))).status).toBe(204)
})

test('a newCtx that throws is the failure of the request, and no phase runs', async () => {
  let ran = false
  const { to } = await startProxy([
    {
      newCtx: () => {
        throw new Error('no context')
      },
      requestFilter: () => {
        ran = true
      },
    },
    { upstreamPeer: new HttpPeer(DEAD) },
  ])
  expect((await once(to, get('/'))).status).toBe(500)
  expect(ran).toBe(false)
})

test('what is wrong with a part is named with its place', () => {
  const upstreamPeer = new HttpPeer(DEAD)
  const make = (parts: unknown) => wrongPaths(() => new HttpProxy(parts as AnyPart[]))
  expect(make([{}, { upstreamPeer, requestFilter: 1 }])).toEqual(['phases[1].requestFilter'])
  expect(make([{ requestFiltr() {} }, { upstreamPeer }])).toEqual(['phases[0].requestFiltr'])
  expect(make([{ upstreamPeer }, {}, { upstreamPeer: () => upstreamPeer }])).toEqual([
    'phases[2].upstreamPeer',
  ])
  expect(make([{ requestFilter() {} }])).toEqual(['phases'])
  expect(make([])).toEqual(['phases'])
  expect(make([null, [{}], { upstreamPeer }])).toEqual(['phases[0]', 'phases[1]'])
  expect(make([{ scope: 1 }, { upstreamPeer }])).toEqual(['phases[0].scope'])
  expect(make([definePart({ newCtx: () => 1 }), { upstreamPeer }])).toEqual([])
})
