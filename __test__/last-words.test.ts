// What `logging` has begun when a server closes: it is waited for, within the grace.
import { describe, expect, test } from 'vitest'
import { type AnyPhases, HttpPeer } from '../ts/index.js'
import { Folder } from './support/cli.js'
import { get, once } from './support/client.js'
import { DEAD } from './support/origin.js'
import { deferred, startProxy, until } from './support/proxy.js'
import { gateway, startThreads } from './support/threads.js'

/** Phases whose `logging` waits for `release`. */
function gated() {
  const gate = deferred()
  const seen = { begun: 0, done: 0 }
  const phases: AnyPhases = {
    upstreamPeer: new HttpPeer(DEAD),
    requestFilter: () => 204,
    async logging() {
      seen.begun++
      await gate.promise
      seen.done++
    },
  }
  return { phases, seen, release: () => gate.resolve() }
}

const isOpen = async (promise: Promise<unknown>) =>
  (await Promise.race([promise, Promise.resolve('open')])) === 'open'

describe('close() and an async `logging`', () => {
  test('it waits for those that are under way, also of phases that were replaced', async () => {
    const { phases, seen, release } = gated()
    const { server, proxy, to } = await startProxy(phases)
    for (const path of ['/a', '/b']) await once(to, get(path))
    proxy.replace({ ...phases })
    await once(to, get('/c'))
    const closing = server.close({ graceMs: 600_000 })
    await until(() => seen.begun === 3)
    // The server has stopped; what is left is logging.
    await until(() => proxy.state === 'stopped')
    expect(await isOpen(closing)).toBe(true)
    expect(server.state).toBe('closing')
    release()
    await closing
    expect(seen.done).toBe(3)
  })

  test('what has not settled when the grace is over is told, and not waited for', async () => {
    const { phases, seen } = gated()
    const { server, to, lines } = await startProxy(phases)
    await once(to, get('/'))
    await server.close({ graceMs: 20 })
    expect(seen).toEqual({ begun: 1, done: 0 })
    expect(lines).toEqual([
      'warn logging of 1 request has not settled: the server does not wait for it any longer',
    ])
  })

  test('with a grace of 0, given at once or later, nothing is waited for', async () => {
    for (const isLater of [false, true]) {
      const { phases, seen } = gated()
      const { server, to } = await startProxy(phases)
      await once(to, get('/'))
      const closing = server.close({ graceMs: isLater ? 600_000 : 0 })
      await until(() => seen.begun === 1)
      if (isLater) await server.close({ graceMs: 0 })
      await closing
      expect(seen.done).toBe(0)
    }
  })

  test('callbackTimeoutMs bounds it too', async () => {
    const { phases } = gated()
    const { server, to } = await startProxy(phases, { callbackTimeoutMs: 50 })
    await once(to, get('/'))
    await server.close({ graceMs: 600_000 })
  })

  test.each([
    ['waited for in threads of their own too, beyond a second', 600_000, 1_200, ['LOG']],
    ['told in threads too, where the grace is 0', 0, 600_000, []],
  ])('%s', async (_, graceMs, ms, logged) => {
    const module = gateway(`
      export default {
        upstreamPeer: dead,
        requestFilter: () => 204,
        async logging(session) {
          await new Promise((resolve) => setTimeout(resolve, ${ms}))
          throw new Error('LOG')
        },
      }`)
    const { server, to, lines } = await startThreads(module, { jsThreads: 2 })
    await once(to, get('/'))
    await server.close({ graceMs })
    const left = 'warn logging of 1 request has not settled: the server does not wait for it any longer'
    if (logged.length === 0) expect(lines).toEqual([left])
    else expect(lines).toEqual([expect.stringMatching(/^error logging failed: Error: LOG/)])
  })
})

test('`millrace run` ends when the last `logging` has settled', { timeout: 30_000 }, async () => {
  const source = `import { definePhases, HttpPeer } from 'millrace'
    export default definePhases({
      requestFilter: () => 204,
      upstreamPeer: new HttpPeer('http://127.0.0.1:1'),
      async logging() {
        await new Promise((resolve) => setTimeout(resolve, 300))
        process.stdout.write('LOGGED\\n')
      },
    })`
  const started = new Folder({ 'gateway.js': source }).start(['run', 'gateway.js', '--listen', '127.0.0.1:0'])
  const [url] = await started.urls()
  expect((await fetch(url!)).status).toBe(204)
  started.child.kill('SIGTERM')
  expect(await started.ended).toMatchObject({ code: 0, out: expect.stringMatching(/LOGGED\n$/), err: '' })
})
