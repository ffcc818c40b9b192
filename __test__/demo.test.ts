// What `npm start` runs, and each command it prints.
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { afterEach, expect, test } from 'vitest'

const running: ChildProcess[] = []

afterEach(() => {
  for (const child of running.splice(0)) child.kill('SIGKILL')
})

/** The demo, once it has said all: its process, where it listens, and its commands. */
async function demo() {
  const child = spawn(process.execPath, ['target/examples/demo.js'], { stdio: ['ignore', 'pipe', 'inherit'] })
  running.push(child)
  const ended = once(child, 'exit')
  const lines: string[] = []
  const told = new Promise<void>((resolve) => {
    createInterface(child.stdout).on('line', (line) => {
      lines.push(line)
      if (line.startsWith('Ctrl-C')) resolve()
    })
  })
  await Promise.race([told, ended])
  const commands = lines.map((line) => line.trim()).filter((line) => line.startsWith('curl '))
  const [proxy, origin] = lines[0]!.match(/http:[\d.:/]+\d/g)!
  return { child, ended, lines, commands, proxy: proxy!, origin: origin! }
}

const run = async (command: string) =>
  (await promisify(execFile)('sh', ['-c', command.replace('curl', 'curl -sS --max-time 15')])).stdout

test('each command works as printed, and Ctrl-C ends it with 0', async () => {
  const { child, ended, lines, commands, proxy } = await demo()
  expect(commands).toHaveLength(6)
  const answers = await Promise.all(commands.map(run))
  const [page, hello, echo, failover, stream, headers] = answers as [
    string,
    string,
    string,
    string,
    string,
    string,
  ]

  expect(page).toContain('<h1>It works</h1>')
  expect(hello).toBe('Hello from requestFilter. No origin was asked.\n')
  expect(echo).toBe('some text')
  expect(failover).toMatch(/^HTTP\/1\.1 200 OK\r\n.*\r\nx-tries: 2\r\n.*\r\n\r\nGET \/failover\n/s)
  expect(stream).toBe(Array.from({ length: 10 }, (_, i) => `line ${i + 1} of 10\n`).join(''))
  expect(headers).toMatch(
    /^HTTP\/1\.1 200 OK\r\n.*\r\nx-tries: 1\r\n.*\r\n\r\nGET \/headers\n.*x-via: millrace\n/s,
  )
  expect(lines.join('\n')).toContain('127.0.0.1:9: CONNECT_REFUSED')

  // A request under way is served to its end.
  const download = fetch(`${proxy}/stream`)
  const response = await download
  child.kill('SIGINT')
  expect((await response.text()).split('\n')).toHaveLength(11)
  expect(await ended).toEqual([0, null])
  expect(lines.at(-1)).toBe('Stopped.')
})

test('a download arrives line by line', async () => {
  const { proxy } = await demo()
  const response = await fetch(`${proxy}/stream`)
  const times: number[] = []
  for await (const _ of response.body!) times.push(performance.now())
  expect(times.length).toBeGreaterThan(5)
  expect(times.at(-1)! - times[0]!).toBeGreaterThan(1_000)
})

test('where its ports are taken it takes others', async () => {
  const [one, two] = await Promise.all([demo(), demo()])
  const places = new Set([one.proxy, one.origin, two.proxy, two.origin])
  expect(places.size).toBe(4)
  for (const { proxy } of [one, two]) expect((await fetch(`${proxy}/hello`)).status).toBe(200)
})
