// What `inject` sends, tells and refuses.
import { spawnSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { expect, test, vi } from 'vitest'
import {
  definePart,
  definePhases,
  HttpPeer,
  HttpProxy,
  Server,
  type Session,
  UsageError,
} from '../ts/index.js'
import { type InjectRequest, inject } from '../ts/testing/index.js'

const peer = new HttpPeer('http://10.1.2.3:81')
const gateway = { upstreamPeer: peer }

test('a request goes through the phases to upstream and back', async () => {
  const phases = definePhases({
    newCtx: () => ({ seen: [] as string[] }),
    requestFilter: (session, { seen }) => void seen.push(session.request.path),
    upstreamPeer: () => peer,
    upstreamRequestFilter: (_session, { headers }) => headers.set('X-Via', 'millrace'),
    responseFilter: async (_session, { headers }, { seen }) => {
      headers.set('x-seen', seen.join())
    },
  })
  const r = await inject(phases, {
    method: 'PUT',
    target: '/a/b?c=d',
    headers: { 'X-One': '1', 'x-two': ['2', '3'], host: 'api.example' },
    body: 'hello',
    upstream: async (request, sent) => {
      expect([request.method, request.url]).toEqual(['PUT', 'http://api.example/a/b?c=d'])
      expect(request.headers.get('x-two')).toBe('2, 3')
      expect(sent.number).toBe(1)
      return Response.json({ got: await request.text() }, { status: 201, headers: { 'x-origin': 'yes' } })
    },
  })
  expect([r.response.status, r.response.complete]).toEqual([201, true])
  expect(r.response.json()).toEqual({ got: 'hello' })
  expect(r.response.headers.get('x-seen')).toBe('/a/b')
  expect(r.response.headers.get('x-origin')).toBe('yes')
  expect(r.response.headers.get('content-length')).toBe('15')
  expect(r.phases.map(({ phase, outcome }) => `${phase}: ${outcome}`)).toEqual([
    'newCtx: next',
    'requestFilter: next',
    'upstreamPeer: peer',
    'upstreamRequestFilter: next',
    'responseFilter: next',
  ])
  expect(r.skipped).toEqual([])
  expect(r.ctx).toEqual({ seen: ['/a/b'] })
  expect(r.error).toBeUndefined()
  expect(r.peer).toBe(peer)
  expect(r.log).toEqual([])
  const sent = r.upstreamRequest!
  expect(sent).toMatchObject({ method: 'PUT', target: '/a/b?c=d', host: 'api.example', version: '1.1' })
  expect(sent).toMatchObject({ number: 1, address: '10.1.2.3:81', peer, complete: true })
  expect([sent.text(), sent.bytes().length]).toEqual(['hello', 5])
  expect(sent.rawHeaders).toContainEqual(['X-One', '1'])
  expect(sent.rawHeaders.filter(([name]) => name === 'x-two')).toEqual([['x-two', '2'], ['x-two', '3']]) // biome-ignore format: short
  expect(sent.headers.get('x-via')).toBe('millrace')
  expect(sent.headers.get('x-forwarded-for')).toBe('127.0.0.1')
  expect(r.upstreamRequests).toEqual([sent])
})

test('upstream is a plain 200 unless it is given, and may be of many forms', async () => {
  const text = async (upstream: InjectRequest['upstream']) => {
    const { response } = await inject(gateway, upstream === undefined ? {} : { upstream })
    return `${response.status} ${response.text()}`
  }
  expect(await text(undefined)).toBe('200 ')
  expect(await text(() => 204)).toBe('204 ')
  expect(await text(() => ({ body: 'plain' }))).toBe('200 plain')
  expect(await text(() => ({ status: 404, body: Buffer.from('bytes') }))).toBe('404 bytes')
  expect(await text(() => Promise.resolve(new Response('web', { status: 500 })))).toBe('500 web')
  expect(await text([{ status: 418, body: 'of a list' }])).toBe('418 of a list')
  async function* pieces() {
    yield 'one '
    await new Promise((resolve) => setImmediate(resolve))
    yield Buffer.from('two')
  }
  expect(await text(() => ({ body: pieces() }))).toBe('200 one two')
})

test('trailers and interim responses come through', async () => {
  const r = await inject(gateway, {
    headers: { te: 'trailers' },
    upstream: () => ({
      body: 'x',
      trailers: { 'x-sum': '1' },
      interims: [{ status: 103, headers: { link: '</a.css>; rel=preload' } }],
    }),
  })
  expect(r.response.trailers.get('x-sum')).toBe('1')
  const [hints] = r.response.interims
  expect([hints!.status, hints!.headers.get('link')]).toEqual([103, '</a.css>; rel=preload'])
  expect(r.response.text()).toBe('x')
})

test.each(['h1', 'h2'] as const)('clients of %s reach origins of both versions', async (version) => {
  for (const protocol of ['h1', 'h2'] as const) {
    const versions: string[] = []
    const r = await inject(
      {
        upstreamPeer: new HttpPeer('http://10.0.0.1', { protocol }),
        requestFilter: ({ request }) => void versions.push(request.version),
      },
      {
        version,
        method: 'POST',
        target: '/x',
        headers: { host: 'a.example', 'x-a': '1', te: 'trailers' },
        body: 'abc',
        upstream: async (request) => ({ body: `got ${await request.text()}`, trailers: { 'x-end': '1' } }),
      },
    )
    expect(versions).toEqual([version === 'h1' ? '1.1' : '2'])
    expect([r.response.status, r.response.text(), r.response.complete]).toEqual([200, 'got abc', true])
    expect(r.response.trailers.get('x-end')).toBe('1')
    expect(r.upstreamRequest).toMatchObject({ version: protocol === 'h1' ? '1.1' : '2', host: 'a.example' })
    expect([r.upstreamRequest!.headers.get('x-a'), r.upstreamRequest!.text()]).toEqual(['1', 'abc'])
    expect(r.error).toBeUndefined()
  }
})

test('bodies without a length are sent in chunks, and empty ones of methods that have one as such', async () => {
  const framing = async (request: InjectRequest) => {
    const { headers } = (await inject(gateway, request)).upstreamRequest!
    return [headers.get('content-length'), headers.get('transfer-encoding')]
  }
  expect(await framing({ method: 'POST', body: ['a', 'b'] })).toEqual([null, 'chunked'])
  expect(await framing({ method: 'POST', body: 'ab' })).toEqual(['2', null])
  expect(await framing({ method: 'POST' })).toEqual(['0', null])
  expect(await framing({})).toEqual([null, null])
  expect(await framing({ method: 'POST', body: new Response('web').body! })).toEqual([null, 'chunked'])
})

test('the client has the address and the handshake that it is given', async () => {
  const seen: unknown[] = []
  const look = definePhases({
    upstreamPeer: peer,
    upstreamRequestFilter({ client, tls }, { headers }) {
      const scheme = headers.get('x-forwarded-proto')
      seen.push([client.host, client.port, tls?.version, tls?.serverName, tls?.alpn, scheme])
    },
  })
  await inject(look)
  await inject(look, { client: '203.0.113.9' })
  await inject(look, { client: '[2001:db8::1]:99', tls: true })
  await inject(look, { tls: { version: 'TLSv1.2', serverName: 'a.example' }, version: 'h2' })
  expect(seen).toEqual([
    ['127.0.0.1', 50000, undefined, undefined, undefined, 'http'],
    ['203.0.113.9', 50000, undefined, undefined, undefined, 'http'],
    ['2001:db8::1', 99, 'TLSv1.3', undefined, 'http/1.1', 'https'],
    ['127.0.0.1', 50000, 'TLSv1.2', 'a.example', 'h2', 'https'],
  ])
})

test('an origin that would be spoken to over TLS is stood for too', async () => {
  const secure = new HttpPeer('https://origin.example', { host: 'peer' })
  const r = await inject({ upstreamPeer: secure }, { upstream: (request) => new Response(request.url) })
  expect(r.response.text()).toBe('https://origin.example/')
  expect([r.peer, r.upstreamRequest!.address]).toEqual([secure, 'origin.example:443'])
})

test('an HttpProxy keeps its options and routes, and may serve beside', async () => {
  const other = new HttpPeer('10.0.0.9:80')
  const proxy = new HttpProxy(
    { upstreamPeer: peer },
    {
      maxHeaderBytes: 1_024,
      routes: [
        { match: { path: '/other/*' }, upstreamPeer: other },
        { match: { path: '/fixed' }, respond: { status: 203, body: 'a value' } },
        {
          match: { path: '/own' },
          phases: { upstreamPeer: peer, requestFilter: () => 202, newCtx: () => 7 },
        },
      ],
    },
  )
  await using server = new Server({ logger: false })
  server.addService(proxy).addTcp('127.0.0.1:0')
  await server.start()
  expect((await inject(proxy, { target: '/a' })).peer).toBe(peer)
  expect((await inject(proxy, { target: '/other/a' })).peer).toBe(other)
  const fixed = await inject(proxy, { target: '/fixed' })
  expect([fixed.response.status, fixed.response.text(), fixed.peer]).toEqual([203, 'a value', undefined])
  const own = await inject<number>(proxy, { target: '/own' })
  expect([own.response.status, own.ctx, own.skipped]).toEqual([202, 7, []])
  const large = await inject(proxy, { headers: { 'x-large': 'x'.repeat(2_000) } })
  expect([large.response.status, large.error?.code]).toEqual([431, 'HEADER_TOO_LARGE'])
  expect((await fetch(`${proxy.endpoints[0]!.url}/fixed`)).status).toBe(203)
})

test('phases are given options beside, and values may stand in their place', async () => {
  const r = await inject({ upstreamPeer: peer }, {}, { requestHeaders: { set: { 'x-set': '1' } } })
  expect(r.upstreamRequest!.headers.get('x-set')).toBe('1')
  const { response } = await inject({ upstreamPeer: peer }, {}, { respond: { status: 200, body: 'value' } })
  expect(response.text()).toBe('value')
})

test('of several parts each has its calls and its context in its place', async () => {
  const auth = definePart({
    newCtx: () => ({ user: 'ada' }),
    requestFilter: () => {},
    responseFilter: () => {},
  })
  const plain = definePart({ responseFilter: () => {} })
  const last = definePhases({ newCtx: () => 5, upstreamPeer: peer, logging: () => {} })
  const r = await inject([auth, plain, last])
  expect(r.phases.map(({ phase, part }) => `${part} ${phase}`)).toEqual([
    '0 newCtx',
    '2 newCtx',
    '0 requestFilter',
    '1 responseFilter',
    '0 responseFilter',
    '2 logging',
  ])
  expect(r.ctx).toEqual([{ user: 'ada' }, undefined, 5])
  expect(r.ctx[0].user).toBe('ada')
})

test('a filter keeps a phase from requests that it is not for', async () => {
  const phases = definePhases({
    upstreamPeer: peer,
    requestFilter: { match: { path: '/api/*' }, handler: () => 403 },
  })
  const other = await inject(phases, { target: '/' })
  expect([other.response.status, other.phases, other.skipped]).toEqual([200, [], ['requestFilter']])
  const api = await inject(phases, { target: '/api/x' })
  expect([api.response.status, api.phases.map(({ outcome }) => outcome)]).toEqual([403, ['answered']])
})

test('the phases are called on the object that has them, and in the scope of the request', async () => {
  const { AsyncLocalStorage } = await import('node:async_hooks')
  const storage = new AsyncLocalStorage<string>()
  class Gateway {
    readonly upstreamPeer = peer
    readonly #secret = 'mine'
    scope(run: () => void) {
      storage.run('inside', run)
    }
    async requestFilter() {
      await null
      return { status: 200, body: `${this.#secret} ${storage.getStore()}` }
    }
  }
  expect((await inject(new Gateway())).response.text()).toBe('mine inside')
})

test('subrequests are told of by themselves', async () => {
  const phases = definePhases({
    newCtx: (session) => ({ target: session.request.target }),
    upstreamPeer: peer,
    async requestFilter(session) {
      if (session.parent !== undefined) return 204
      const answer = await session.subrequest('/auth')
      session.subrequest('/mirror', { detached: true, peer: new HttpPeer('10.0.0.2:80') })
      return answer.status === 204 ? undefined : 401
    },
  })
  const r = await inject(phases, { target: '/page', upstream: (_request, { target }) => ({ body: target }) })
  expect(r.response.text()).toBe('/page')
  expect(r.ctx).toEqual({ target: '/page' })
  expect(r.phases.map(({ phase }) => phase)).toEqual(['newCtx', 'requestFilter'])
  expect(r.subrequests).toMatchObject([{ target: '/auth', ctx: { target: '/auth' }, error: undefined }])
  expect(r.subrequests[0]!.phases.map(({ outcome }) => outcome)).toEqual(['next', 'answered'])
  expect(r.upstreamRequests.map(({ target }) => target).sort()).toEqual(['/mirror', '/page'])
})

test('what is logged is told, and nothing is printed', async () => {
  const r = await inject({
    upstreamPeer: peer,
    requestFilter: () => Promise.reject(new Error('no luck')),
    requestSummary: () => 'summed up',
    logging() {
      throw new Error('broken')
    },
  })
  expect(r.log.map(({ level }) => level).sort()).toEqual(['error', 'warn'])
  expect(r.log.find(({ level }) => level === 'warn')!.line).toContain('summed up')
  expect(r.log.find(({ level }) => level === 'error')!.line).toContain('logging failed: Error: broken')
  const quiet = await inject({
    upstreamPeer: peer,
    requestFilter: () => Promise.reject(1),
    suppressErrorLog: () => true,
  })
  expect([quiet.error?.code, quiet.log]).toEqual(['PHASE_FAILED', []])
})

test.each(['h1', 'h2'] as const)('many at a time do not get in each other’s way (%s)', async (version) => {
  const phases = definePhases({
    newCtx: () => ({ id: '' }),
    requestFilter: async (session, ctx) => {
      ctx.id = session.request.target
      await null
    },
    upstreamPeer: () => peer,
  })
  const all = await Promise.all(
    Array.from({ length: 200 }, (_, at) =>
      inject(phases, {
        version,
        target: `/${at}`,
        upstream: ({ url }) => new Response(`${at} ${new URL(url).pathname}`),
      }),
    ),
  )
  for (const [at, { response, ctx, upstreamRequests, phases }] of all.entries()) {
    expect([response.text(), ctx.id, upstreamRequests.length]).toEqual([`${at} /${at}`, `/${at}`, 1])
    expect(phases.length).toBe(3)
  }
})

test('one may be injected from within another', async () => {
  const inner = () => inject(gateway, { upstream: () => new Response('inner') })
  const r = await inject(
    { upstreamPeer: peer, requestFilter: async () => void (await inner()) },
    { upstream: async () => new Response((await inner()).response.text()) },
  )
  expect(r.response.text()).toBe('inner')
})

test('nothing is listened on, and the process ends when all is told', () => {
  const program = `
    import { HttpPeer } from './dist/index.js'
    import { inject } from './dist/testing/index.js'
    const found = []
    const gateway = { upstreamPeer: new HttpPeer('10.0.0.1:80'), requestFilter: () => {
      found.push(...process.getActiveResourcesInfo().filter((name) => /TCP|Server/.test(name)))
    } }
    const r = await inject(gateway, { upstream: () => new Response('hi') })
    console.log(r.response.text(), found.length)
    const left = new AbortController()
    const gone = await inject(gateway, { signal: left.signal, upstream: () => new Promise(() => left.abort()) })
    console.log(gone.error.code, process.getActiveResourcesInfo().filter((name) => /Timeout|TCP/.test(name)).length)
  `
  const { stdout, stderr, status } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
    timeout: 20_000,
  })
  expect([stdout, stderr, status]).toEqual(['hi 0\nCLIENT_ABORTED 0\n', '', 0])
})

test('it works in a worker, which may end in the middle', async () => {
  const { Worker } = await import('node:worker_threads')
  const program = `
    const { parentPort } = require('node:worker_threads')
    import('${new URL('../dist/index.js', import.meta.url)}').then(async ({ HttpPeer }) => {
      const { inject } = await import('${new URL('../dist/testing/index.js', import.meta.url)}')
      const gateway = { upstreamPeer: new HttpPeer('10.0.0.1:80') }
      const { response } = await inject(gateway, { upstream: () => new Response('hi') })
      inject(gateway, { upstream: () => { parentPort.postMessage(response.text()); return new Promise(() => {}) } })
    })
  `
  const worker = new Worker(program, { eval: true })
  expect((await once(worker, 'message'))[0]).toBe('hi')
  await worker.terminate()
  expect((await inject(gateway)).response.status).toBe(200)
})

test('timers that a test has put in the place of the real ones do not stop it', async () => {
  vi.useFakeTimers()
  try {
    const r = await inject(
      { upstreamPeer: peer, requestFilter: () => new Response('early') },
      { upstream: () => new Response('hi') },
    )
    expect(r.response.text()).toBe('early')
    const passed = await inject(gateway, { upstream: () => new Response('hi') })
    expect(passed.response.text()).toBe('hi')
  } finally {
    vi.useRealTimers()
  }
})

test('a client shows its certificate', async () => {
  const certificate = new X509Certificate(readFileSync('__test__/certs/client.pem'))
  const subjects: unknown[] = []
  const look = {
    upstreamPeer: peer,
    requestFilter: ({ tls }: Session) => void subjects.push(tls?.clientCertificate?.subject),
  }
  await inject(look, { tls: { certificates: [certificate.raw] } })
  expect(subjects).toEqual([certificate.subject])
})

test('the package has it by its name', () => {
  const { exports } = JSON.parse(readFileSync('package.json', 'utf8'))
  expect(Object.keys(exports)).toContain('./testing')
  const program = `import { inject } from 'millrace/testing'; console.log(typeof inject)`
  expect(
    spawnSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' }).stdout,
  ).toBe('function\n')
})

test.each<[string, unknown, string, string]>([
  ['a misspelt option', { path: '/' }, 'INVALID_OPTIONS', 'path'],
  ['a method', { method: 'GE T' }, 'INVALID_OPTIONS', 'method'],
  ['CONNECT', { method: 'CONNECT' }, 'INVALID_OPTIONS', 'method'],
  ['a target', { target: '/a b' }, 'INVALID_OPTIONS', 'target'],
  ['a version', { version: 'h3' }, 'INVALID_OPTIONS', 'version'],
  ['a client', { client: 'localhost' }, 'INVALID_OPTIONS', 'client'],
  ['a client with a zone', { client: 'fe80::1%eth0' }, 'INVALID_OPTIONS', 'client'],
  ['a client with a zone and a port', { client: '[fe80::1%1]:80' }, 'INVALID_OPTIONS', 'client'],
  ['a port of a client', { client: '1.2.3.4:99999' }, 'INVALID_OPTIONS', 'client'],
  ['tls', { tls: 'yes' }, 'INVALID_OPTIONS', 'tls'],
  ['a certificate', { tls: { certificates: [Buffer.from('x')] } }, 'INVALID_OPTIONS', 'tls.certificates'],
  ['an option of tls', { tls: { serverName: 1 } }, 'INVALID_OPTIONS', 'tls.serverName'],
  ['no upstream', { upstream: [] }, 'INVALID_OPTIONS', 'upstream'],
  ['an upstream', { upstream: 'http://x' }, 'INVALID_OPTIONS', 'upstream'],
  ['a connect', { connect: true }, 'INVALID_OPTIONS', 'connect'],
  ['a signal', { signal: {} }, 'INVALID_OPTIONS', 'signal'],
  ['a body', { body: 1 }, 'INVALID_OPTIONS', 'body'],
])('%s that is wrong is named', async (_what, request, code, path) => {
  const error = await inject(gateway, request as InjectRequest).catch((error: unknown) => error)
  expect(error).toBeInstanceOf(UsageError)
  expect((error as UsageError).code).toBe(code)
  expect((error as UsageError).problems.map((problem) => problem.path)).toEqual([path])
})

test('other mistakes are named too', async () => {
  const code = (promise: Promise<unknown>) => promise.catch((error: UsageError) => error.code)
  expect(await code(inject(gateway, { headers: { 'a b': '1' } }))).toBe('INVALID_HEADER')
  expect(await code(inject(gateway, { headers: { a: '1\n' } }))).toBe('INVALID_HEADER')
  for (const headers of [[5], [null], [['a']], { get a() { throw new Error('x') } }]) // biome-ignore format: short
    expect(await code(inject(gateway, { headers: headers as never }))).toBe('INVALID_HEADER')
  for (const value of [5, undefined])
    expect(await code(inject(gateway, { headers: { a: value as unknown as string } }))).toBe('INVALID_HEADER')
  expect(await code(inject(gateway, { headers: [['host', 'a'], ['Host', 'b']] }))).toBe('INVALID_HEADER') // biome-ignore format: short
  expect(await code(inject(gateway, { body: {} as never }))).toBe('INVALID_OPTIONS')
  expect(await code(inject({} as never))).toBe('INVALID_OPTIONS')
  const proxy = new HttpProxy(gateway)
  expect(await code(inject(proxy as never, {}, {}))).toBe('INVALID_OPTIONS')
  for (const wrong of [undefined, null, 'text', 99, 600, { status: 101 }, { code: 1 }, { body: 1 }])
    expect(await code(inject(gateway, { upstream: () => wrong as never })), String(wrong)).toBe(
      'INVALID_ANSWER',
    )
  expect(await code(inject(gateway, { upstream: () => ({ headers: { 'a b': '1' } }) }))).toBe(
    'INVALID_HEADER',
  )
})
