// `--upgrade`: a new process takes over from the one that serves.
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { Folder } from './support/cli.js'

vi.setConfig({ testTimeout: 60_000 })

test.skipIf(process.platform === 'win32')('takes over, and the one before ends well', async () => {
  const folder = new Folder({
    'gateway.js': `import { definePhases, HttpPeer, HttpProxy, Server } from 'millrace'
const server = new Server({ graceMs: 5000 })
server.addService(new HttpProxy(definePhases({
  requestFilter: () => ({ status: 200, body: process.env.WHO }),
  upstreamPeer: new HttpPeer('http://127.0.0.1:1'),
}))).addTcp('127.0.0.1:0')
export default server`,
  })
  const socket = { MILLRACE_SERVER_UPGRADE_SOCKET: join(folder.path, 'u.sock') }
  const first = folder.start(['run', 'gateway.js'], { ...socket, WHO: 'first' })
  const [url] = await first.urls()
  const who = async () => (await fetch(url!, { headers: { connection: 'close' } })).text()
  expect(await who()).toBe('first')
  const second = folder.start(['run', 'gateway.js', '--upgrade'], { ...socket, WHO: 'second' })
  expect(await second.urls()).toEqual([url])
  expect(await first.ended).toMatchObject({ code: 0 })
  expect(await who()).toBe('second')
  second.child.kill('SIGTERM')
  expect(await second.ended).toMatchObject({ code: 0 })
})

test.skipIf(process.platform === 'win32')('without a socket is told', async () => {
  const code = `import { HttpPeer } from 'millrace'
export default { upstreamPeer: new HttpPeer('http://127.0.0.1:1') }`
  const args = ['run', 'gateway.js', '--test', '--upgrade', '--listen', '127.0.0.1:0']
  const { code: rc, err } = await new Folder({ 'gateway.js': code }).run(args)
  expect(rc).toBe(1)
  expect(err).toContain('upgrade: found true, allowed: true together with upgradeSocket')
})
