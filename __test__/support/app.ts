import { onTestFinished } from 'vitest'
import { type Handler, HttpApp, type HttpAppOptions, Server, type Service } from '../../ts/index.js'

/** Starts a service on a free port, in the clear. It is closed with the test. */
export async function startService<S extends Service>(service: S) {
  const lines: string[] = []
  const log = (level: string) => (line: string) => void lines.push(`${level} ${line}`)
  const logger = { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') }
  const server = new Server({ graceMs: 1_000, logger })
  const endpoint = server.addService(service).addTcp('127.0.0.1:0')
  await server.start()
  onTestFinished(async () => {
    await server.close({ graceMs: 0 })
  })
  return { server, service, endpoint, url: endpoint.url, to: endpoint.address, lines }
}

/** Starts an app on a free port. */
export function startApp(handler: Handler | { fetch: Handler }, options: HttpAppOptions = {}) {
  return startService(new HttpApp(handler, { threads: 2, ...options }))
}
