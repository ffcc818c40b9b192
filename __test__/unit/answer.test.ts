import { expect, test } from 'vitest'
import { type Answer, checkAnswer } from '../../ts/answer.js'
import { codeOf } from './fake.js'

const check = (answer: unknown, method = 'GET') => checkAnswer(answer as Answer, method)

test('a right content-length is left out, as it is computed; a wrong one throws; without a body it stands', () => {
  expect(check({ status: 200, headers: { 'Content-Length': '3' }, body: 'né' }).fields).not.toMatch(/length/i)
  expect(codeOf(() => check({ status: 200, headers: { 'content-length': '2' }, body: 'né' }))).toBe(
    'INVALID_ANSWER',
  )
  for (const [status, method] of [
    [200, 'HEAD'],
    [304, 'GET'],
  ] as const)
    expect(check({ status, headers: { 'content-length': '99' } }, method).fields).toBe(
      'content-length\0' + '99\n',
    )
})

test.each([
  99,
  101,
  600,
  200.5,
  Number.NaN,
  true,
  null,
  'x',
  {},
  { status: '200' },
  { status: 200, boody: 1 },
  { status: 200, body: 5 },
])('%j is not an answer', (answer) => {
  expect(codeOf(() => check(answer))).toBe('INVALID_ANSWER')
})

test.each(['connection', 'Transfer-Encoding', 'upgrade', 'a b', ''])('the header %j is refused', (name) => {
  expect(codeOf(() => check({ status: 200, headers: { [name]: 'x' } }))).toBe('INVALID_HEADER')
})

test.each(['a\nb', 'a\rb', 'a\0b', '\x7f', ' a', 'a ', 'π', 5])('the value %j is refused', (value) => {
  expect(codeOf(() => check({ status: 200, headers: { x: value } }))).toBe('INVALID_HEADER')
})

test('204 and 304 have no body; bytes are copied', () => {
  expect(check({ status: 204, body: 'x' }).body).toBe('')
  const bytes = new Uint8Array([1])
  const answer = check({ status: 200, body: bytes })
  bytes[0] = 2
  expect(answer.body).toEqual(new Uint8Array([1]))
})

test('a Response that was used already is refused', async () => {
  const response = new Response('x')
  await response.text()
  expect(codeOf(() => check(response))).toBe('INVALID_ANSWER')
})
