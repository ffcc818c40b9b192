// The examples of docs/apps.md, as they stand.
import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { runExample } from './support/example.js'
import { until } from './support/proxy.js'

test('examples/http-app.ts answers, echoes, and streams until its client leaves', async () => {
  const { at, child, ended } = await runExample('http-app', [])
  const ask = (path: string, init?: RequestInit) => fetch(`http://${at}${path}`, init)
  expect(await (await ask('/')).text()).toBe('Hello 127.0.0.1\n')
  expect(await (await ask('/echo', { method: 'POST', body: 'back' })).text()).toBe('back')
  expect((await ask('/none')).status).toBe(404)
  expect((await ask('/echo', { method: 'POST', body: Buffer.alloc(1_000_001) })).status).toBe(413)
  const leaving = new AbortController()
  const ticks = await ask('/ticks', { signal: leaving.signal })
  const { value } = await ticks.body!.getReader().read()
  expect(Buffer.from(value!).toString()).toMatch(/^\d{4}-.*Z\n$/)
  leaving.abort()
  child.kill('SIGTERM')
  expect(await ended).toEqual([0, null])
})

test('examples/tcp.ts chats, and passes connections on', async () => {
  const database = createServer((socket) => void socket.on('error', () => {}).pipe(socket)).listen(
    0,
    '127.0.0.1',
  )
  await once(database, 'listening')
  onTestFinished(() => void database.close())
  const place = `127.0.0.1:${(database.address() as AddressInfo).port}`
  const { at, secure, child, ended } = await runExample('tcp', [], { DATABASE: place })
  const join = async (to: string) => {
    const [host, port] = to.split(':') as [string, string]
    const socket = connect({ host, port: Number(port) }).setEncoding('utf8')
    onTestFinished(() => void socket.destroy())
    const seen = { text: '', socket }
    socket.on('data', (text: string) => {
      seen.text += text
    })
    await once(socket, 'connect')
    return seen
  }
  const one = await join(at)
  await until(() => one.text.endsWith(` here, you are ${one.socket.localPort}\n`))
  const two = await join(at)
  await until(() => two.text.endsWith(` here, you are ${two.socket.localPort}\n`))
  one.socket.write('hello\n')
  await until(() => two.text.endsWith(`${one.socket.localPort}: hello\n`))
  const query = await join(secure)
  query.socket.end('select 1')
  await until(() => query.text === 'select 1')
  child.kill('SIGTERM')
  await until(() => one.text.endsWith('Good-bye!\n') && two.text.endsWith('Good-bye!\n'))
  expect(await ended).toEqual([0, null])
})
