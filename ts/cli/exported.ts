import { show } from '../errors.js'
import type { AnyPhases } from '../phases.js'
import { HttpProxy } from '../proxy.js'
import { Server } from '../server.js'
import { Service } from '../service.js'
import { Failure } from './failure.js'

/** What a module may export, in words. */
export const EXPORTS =
  'a server, a service such as an HttpProxy, phases, or a function or class that makes one'

/** A server, and its services. */
export interface Runnable {
  readonly server: Server
  readonly services: readonly Service[]
}

/**
 * What a default export stands for: a server; a service, or phases (an object, or a list of parts), for which a
 * server is made; a class of phases; or a function that makes one of them.
 *
 * @param module where it is from, for phases that are to be loaded anew: they run in a thread of their own
 */
export async function runnable(exported: unknown, given: string, module?: URL): Promise<Runnable> {
  const value = await made(exported, given)
  const services = Server.servicesOf(value)
  if (services !== undefined) return { server: value as Server, services }
  if (isOfAnother(value))
    throw new Failure(
      `${given}: its default export is a ${(value as object).constructor.name} of another copy of millrace than this command`,
    )
  const service = Service.is(value) ? value : proxyOf(value as AnyPhases, module)
  const server = new Server()
  server.addService(service)
  return { server, services: [service] }
}

function proxyOf(phases: AnyPhases, module: URL | undefined): HttpProxy {
  const proxy = new HttpProxy(phases)
  return module === undefined ? proxy : new HttpProxy(module)
}

async function made(exported: unknown, given: string): Promise<unknown> {
  const value: unknown = await exported
  if (typeof value !== 'function') return checked(value, given)
  const made: unknown = isClass(value)
    ? new (value as unknown as new () => unknown)()
    : await (value as () => unknown)()
  return checked(made, given)
}

function checked(value: unknown, given: string): unknown {
  if (typeof value === 'object' && value !== null) return value
  throw new Failure(`${given}: its default export is ${show(value)}: it may be ${EXPORTS}`)
}

const isClass = (value: object) => /^class\b/.test(Function.prototype.toString.call(value))

function isOfAnother(value: unknown): boolean {
  const name = (value as object).constructor?.name
  return (name === 'Server' || name === 'HttpProxy') && 'addService' in (value as object)
}
