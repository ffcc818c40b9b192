// Several processes on one port: started one by one, and as workers of node:cluster.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { program } from './support/child.js'
import { get, once, type Target } from './support/client.js'

/** A proxy on a port that others use too; it says which process answers. */
const serve = (port: string, more = '') => `
  const server = new Server({ logger: false, graceMs: 10_000 })
  const proxy = server.addService(new HttpProxy({
    upstreamPeer: new HttpPeer('127.0.0.1:1'),
    requestFilter: () => ({ status: 200, body: String(process.pid) }),
  }, { threads: 1 }))
  const http = proxy.addTcp('127.0.0.1:' + ${port}, { reusePort: true })
  const ended = server.run()
  await server.start()
  ${more}`

/** Which processes answer, from so many connections. */
async function answering(to: Target, connections = 100): Promise<number[]> {
  const found = new Set<number>()
  for (let count = 0; count < connections; count++) found.add(Number((await once(to, get('/'))).body))
  return [...found].sort((a, b) => a - b)
}

/** A port that no other test has, for as long as somebody listens with reusePort. */
async function freePort(): Promise<number> {
  const holder = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => holder.once('listening', resolve))
  const { port } = holder.address() as { port: number }
  await new Promise((resolve) => holder.close(resolve))
  return port
}

describe.skipIf(process.platform !== 'linux')('several processes on one port', () => {
  test('with reusePort they share its connections, and one that ends leaves them to the others', async () => {
    const port = await freePort()
    const to = { host: '127.0.0.1', port }
    const processes = [0, 1, 2].map(() => program(serve(String(port), `console.log('up'); await ended`)))
    for (const { line } of processes) expect(await line()).toBe('up')
    const pids = processes.map(({ child }) => child.pid!).sort((a, b) => a - b)
    expect(await answering(to)).toEqual(pids)
    const [first, ...others] = processes
    first!.child.kill('SIGTERM')
    expect(await first!.ended).toMatchObject({ code: 0, stderr: '' })
    expect(await answering(to)).toEqual(pids.filter((pid) => pid !== first!.child.pid))
    for (const { child, ended } of others) {
      child.kill('SIGTERM')
      expect(await ended).toMatchObject({ code: 0, stderr: '' })
    }
  })

  test('workers of node:cluster share a port, are replaced, and end with the primary', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'millrace-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    const file = join(folder, 'worker.mjs')
    const dist = new URL('../dist/index.js', import.meta.url).href
    const imports = `import { Server, HttpProxy, HttpPeer } from ${JSON.stringify(dist)}\n`
    writeFileSync(
      file,
      imports + serve('process.env.PORT', `process.send('up'); await ended; process.disconnect()`),
    )
    const port = await freePort()
    const to = { host: '127.0.0.1', port }
    const { line, ended, child } = program(`
      const { default: cluster } = await import('node:cluster')
      cluster.setupPrimary({ exec: ${JSON.stringify(file)}, execArgv: [] })
      const fork = () => cluster.fork({ PORT: '${port}' }).on('message', () => console.log('up'))
      let ends = false
      cluster.on('exit', (worker, code, signal) => {
        console.log('exit', worker.process.pid, code, signal)
        if (!ends) fork()
      })
      for (let count = 0; count < 2; count++) fork()
      process.on('SIGTERM', () => {
        ends = true
        for (const worker of Object.values(cluster.workers)) worker.process.kill('SIGTERM')
      })`)
    for (let count = 0; count < 2; count++) expect(await line()).toBe('up')
    const before = await answering(to)
    expect(before).toHaveLength(2)
    // One is killed: another comes, and the one that stayed has served all the time.
    process.kill(before[0]!, 'SIGKILL')
    expect(await line()).toBe(`exit ${before[0]} null SIGKILL`)
    expect(await answering(to, 20)).toContain(before[1])
    expect(await line()).toBe('up')
    const after = await answering(to)
    expect(after).toHaveLength(2)
    expect(after).toContain(before[1])
    child.kill('SIGTERM')
    const exits = [await line(), await line()].sort()
    expect(exits).toEqual(after.map((pid) => `exit ${pid} 0 null`).sort())
    expect(await ended).toMatchObject({ code: 0, stderr: '' })
  })
})
