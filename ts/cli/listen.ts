import { UsageError } from '../errors.js'
import { Service } from '../service.js'
import type { TlsOptions } from '../tls/options.js'
import { isUnix } from './config/rules.js'
import { Failure } from './failure.js'
import type { Asked, Settings } from './settings.js'

/** Gives services the endpoints that they are to have. Reads certificates, binds nothing. @throws Failure */
export function listen(services: readonly Service[], settings: Settings, module: string): void {
  const names = services.map(({ name }) => name)
  for (const [name, place] of settings.named)
    if (!names.includes(name))
      throw new Failure(
        `${place}services.${name}: ${module} has no service of this name, it has ${names.join(', ')}`,
      )
  const { listenFirst, listenOf } = settings
  const listening = services.filter((service) => Service.isListening(service))
  const all = listenFirst ?? settings.listen
  if (all !== undefined && listening.length !== 1)
    throw new Failure(
      `${all.source('listen')}${module} has ${listening.length} services that listen: say it of each, as services.NAME.listen in a configuration file`,
    )
  const asked = listening.flatMap((service): [Service, Asked, string][] => {
    const own = listenFirst === undefined ? listenOf.get(service.name) : undefined
    if (own !== undefined) return [[service, own, `services.${service.name}.listen`]]
    return all === undefined ? [] : [[service, all, 'listen']]
  })
  const started = asked.find(([{ state }]) => state !== 'new')
  if (started !== undefined) {
    const [, { source }, path] = started
    throw new Failure(
      `${source(path)}${module} has started its server already, where it said: leave start() to the command`,
    )
  }
  // In place of what the module says; first of all, as one service may get the address that another had.
  for (const [service] of asked) Service.forgetEndpoints(service)
  for (const one of asked) bind(...one)
  if (listening.length > 0 && listening.every(({ endpoints }) => endpoints.length === 0))
    throw new Failure(
      `${module}: nothing says where to listen: --listen 127.0.0.1:8080, MILLRACE_LISTEN, listen in a configuration file, or addTcp in the module`,
    )
}

function bind(service: Service, { listen, tell, exitCode }: Asked, path: string): void {
  for (const [at, one] of listen.entries()) {
    const { address, tls, ...sockets } = typeof one === 'string' ? { address: one, tls: undefined } : one
    try {
      if (isUnix(address)) service.addUnix(address.slice('unix:'.length), sockets)
      else if (tls === undefined) service.addTcp(address, sockets)
      else service.addTls(address, tls as TlsOptions, sockets)
    } catch (error) {
      if (!(error instanceof UsageError) || error.problems.length === 0) throw error
      const wrong = error.problems.map((problem) => {
        const isSocket = tls === undefined || /^(?:address|path|options)\b/.test(problem.path)
        const inner = isSocket
          ? problem.path.replace(/^options\./, '').replace(/^path$/, 'address')
          : `tls.${problem.path}`
        // An address by itself is all that there is.
        const full = typeof one === 'string' ? `${path}[${at}]` : `${path}[${at}].${inner}`
        return tell({ ...problem, path: full })
      })
      throw new Failure(wrong.join('\n'), exitCode)
    }
  }
}
