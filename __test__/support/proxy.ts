import { onTestFinished } from 'vitest'
import { type Environment, theEnvironment } from '../../ts/crossing/environment.js'
import {
  type AnyPart,
  type AnyPhases,
  type Endpoint,
  HttpProxy,
  type HttpProxyOptions,
  Server,
} from '../../ts/index.js'

/** A server with one proxy, running. */
export interface Running {
  server: Server
  proxy: HttpProxy
  http: Endpoint
  /** Where to connect to. */
  to: { host: string; port: number }
  /** What was logged: `level line`. */
  lines: string[]
  /** The way to its phases, whose numbers can be read. */
  environment: Environment
}

/** Starts a proxy with these phases on a free port. It is closed with the test. */
export async function startProxy(
  phases: AnyPhases | AnyPart | readonly AnyPart[],
  options: HttpProxyOptions = {},
): Promise<Running> {
  const lines: string[] = []
  const log = (level: string) => (line: string) => void lines.push(`${level} ${line}`)
  const logger = { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') }
  const server = new Server({ graceMs: 1_000, logger })
  const proxy = server.addService(new HttpProxy(phases as AnyPhases, { threads: 2, ...options }))
  const http = proxy.addTcp('127.0.0.1:0')
  await server.start()
  onTestFinished(async () => {
    await server.close({ graceMs: 0 })
  })
  return { server, proxy, http, to: http.address, lines, environment: theEnvironment() }
}

/** Looks at `done` again and again, as for what no event tells of, until it is true. */
export async function until(done: () => boolean, what = done.toString(), ms = 10_000): Promise<void> {
  const end = Date.now() + ms
  while (!done()) {
    if (Date.now() > end) throw new Error(`did not come to be in ${ms} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}

/** A promise with its handles. */
export function deferred<T = void>() {
  let resolve!: (value: T) => void
  let reject!: (error: unknown) => void
  const promise = new Promise<T>((ok, bad) => {
    resolve = ok
    reject = bad
  })
  return { promise, resolve, reject }
}
