import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { pathToFileURL } from 'node:url'
import { onTestFinished, vi } from 'vitest'
import type { Injected, InjectRequest } from '../../ts/testing/index.js'

/** Free ports, which differ. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(servers.map((server) => once(server, 'listening')))
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  for (const server of servers) server.close()
  await Promise.all(servers.map((server) => once(server, 'close')))
  return ports
}

/** An example that listens. */
export interface Example {
  /** `127.0.0.1:port` in place of its port 8000. */
  at: string
  /** `127.0.0.1:port` in place of its port 8443. */
  secure: string
  child: ChildProcess
  /** What it has written to stderr. */
  stderr(): string
  /** What it has written to stdout. */
  stdout(): string
  /** Settles with code and signal. */
  ended: Promise<unknown[]>
}

/** Runs an example as it stands, but for its ports, and with `origins` in place of those on ports 3000 and on. */
export async function runExample(
  name: string,
  origins: string | readonly string[],
  env: Record<string, string> = {},
): Promise<Example> {
  const ports = await freePorts(2)
  const file = `target/${name}-${process.pid}-${ports[0]}.mjs`
  const program = readFileSync(`target/examples/${name}.js`, 'utf8')
  const used = [':8000', ':8443'].map((port) => program.includes(port))
  const own = program.replace(':8000', `:${ports[0]}`).replace(':8443', `:${ports[1]}`)
  const placed = [origins]
    .flat()
    .reduce((text, origin, at) => text.replace(`http://127.0.0.1:${3000 + at}`, origin), own)
  writeFileSync(file, placed)
  const child = spawn(process.execPath, [file], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  })
  const ended = once(child, 'exit')
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  let stdout = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.on('close', (code) => {
    if (code !== 0 && code !== null) console.error(stderr)
  })
  onTestFinished(() => {
    child.kill('SIGKILL')
    rmSync(file)
  })
  const listens = async (port: number) => {
    const socket = connect(port, '127.0.0.1')
    await once(socket, 'connect').finally(() => socket.destroy())
  }
  for (const port of ports.filter((_, at) => used[at])) {
    await vi.waitFor(() => listens(port), { timeout: 10_000 })
  }
  const [at, secure] = ports.map((port) => `127.0.0.1:${port}`) as [string, string]
  return { at, secure, child, stderr: () => stderr, stdout: () => stdout, ended }
}

const root = (path: string) => pathToFileURL(path).href

/** In the place of `millrace`: the same, with servers that keep their services and do not listen. */
const SHIM = `
export * from '${root('dist/index.js')}'
export const services = []
export class Server {
  addService(service) { services.push(service); return service }
  async start() {}
  async run() {}
  async close() {}
}
`

let loaded = 0

/** Loads an example as it stands, but that it does not listen: sends requests through its proxy. */
export async function loadExample(
  name: string,
): Promise<(request?: InjectRequest) => Promise<Injected<Record<string, unknown>>>> {
  const file = `target/${name}-${process.pid}-${++loaded}`
  const shim = `${file}-shim.mjs`
  writeFileSync(shim, SHIM)
  const program = readFileSync(`target/examples/${name}.js`, 'utf8')
  writeFileSync(`${file}.mjs`, program.replace("from 'millrace'", `from '${root(shim)}'`))
  onTestFinished(() => {
    for (const one of [shim, `${file}.mjs`]) rmSync(one)
  })
  await import(/* @vite-ignore */ root(`${file}.mjs`))
  const { services } = await import(/* @vite-ignore */ root(shim))
  // Of the build that the example runs on.
  const { inject } = await import(/* @vite-ignore */ root('dist/testing/index.js'))
  return (request) => inject(services[0], request)
}
