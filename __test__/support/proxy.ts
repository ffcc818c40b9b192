import { type Environment, theEnvironment } from '../../ts/crossing/environment.js'
import {
  type AnyPart,
  type AnyPhases,
  type Endpoint,
  HttpProxy,
  type HttpProxyOptions,
  type Server,
} from '../../ts/index.js'
import { startService } from './app.js'

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
  const service = new HttpProxy(phases as AnyPhases, { threads: 2, ...options })
  const { server, endpoint: http, to, lines } = await startService(service)
  return { server, proxy: service, http, to, lines, environment: theEnvironment() }
}

/** Looks at `done` again and again, as for what no event tells of, until it is true. */
export async function until(done: () => boolean, what = done.toString(), ms = 20_000): Promise<void> {
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

/** Waits until a count that has begun stands still. */
export async function rests(count: () => number): Promise<void> {
  let before = -1
  await until(() => {
    const now = count()
    const same = now > 0 && now === before
    before = now
    return same
  })
  await new Promise((resolve) => setTimeout(resolve, 100))
}
