import type { Endpoint } from '../endpoint.js'
import { type OptionProblem, UsageError } from '../errors.js'
import { HttpProxy } from '../proxy.js'
import { Service } from '../service.js'
import { isUnix, type Listen } from './config/rules.js'
import { Failure } from './failure.js'
import { keepingSockets, keepingTls, lostGuard } from './keeping.js'
import type { Asked, Settings } from './settings.js'

/** Gives services the endpoints that they are to have. Reads certificates, binds nothing. @throws Failure */
export function listen(services: readonly Service[], settings: Settings, module: string): void {
  checkNames(services, settings, module)
  const { listenFirst } = settings
  // A flag or a variable stands in place of what the file says, as that does of what the module says: what keeps an
  // endpoint from being open to everybody stays.
  const inFile = placesOf(services, { ...settings, listenFirst: undefined }, module)
  give(inFile, module)
  if (listenFirst !== undefined)
    give(
      placesOf(services, settings, module).filter(([, said]) => said === listenFirst),
      module,
    )
  const listening = services.filter((service) => Service.isListening(service))
  if (listening.length > 0 && listening.every(({ endpoints }) => endpoints.length === 0))
    throw new Failure(
      `${module}: nothing says where to listen: --listen 127.0.0.1:8080, MILLRACE_LISTEN, listen in a configuration file, or addTcp in the module`,
    )
}

/** Gives each service what is asked of it. */
function give(asked: readonly [Service, Asked, string][], module: string): void {
  const started = asked.find(([{ state }]) => state !== 'new')
  if (started !== undefined) {
    const [, { source }, path] = started
    throw new Failure(
      `${source(path)}${module} has started its server already, where it said: leave start() to the command`,
    )
  }
  // First of all, as one service may get the address that another had.
  const before = asked.map(([service]) => Service.forgetEndpoints(service))
  for (const [at, [service, said, path]] of asked.entries())
    replace({ service, said, path, module }, before[at]!)
}

/** That all that is said is said of a service that there is. */
function checkNames(services: readonly Service[], settings: Settings, module: string): void {
  const names = services.map(({ name }) => name)
  for (const [name, place] of settings.named) {
    const count = names.filter((one) => one === name).length
    const wrong = (what: string) => new Failure(`${place}services.${name}: ${module} has ${what}`)
    if (count === 0) throw wrong(`no service of this name, it has ${names.join(', ') || 'none'}`)
    if (count > 1) throw wrong(`${count} services of this name: give each its own, as the option name`)
  }
  for (const service of services) {
    const said = Service.isListening(service) ? undefined : settings.listenOf.get(service.name)
    if (said === undefined) continue
    const allowed = `nothing: the service ${service.name} works in the background`
    throw new Failure(
      said.tell({ path: `services.${service.name}.listen`, found: said.listen, allowed }),
      said.exitCode,
    )
  }
  const [useless] = settings.ofProxies
  if (useless !== undefined && !services.some((service) => service instanceof HttpProxy))
    throw new Failure(
      `${useless.who}: ${module} has no HttpProxy; options of another service are said in a configuration file, as services.NAME`,
      useless.exitCode,
    )
}

/** Which services are told where to listen, by whom. */
function placesOf(
  services: readonly Service[],
  { listenFirst, listen, listenOf }: Settings,
  module: string,
): [Service, Asked, string][] {
  const listening = services.filter((service) => Service.isListening(service))
  const all = listenFirst ?? listen
  // Of one service by itself a flag says it all; else those are meant of which the file says nothing.
  const isOne = listening.length === 1
  const meant = listening.filter(({ name }) => (isOne && all === listenFirst) || !listenOf.has(name))
  if (all !== undefined && meant.length !== 1 && !(isOne && meant.length === 0)) {
    const names = meant.map(({ name }) => name).join(', ')
    const has = [
      listening.length === 0 && 'no service that listens',
      meant.length === 0 && 'no service without a services.NAME.listen of its own',
      meant.length === listening.length && `${meant.length} services that listen (${names})`,
      `${meant.length} services without a services.NAME.listen (${names})`,
    ].find((one) => one !== false)
    const how = meant.length === 0 ? '' : ': say it of each, as services.NAME.listen in a configuration file'
    throw new Failure(`${all.source('listen')}${module} has ${has}${how}`, all.exitCode)
  }
  return listening.flatMap((service): [Service, Asked, string][] => {
    if (all !== undefined && meant.includes(service)) return [[service, all, 'listen']]
    const own = listenOf.get(service.name)
    return own === undefined ? [] : [[service, own, `services.${service.name}.listen`]]
  })
}

/** What is asked of a service. */
interface Place {
  readonly service: Service
  readonly said: Asked
  readonly path: string
  readonly module: string
}

/**
 * Gives it the endpoints that are asked for in place of those `before`. One for one they keep what is not said of
 * them anew; one by itself is kept in all. The objects that the module has are the new ones, in their order.
 */
function replace(place: Place, before: readonly Endpoint[]): void {
  const { service, said, path, module } = place
  const { listen, source, exitCode } = said
  const isOneForOne = before.length === 1 || before.length === listen.length
  const lost = isOneForOne ? undefined : lostGuard(before, listen)
  if (lost !== undefined) {
    const places = (of: readonly Endpoint[]) => of.map(({ asked }) => asked).join(', ')
    const { guard, of } = lost
    throw new Failure(
      `${source(path)}${listen.length} in place of the ${before.length} addresses that ${module} says (${places(before)}): as these are not as many, ${guard} of ${places(of)} would be lost, and what is new be open to everybody: say as many, in their order, or ${guard} of each, as listen in a configuration file`,
      exitCode,
    )
  }
  for (const at of listen.keys()) {
    const kept = isOneForOne ? before[before.length === 1 ? 0 : at] : undefined
    try {
      bind(place, at, kept)
    } catch (error) {
      if (!(error instanceof UsageError) || error.problems.length === 0) throw error
      throw new Failure(error.problems.map((one) => tell(place, at, one)).join('\n'), exitCode)
    }
  }
  Service.reuseEndpoints(service, before)
}

function bind({ service, said, path, module }: Place, at: number, kept: Endpoint | undefined): void {
  const { address, tls, ...own } = listened(said.listen[at]!)
  const sockets = keepingSockets(address, own, kept)
  const keptTls = tls === undefined ? kept?.tls : undefined
  if (isUnix(address)) {
    if (keptTls !== undefined)
      throw new Failure(
        `${said.source(`${path}[${at}]`)}${address} has no TLS, and ${kept!.asked} of ${module}, in whose place it is, has: it would be open; tls: false in a configuration file says that it may be`,
        said.exitCode,
      )
    service.addUnix(address.slice('unix:'.length), sockets)
  } else if (keptTls !== undefined) Service.shareTls(service, address, keptTls, sockets)
  else if (tls === undefined || tls === false) service.addTcp(address, sockets)
  else service.addTls(address, keepingTls(tls, kept), sockets)
}

function listened(one: string | Listen): Listen {
  return typeof one === 'string' ? { address: one } : one
}

/** What is wrong with an endpoint, in the words of who said it. */
function tell({ said, path }: Place, at: number, problem: OptionProblem): string {
  const one = said.listen[at]!
  const { tls } = listened(one)
  const isSocket = tls === undefined || tls === false || /^(?:address|path|options)\b/.test(problem.path)
  const inner = isSocket
    ? problem.path.replace(/^options\./, '').replace(/^path$/, 'address')
    : `tls.${problem.path}`
  // An address by itself is all that there is.
  const full = typeof one === 'string' ? `${path}[${at}]` : `${path}[${at}].${inner}`
  return said.tell({ ...problem, path: full })
}
