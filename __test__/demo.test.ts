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
  const commands = lines.map((line) => line.trim()).filter((line) => /^(?:curl|node) /.test(line))
  const [proxy, secure, origin] = lines[0]!.match(/https?:[\d.:/]+\d/g)!
  return { child, ended, lines, commands, proxy: proxy!, secure: secure!, origin: origin! }
}

/** What curl says when the time is up that its command gives it. */
const CURL_TIMED_OUT = 28

async function run(command: string): Promise<string> {
  const quiet = command.replace(/^curl /, 'curl -sS --max-time 15 ')
  const done = promisify(execFile)('sh', ['-c', quiet], { encoding: 'latin1', timeout: 15_000 })
  const { stdout } = await done.catch((error) => {
    if (error.code === CURL_TIMED_OUT && command.includes('--max-time')) return error as { stdout: string }
    throw error
  })
  return stdout
}

test('each command works as printed, and SIGTERM ends it with 0', async () => {
  const { child, ended, lines, commands, proxy } = await demo()
  expect(commands).toHaveLength(10)
  const answers = await Promise.all(commands.map(run))
  const [page, hello, echo, failover, stream, headers, secure, clear, greeting, socket] = answers

  expect(page).toContain('<h1>It works</h1>')
  expect(hello).toBe('Hello from requestFilter. No origin was asked.\n')
  expect(echo).toBe('some text')
  expect(failover).toMatch(/^HTTP\/1\.1 200 OK\r\n.*\r\nx-tries: 2\r\n.*\r\n\r\nGET \/failover\n/s)
  expect(stream).toBe(Array.from({ length: 10 }, (_, i) => `line ${i + 1} of 10\n`).join(''))
  expect(headers).toMatch(
    /^HTTP\/1\.1 200 OK\r\n.*\r\nx-tries: 1\r\n.*\r\n\r\nGET \/headers\n.*x-via: millrace\n/s,
  )
  for (const h2 of [secure, clear])
    expect(h2).toMatch(/^HTTP\/2 200 \r\n.*\r\nx-tries: 1\r\n.*\r\n\r\nGET \/headers\n.*x-via: millrace\n/s)
  expect(greeting).toMatch(
    /^HTTP\/1\.1 101 Switching Protocols\r\n.*\r\n\r\n\x81 Hello\. What you send comes back\n$/s,
  )
  expect(socket).toBe('Hello. What you send comes back\n\nhello\n')
  expect(lines.join('\n')).toContain('127.0.0.1:9: CONNECT_REFUSED')

  // A request under way is served to its end.
  const download = fetch(`${proxy}/stream`)
  const response = await download
  child.kill('SIGTERM')
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
  const places = new Set([one, two].flatMap(({ proxy, secure, origin }) => [proxy, secure, origin]))
  expect(places.size).toBe(6)
  for (const { proxy } of [one, two]) expect((await fetch(`${proxy}/hello`)).status).toBe(200)
})
