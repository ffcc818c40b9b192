import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { onTestFinished, vi } from 'vitest'

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** An example that listens. */
export interface Example {
  /** `127.0.0.1:port` */
  at: string
  child: ChildProcess
  /** Settles with code and signal. */
  ended: Promise<unknown[]>
}

/** Runs an example as it stands, but for its port, and with `origin` in place of its origin. */
export async function runExample(name: string, origin: string): Promise<Example> {
  const port = await freePort()
  const file = `target/${name}-${process.pid}.mjs`
  const program = readFileSync(`target/examples/${name}.js`, 'utf8')
  writeFileSync(file, program.replace(':8000', `:${port}`).replace('http://127.0.0.1:3000', origin))
  const child = spawn(process.execPath, [file], { stdio: ['ignore', 'ignore', 'inherit'] })
  const ended = once(child, 'exit')
  onTestFinished(() => {
    child.kill('SIGKILL')
    rmSync(file)
  })
  const listens = async () => {
    const socket = connect(port, '127.0.0.1')
    await once(socket, 'connect').finally(() => socket.destroy())
  }
  await vi.waitFor(listens, { timeout: 10_000 })
  return { at: `127.0.0.1:${port}`, child, ended }
}
