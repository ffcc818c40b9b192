// The example of docs/bodies.md, as it stands.
import { readFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import { expect, test, vi } from 'vitest'
import { loadExample } from './support/example.js'

test('examples/body-rewriting.ts checks requests, changes pages as a whole and text as a stream', async () => {
  const log = vi.spyOn(console, 'log').mockImplementation(() => {})
  const example = await loadExample('body-rewriting')
  const post = async (body: string) => {
    const { response, upstreamRequests } = await example({
      method: 'POST',
      target: '/order',
      headers: { 'content-type': 'application/json' },
      body,
      upstream: async (request) => ({
        headers: { 'content-type': 'text/plain' },
        body: `got ${await request.text()} é`,
      }),
    })
    expect(upstreamRequests.length).toBe(response.status === 200 ? 1 : 0)
    return `${response.status} ${response.text()}`
  }
  expect(await post('{"item":"tea"}')).toBe('200 GOT {"ITEM":"TEA"} É')
  expect(await post('{}')).toBe('422 an order needs an item')
  expect(await post('no json')).toMatch(/^422 /)
  expect(await post(JSON.stringify({ item: 'x'.repeat(70_000) }))).toMatch(/^413 /)

  const { response: page } = await example({
    target: '/page',
    upstream: () => ({
      headers: { 'content-type': 'text/html', 'content-encoding': 'gzip' },
      body: gzipSync('<html><body>hello</body></html>'),
    }),
  })
  expect(page.text()).toBe('<html><body><p>Maintenance on Sunday.</p>hello</body></html>')
  expect([page.headers.get('content-encoding'), page.headers.get('content-length')]).toEqual([
    null,
    String(page.bytes().length),
  ])
  expect(log).toHaveBeenCalledTimes(5)
  expect(log.mock.calls[0]![0]).toMatch(/ POST .* 200 .* after 14 bytes$/)
})

test('docs/bodies.md quotes the example as it is', () => {
  const example = readFileSync('examples/body-rewriting.ts', 'utf8').split('\n')
  const lines = example.map((line) => line.trim())
  const quotes = [...readFileSync('docs/bodies.md', 'utf8').matchAll(/```ts\n(.+?)```/gs)]
  expect(quotes.length).toBeGreaterThan(2)
  for (const [, quoted] of quotes)
    for (const line of quoted!.trim().split('\n')) expect(lines).toContain(line.trim())
})
