// What stands for origins and gives no answer, or a wrong one: told apart as the test's mistake and the origin's fault.
import { describe, expect, test } from 'vitest'
import { HttpPeer, UsageError } from '../ts/index.js'
import { type InjectRequest, inject } from '../ts/testing/index.js'

const VERSIONS = ['h1', 'h2'] as const
const PAIRS = VERSIONS.flatMap((down) => VERSIONS.map((up) => [down, up] as const))
const to = (protocol: 'h1' | 'h2') => ({ upstreamPeer: new HttpPeer('http://10.0.0.1', { protocol }) })
const text = (...pieces: unknown[]) =>
  new ReadableStream<unknown>({
    start(controller) {
      for (const piece of pieces) controller.enqueue(piece)
      controller.close()
    },
  }) as ReadableStream<Uint8Array>

/** What an injection rejects with. */
async function refusal(upstream: () => unknown): Promise<UsageError> {
  const error = await inject(to('h1'), { upstream: upstream as () => 200 }).then(
    () => undefined,
    (error: unknown) => error,
  )
  expect(error).toBeInstanceOf(UsageError)
  return error as UsageError
}

describe('an origin that fails', () => {
  const lost = new Error('lost')
  const failing: [string, () => Response][] = [
    ['at once', () => new Response(new ReadableStream({ start: (to) => to.error(lost) }))],
    ['when it is read', () => new Response(new ReadableStream({ pull: (to) => to.error(lost) }))],
    [
      'later',
      () =>
        new Response(
          new ReadableStream({
            pull: async (to) => {
              await new Promise((resolve) => setTimeout(resolve, 10))
              to.error(lost)
            },
          }),
        ),
    ],
  ]
  test.each(failing)('in the body of its Response, %s, has cut it', async (_when, upstream) => {
    for (const protocol of VERSIONS) {
      const r = await inject(to(protocol), { upstream })
      expect([r.error!.code, r.error!.source, r.response.complete]).toEqual([
        'UPSTREAM_CLOSED',
        'upstream',
        false,
      ])
      expect(r.upstreamRequest!.threw).toBe(lost)
    }
  })

  test.each(PAIRS)('by throwing has the whole request first (%s, %s)', async (version, protocol) => {
    for (let run = 0; run < 25; run++)
      for (const body of ['hello', ['hel', 'lo']]) {
        const r = await inject(to(protocol), {
          version,
          method: 'POST',
          body,
          upstream() {
            throw lost
          },
        })
        const sent = r.upstreamRequest!
        expect([r.response.status, sent.text(), sent.complete, sent.threw]).toEqual([
          502,
          'hello',
          true,
          lost,
        ])
      }
  })
})

describe('an answer that is none', () => {
  const used = () => {
    const response = new Response('x')
    void response.text()
    return response
  }
  const locked = () => {
    const response = new Response(text(Buffer.from('x')))
    response.body!.getReader()
    return response
  }
  const wrong: [string, () => unknown, string][] = [
    ['a Response that is used', used, 'used'],
    ['a Response that is read by another', locked, 'another'],
    ['a Response of numbers', () => new Response(text(5)), 'found 5'],
    ['a body of numbers', () => ({ body: [5] }), 'body[0]: found 5'],
    ['a body with a number later', () => ({ body: ['a', 5] }), 'body[1]: found 5'],
    ['a body of form data', () => ({ body: new FormData() }), 'FormData'],
    ['a Map', () => ({ body: new Map() }), 'Map'],
    ['null as a body', () => ({ body: null }), 'null'],
    ['a getter that throws', () => ({ get status() { throw new Error('no luck') } }), 'no luck'], // biome-ignore format: short
  ]
  test.each(wrong)('%s', async (_name, upstream, said) => {
    const error = await refusal(upstream)
    expect([error.code, error.message]).toEqual(['INVALID_ANSWER', expect.stringContaining(said)])
  })

  test('of a list', async () => {
    const error = await inject(to('h1'), { upstream: [used()] }).catch((error: unknown) => error)
    expect([error instanceof UsageError, (error as UsageError).code]).toEqual([true, 'INVALID_ANSWER'])
  })
})

test('a form is an answer with its type', async () => {
  const body = new URLSearchParams({ a: 'b c' })
  const r = await inject(to('h1'), { upstream: () => ({ body }) })
  expect([r.response.text(), r.response.headers.get('content-type')]).toEqual([
    'a=b+c',
    'application/x-www-form-urlencoded;charset=UTF-8',
  ])
  const typed: InjectRequest = { upstream: () => ({ body, headers: { 'Content-Type': 'text/plain' } }) }
  expect((await inject(to('h1'), typed)).response.headers.get('content-type')).toBe('text/plain')
})
