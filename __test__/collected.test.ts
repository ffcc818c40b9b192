import { execFileSync } from 'node:child_process'
import { expect, it } from 'vitest'

const program = `
  import { HttpProxy, Server } from 'millrace'
  async function start() {
    const server = new Server()
    const http = server.addService(new HttpProxy({ requestFilter: () => 204, upstreamPeer() {} })).addTcp('127.0.0.1:0')
    await server.start()
    return http.url
  }
  const url = await start()
  for (let i = 0; i < 20; i++) {
    gc()
    await new Promise(setImmediate)
    const { status } = await fetch(url)
    if (status !== 204) throw new Error(String(status))
  }
  console.log('served')
  process.exit()
`

it('serves on when nothing refers to the server any more', () => {
  const args = ['--expose-gc', '--input-type=module', '--eval', program]
  expect(execFileSync(process.execPath, args, { encoding: 'utf8', timeout: 20_000 })).toBe('served\n')
})
