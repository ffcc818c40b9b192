// Modules with phases, for threads of their own.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { onTestFinished } from 'vitest'
import { HttpProxy, type HttpProxyOptions, Server } from '../../ts/index.js'

const root = fileURLToPath(new URL('../../target/test-modules/', import.meta.url))

/** A folder with modules, from which `millrace` can be imported. It goes with the test. */
export interface Modules {
  /** Writes one: its address. */
  write(name: string, source: string): URL
}

export function modules(): Modules {
  mkdirSync(root, { recursive: true })
  const folder = mkdtempSync(join(root, 'm-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return {
    write(name, source) {
      const file = join(folder, name)
      mkdirSync(dirname(file), { recursive: true })
      writeFileSync(file, source)
      return pathToFileURL(file)
    },
  }
}

/** A module with this in scope: HttpPeer, ProxyError, threadId, and a peer that refuses connections. */
export function gateway(source: string, name = 'gateway.mjs'): URL {
  const prelude =
    "import { HttpPeer, ProxyError } from 'millrace'\nimport { threadId } from 'node:worker_threads'\n" +
    "const dead = new HttpPeer('127.0.0.1:1')\n"
  return modules().write(name, prelude + source)
}

/** A server with one proxy whose phases are those of a module, before its start. It is closed with the test. */
export function plan(module: URL, options: HttpProxyOptions = {}) {
  const lines: string[] = []
  const log = (level: string) => (line: string) => void lines.push(`${level} ${line}`)
  const logger = { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') }
  const server = new Server({ graceMs: 1_000, logger })
  const proxy = server.addService(new HttpProxy(module, { threads: 2, ...options }))
  const http = proxy.addTcp('127.0.0.1:0')
  onTestFinished(async () => {
    await server.close({ graceMs: 0 })
  })
  return { server, proxy, http, lines }
}

/** The same, running. */
export async function startThreads(module: URL, options: HttpProxyOptions = {}) {
  const planned = plan(module, options)
  await planned.server.start()
  return { ...planned, to: planned.http.address }
}
