import { expect, test } from 'vitest'
import { type HeaderEdit, HttpPeer, type RequestHeader, UsageError } from '../ts/index.js'
import { Client, get } from './support/client.js'
import { startOrigin } from './support/origin.js'
import { startProxy } from './support/proxy.js'

/** Numbers that look random and are the same in each run. */
class Numbers {
  #state: number

  constructor(seed: number) {
    this.#state = seed
  }

  below(end: number): number {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0
    return Math.floor((this.#state / 2 ** 32) * end)
  }

  of<T>(all: readonly T[]): T {
    return all[this.below(all.length)]!
  }
}

const NAMES = ['x-a', 'X-A', 'x-B', 'set-cookie', 'Cookie', "!#$%&'*+-.^_`|~9", 'x-long-name-of-a-field']
const BAD_NAMES = ['', 'x a', 'x:', 'x\n', 'x\0', 'é', 'connection', 'Transfer-Encoding', 'content-length']
const VALUES = ['', 'a', 'a b\tc', 'a: b', '=x', '+x', '-x', 'é\xff', 'x'.repeat(5_000), '"q", w']
const BAD_VALUES = [' a', 'a ', 'a\n', 'a\r\nx: y', 'a\0b', '\x7f', '\u0100']

/** One change of a head. What may not be throws, and leaves it as it was. */
function edit(headers: HeaderEdit, numbers: Numbers): void {
  const bad = numbers.below(8)
  const name = numbers.of(bad === 0 ? BAD_NAMES : NAMES)
  const value = () => numbers.of(bad === 1 ? BAD_VALUES : VALUES)
  const kind = numbers.below(4)
  const before = [...headers]
  const change = () => {
    if (kind === 0) headers.set(name, value())
    else if (kind === 1) headers.set(name, Array.from({ length: 1 + numbers.below(3) }, value))
    else if (kind === 2) headers.append(name, value())
    else headers.delete(name)
  }
  if (bad > 1 || (bad === 1 && kind === 3)) {
    change()
    return
  }
  expect(change, `${kind} ${name}`).toThrow(UsageError)
  expect([...headers]).toEqual(before)
}

/** The fields that the edits are about, in an order that does not depend on how they were made. */
function shown(headers: Iterable<[string, string]>): string[] {
  const ours = NAMES.map((name) => name.toLowerCase())
  const fields = [...headers].map(([name, value]) => `${name.toLowerCase()}: ${value}`)
  return fields.filter((field) => ours.includes(field.slice(0, field.indexOf(':')))).sort()
}

test('whatever is done to a head in JavaScript is what leaves, and it is one message', async () => {
  const numbers = new Numbers(1)
  let asked: string[] = []
  let answered: string[] = []
  const origin = await startOrigin((_seen, res) => {
    res.writeHead(200, [
      ['X-A', '1'],
      ['Set-Cookie', 'a=1'],
      ['Set-Cookie', 'b'],
    ] as unknown as string[])
    res.end('ok')
  })
  const { to } = await startProxy({
    upstreamPeer: new HttpPeer(origin.address),
    upstreamRequestFilter: (_session, request: RequestHeader) => {
      for (let left = numbers.below(8); left > 0; left--) edit(request.headers, numbers)
      asked = shown(request.headers)
    },
    responseFilter: (_session, response) => {
      for (let left = numbers.below(8); left > 0; left--) edit(response.headers, numbers)
      answered = shown(response.headers)
    },
  })
  const client = await Client.connect(to)
  for (let round = 0; round < 500; round++) {
    const reply = await client.ask(get('/', { 'x-a': '1', Cookie: 'a=b' }))
    expect([reply.status, reply.body]).toEqual([200, 'ok'])
    expect(shown(origin.seen.at(-1)!.headers), `request ${round}`).toEqual(asked)
    expect(shown(reply.headers), `response ${round}`).toEqual(answered)
    origin.seen.length = 0
  }
  expect(origin.connections).toBe(1)
  await client.end()
})
