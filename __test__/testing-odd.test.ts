// Odd messages, as `inject` sends them for the client and the origin: what is sent as it is, what cannot be.
import { describe, expect, test, vi } from 'vitest'
import { HttpPeer, UsageError } from '../ts/index.js'
import { type InjectRequest, inject, type UpstreamAnswer } from '../ts/testing/index.js'

const VERSIONS = ['h1', 'h2'] as const
const PAIRS = VERSIONS.flatMap((down) => VERSIONS.map((up) => [down, up] as const))
const to = (protocol: 'h1' | 'h2') => ({ upstreamPeer: new HttpPeer('http://10.0.0.1', { protocol }) })
const echo = async (request: Request) => new Response(await request.text())

/** What an injection rejects with. */
async function refusal(request: InjectRequest, protocol: 'h1' | 'h2' = 'h1'): Promise<UsageError> {
  const error = await inject(to(protocol), request).then(
    () => undefined,
    (error: unknown) => error,
  )
  expect(error).toBeInstanceOf(UsageError)
  return error as UsageError
}

describe('fields that a library has a mind of its own about', () => {
  test.each(PAIRS)('a request with `trailer` is sent (%s, %s)', async (version, protocol) => {
    for (const headers of [{ trailer: 'x' }, { trailer: 'x', expect: '100-continue' }])
      for (const body of ['abc', ['a', 'bc'], undefined]) {
        const request = { version, method: 'POST', headers, ...(body && { body }), upstream: echo }
        const r = await inject(to(protocol), request)
        expect([r.response.status, r.error, r.response.text()]).toEqual([200, undefined, body ? 'abc' : ''])
      }
  })

  test.each(PAIRS)('an answer with `trailer` is sent (%s, %s)', async (version, protocol) => {
    for (const body of ['x', ['x'], undefined]) {
      const answer: UpstreamAnswer = { headers: { trailer: 't' }, ...(body && { body }) }
      const r = await inject(to(protocol), { version, upstream: () => answer })
      expect([r.response.status, r.error, r.response.text()]).toEqual([200, undefined, body ? 'x' : ''])
    }
  })

  test.each(VERSIONS)('a body waits for nothing but 100-continue (%s)', async (version) => {
    for (const expectation of ['foo', '', '100-Continue', 'foo, 100-continue']) {
      const headers = { expect: expectation }
      const r = await inject(to('h1'), { version, method: 'POST', headers, body: 'abc', upstream: echo })
      expect([r.response.status, r.response.text(), r.error]).toEqual([200, 'abc', undefined])
    }
  })

  test.each(PAIRS)('bytes beyond ASCII are the same everywhere (%s, %s)', async (version, protocol) => {
    const headers = { a: 'é' }
    const r = await inject(to(protocol), { version, headers, upstream: () => ({ headers, body: 'x' }) })
    expect([r.upstreamRequest!.headers.get('a'), r.response.headers.get('a')]).toEqual(['é', 'é'])
  })

  test.each(PAIRS)('no name is lost (%s, %s)', async (version, protocol) => {
    const headers: [string, string][] = [
      ['__proto__', 'p'],
      ['constructor', 'c'],
      ['constructor', 'd'],
    ]
    const r = await inject(to(protocol), { version, headers, upstream: () => ({ headers }) })
    for (const { headers } of [r.upstreamRequest!, r.response])
      expect([headers.get('__proto__'), headers.get('constructor')]).toEqual(['p', 'c, d'])
  })
})

describe('large heads', () => {
  test.each(VERSIONS)('run into the limits of the proxy alone (%s)', async (version) => {
    const r = await inject(to('h1'), { version, headers: { a: 'x'.repeat(66_000) } })
    expect([r.response.status, r.error?.code]).toEqual([431, 'HEADER_TOO_LARGE'])
  })

  test('that HTTP/2 has no answer to, as their connection ends, are told as what they are', async () => {
    for (const [length, maxHeaderBytes] of [
      [300_000, 65_536],
      [4_000_000, 65_536],
      [1_000_000, 524_288],
    ] as const) {
      const logging = vi.fn()
      const r = await inject(
        { ...to('h1'), logging },
        { version: 'h2', target: '/huge', headers: { a: 'x'.repeat(length) } },
        { maxHeaderBytes },
      )
      expect(r.error).toMatchObject({ code: 'HEADER_TOO_LARGE', status: 431, source: 'downstream' })
      expect([r.response.status, r.response.complete, r.upstreamRequest]).toEqual([0, false, undefined])
      expect(logging).toHaveBeenCalledOnce()
      expect(r.log.map(({ line }) => line)).toEqual([expect.stringMatching(/^431 GET \/huge, /)])
    }
  })

  test('of which the proxy reads a part only do not hide what it answers', async () => {
    for (let run = 0; run < 5; run++) {
      const r = await inject(to('h1'), { headers: { a: 'x'.repeat(8_000_000) } })
      expect([r.response.status, r.error?.code]).toEqual([431, 'HEADER_TOO_LARGE'])
    }
  })

  test.each(PAIRS)('of more than 8 MiB are not sent, and told so (%s, %s)', async (version, protocol) => {
    const headers = { a: 'x'.repeat(8 * 1024 * 1024) }
    for (const request of [{ headers }, { upstream: () => ({ headers }) }])
      expect((await refusal({ version, ...request }, protocol)).code).toBe('INJECT_LIMIT')
  })

  test.each(PAIRS)('go both ways where the proxy lets them (%s, %s)', async (version, protocol) => {
    const large = 'x'.repeat(40_000)
    const headers = { a: large, b: large }
    const options = { maxHeaderBytes: 200_000 }
    const r = await inject(
      to(protocol),
      { version, headers, upstream: () => ({ headers, body: 'hi' }) },
      options,
    )
    expect([r.response.status, r.error, r.response.text()]).toEqual([200, undefined, 'hi'])
    for (const { headers } of [r.upstreamRequest!, r.response]) expect(headers.get('b')).toBe(large)
  })

  test.each(PAIRS)('may be of many fields (%s, %s)', async (version, protocol) => {
    const headers = Array.from({ length: 150 }, (_, at): [string, string] => [`x-${at}`, 'v'])
    const options = { maxHeaders: 2_000 }
    const r = await inject(to(protocol), { version, headers, upstream: () => ({ headers }) }, options)
    expect([r.response.status, r.error]).toEqual([200, undefined])
    for (const { headers } of [r.upstreamRequest!, r.response]) expect(headers.get('x-149')).toBe('v')
  })
})

test.each(PAIRS)(
  'a client stays until the proxy is done with its request (%s, %s)',
  async (version, protocol) => {
    // The client has all of the response before the end of the stream that it came by.
    const headers = { 'content-length': '0' }
    for (let run = 0; run < 10; run++) {
      const r = await inject(to(protocol), { version, upstream: () => ({ headers, body: [] }) })
      expect([r.response.status, r.response.complete, r.error]).toEqual([200, true, undefined])
    }
  },
)

describe('what HTTP/2 has no place for', () => {
  const wrong: [string, [string, string][]][] = [
    ['connection', [['connection', 'close']]],
    ['transfer-encoding', [['transfer-encoding', 'chunked']]],
    ['upgrade', [['upgrade', 'x']]],
    ['content-length', [['content-length', '1'], ['content-length', '2']]], // biome-ignore format: short
  ]

  test.each(wrong)('is refused of a client: %s', async (name, headers) => {
    const error = await refusal({ version: 'h2', method: 'POST', body: 'a', headers })
    expect([error.code, error.message]).toEqual(['INVALID_HEADER', expect.stringContaining(name)])
    expect(error.message).toContain('HTTP/2')
  })

  test.each(wrong)('is refused of an origin: %s', async (name, headers) => {
    const answers = [{ headers }, { interims: [{ status: 103, headers }] }, { body: 'x', trailers: headers }]
    for (const answer of answers) {
      const error = await refusal({ upstream: () => answer }, 'h2')
      expect([error.code, error.message]).toEqual(['INVALID_ANSWER', expect.stringContaining(name)])
      expect(error.message).toContain('HTTP/2')
    }
  })
})

describe('an origin of HTTP/1.1', () => {
  test('closes the connection where it says so', async () => {
    for (const headers of [{ connection: 'close' }, { connection: 'close', 'content-length': '4' }]) {
      const r = await inject(to('h1'), { upstream: () => ({ headers, body: ['fo', 'ur'] }) })
      expect([r.response.text(), r.response.complete, r.error]).toEqual(['four', true, undefined])
    }
  })

  test('may be wrong about its frame', async () => {
    const both = { 'content-length': '4', 'transfer-encoding': 'chunked' }
    const r = await inject(to('h1'), { upstream: () => ({ headers: both, body: 'four' }) })
    expect(r.upstreamRequests.length).toBe(1)
    const unequal = { headers: [['content-length', '4'], ['content-length', '5']] as [string, string][], body: 'four' } // biome-ignore format: short
    const two = await inject(to('h1'), { upstream: () => unequal })
    expect([two.response.status, two.error!.source]).toEqual([502, 'upstream'])
  })

  test('reads a request of the method PRI', async () => {
    const r = await inject(to('h1'), { method: 'PRI', target: '/x', upstream: () => 204 })
    expect([r.response.status, r.upstreamRequest!.method]).toEqual([204, 'PRI'])
  })

  test('answers a request after the other on one connection', async () => {
    const { upstreamPeer } = to('h1')
    const r = await inject(
      {
        upstreamPeer,
        async requestFilter(session) {
          for (let at = 0; at < 20; at++) {
            const answer = await session.subrequest('/sub', {
              method: 'POST',
              body: `${at}`,
              peer: upstreamPeer,
            })
            expect(await answer.text()).toBe(`${at}`)
          }
        },
      },
      { upstream: echo },
    )
    expect([r.error, r.upstreamRequests.length]).toEqual([undefined, 21])
  })
})
