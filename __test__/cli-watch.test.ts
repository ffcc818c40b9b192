// `--watch`: a module, and what it imports, is loaded anew when it changes, while it serves.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { Folder, type Started } from './support/cli.js'

vi.setConfig({ testTimeout: 60_000 })

const ARGS = ['run', 'gateway.ts', '--watch', '--listen', '127.0.0.1:0']
const FILES = {
  'gateway.ts': `import { HttpPeer, type Session } from 'millrace'
import { answer } from './lib/a.ts'
export default { upstreamPeer: new HttpPeer('http://127.0.0.1:1'), requestFilter: (_session: Session) => ({ status: 200, body: answer() }) }
`,
  'lib/a.ts': "import { word } from './deep/b.ts'\nexport const answer = (): string => word\n",
  'lib/deep/b.ts': "export const word: string = 'first'\n",
}

/** Waits until it has printed what is looked for. */
async function printed(started: Started, text: string): Promise<void> {
  await vi.waitFor(() => expect(started.printed.out).toContain(text), { timeout: 20_000, interval: 20 })
}

test('what changes two imports deep takes effect, and what is wrong leaves the one before', async () => {
  const folder = new Folder(FILES)
  const started = folder.start(ARGS)
  const [url] = await started.urls()
  const body = async () => (await fetch(url!)).text()
  expect(await body()).toBe('first')

  folder.write({ 'lib/deep/b.ts': "export const word: string = 'second'\n" })
  await printed(started, 'proxy: loaded anew\n')
  expect(await body()).toBe('second')

  folder.write({ 'lib/a.ts': 'enum A { B }\n' })
  await printed(started, 'lib/a.ts:1:1: enum: not supported.')
  expect(started.printed.out).toContain('proxy: not loaded anew, the one before goes on: ')
  expect(await body()).toBe('second')

  const before = started.printed.out.split('loaded anew\n').length
  folder.write({ 'lib/a.ts': "export const answer = (): string => 'third'\n" })
  await vi.waitFor(
    () => expect(started.printed.out.split('loaded anew\n').length).toBeGreaterThan(before),
    20_000,
  )
  expect(await body()).toBe('third')
  started.child.kill('SIGTERM')
  expect(await started.ended).toMatchObject({ code: 0, err: '' })
})

test('what the program writes beside its module is no change of it', async () => {
  const folder = new Folder(FILES)
  const started = folder.start(ARGS)
  const [url] = await started.urls()
  // As a log in the same folder does, all the time.
  let lines = 0
  const log = () =>
    [`line ${lines++}`, 'lib/line'].map((text, at) => folder.write({ [at ? 'lib/x.log' : 'x.log']: text }))
  const writing = setInterval(log, 10)
  try {
    folder.write({ 'lib/deep/b.ts': "export const word: string = 'second'\n" })
    await printed(started, 'proxy: loaded anew\n')
    expect(await (await fetch(url!)).text()).toBe('second')
  } finally {
    clearInterval(writing)
  }
  expect(started.printed.out.split('loaded anew\n')).toHaveLength(2)
})

test('serves on where nobody reads what it prints any more', async () => {
  // It cannot connect, which is logged on stderr; what is loaded anew is told on stdout.
  const gateway = (word: string) => `import { HttpPeer } from 'millrace'
export default {
  upstreamPeer: new HttpPeer('http://127.0.0.1:1'),
  failToProxy: () => ({ status: 502, body: '${word}' }),
}`
  const folder = new Folder({ 'gateway.ts': gateway('first') })
  const started = folder.start(ARGS)
  const [url] = await started.urls()
  started.child.stdout!.destroy()
  started.child.stderr!.destroy()
  for (const word of ['first', 'second', 'third']) {
    folder.write({ 'gateway.ts': gateway(word) })
    await vi.waitFor(async () => expect(await (await fetch(url!)).text()).toBe(word), {
      timeout: 20_000,
      interval: 20,
    })
  }
  started.child.kill('SIGTERM')
  expect((await started.ended).code).toBe(0)
})

test('a server with a proxy of a module is watched by it', async () => {
  const folder = new Folder({
    'server.js': `import { HttpProxy, Server } from 'millrace'
const server = new Server()
server.addService(new HttpProxy(new URL('./phases.js', import.meta.url), { name: 'edge' })).addTcp('127.0.0.1:0')
export default server`,
    'phases.js': `import { HttpPeer } from 'millrace'
export default { upstreamPeer: new HttpPeer('http://127.0.0.1:1'), requestFilter: () => 418 }`,
  })
  const started = folder.start(['run', 'server.js', '--watch'])
  const [url] = await started.urls()
  expect((await fetch(url!)).status).toBe(418)
  writeFileSync(
    join(folder.path, 'phases.js'),
    `import { HttpPeer } from 'millrace'
export default { upstreamPeer: new HttpPeer('http://127.0.0.1:1'), requestFilter: () => 429 }`,
  )
  await printed(started, 'edge: loaded anew\n')
  expect((await fetch(url!)).status).toBe(429)
})

test('what cannot be loaded anew is refused', async () => {
  const code = `import { HttpPeer, HttpProxy } from 'millrace'
export default new HttpProxy({ upstreamPeer: new HttpPeer('http://127.0.0.1:1') })`
  const { code: rc, err } = await new Folder({ 'gateway.ts': code }).run(ARGS)
  expect(rc).toBe(2)
  expect(err).toContain('--watch: gateway.ts has nothing that can be loaded anew')
})
