// The example of docs/bodies.md, as it stands.
import { readFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { runExample } from './support/example.js'
import { startOrigin } from './support/origin.js'
import { until } from './support/proxy.js'

test('examples/body-rewriting.ts checks requests, changes pages as a whole and text as a stream', async () => {
  const origin = await startOrigin((seen, res) => {
    if (seen.url === '/page') {
      res.writeHead(200, { 'content-type': 'text/html', 'content-encoding': 'gzip' })
      res.end(gzipSync('<html><body>hello</body></html>'))
    } else res.writeHead(200, { 'content-type': 'text/plain' }).end(`got ${seen.body} é`)
  })
  const { at, stdout } = await runExample('body-rewriting', `http://${origin.address}`)
  const post = async (body: string) => {
    const headers = { 'content-type': 'application/json' }
    const answer = await fetch(`http://${at}/order`, { method: 'POST', headers, body })
    return `${answer.status} ${await answer.text()}`
  }
  expect(await post('{"item":"tea"}')).toBe('200 GOT {"ITEM":"TEA"} É')
  expect(await post('{}')).toBe('422 an order needs an item')
  expect(await post('no json')).toMatch(/^422 /)
  expect(await post(JSON.stringify({ item: 'x'.repeat(70_000) }))).toMatch(/^413 /)
  expect(origin.seen.length).toBe(1)

  const page = await fetch(`http://${at}/page`)
  const text = await page.text()
  expect(text).toBe('<html><body><p>Maintenance on Sunday.</p>hello</body></html>')
  expect([page.headers.get('content-encoding'), page.headers.get('content-length')]).toEqual([
    null,
    String(text.length),
  ])
  await until(() => stdout().split('\n').length === 6)
  expect(stdout()).toMatch(/ POST .* 200 .* after 14 bytes\n/)
})

test('docs/bodies.md quotes the example as it is', () => {
  const example = readFileSync('examples/body-rewriting.ts', 'utf8').split('\n')
  const lines = example.map((line) => line.trim())
  const quotes = [...readFileSync('docs/bodies.md', 'utf8').matchAll(/```ts\n(.+?)```/gs)]
  expect(quotes.length).toBeGreaterThan(2)
  for (const [, quoted] of quotes)
    for (const line of quoted!.trim().split('\n')) expect(lines).toContain(line.trim())
})
