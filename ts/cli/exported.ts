import { show } from '../errors.js'
import { overridden } from '../overrides.js'
import type { AnyPhases } from '../phases.js'
import { HttpProxy, type HttpProxyOptions } from '../proxy.js'
import { Server } from '../server.js'
import { Service } from '../service.js'
import { madeOf } from '../threads/made.js'
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
 * @param module where it is from, for phases that are to run in threads of their own
 * @param reloads whether it is to be loaded anew, which those can be
 */
export async function runnable(
  exported: unknown,
  given: string,
  module: URL,
  reloads: boolean,
): Promise<Runnable> {
  const value = await made(exported, given)
  const services = Server.servicesOf(value)
  if (services !== undefined) return whole(value as Server, services, given)
  if (isOfAnother(value))
    throw new Failure(
      `${given}: its default export is a ${(value as object).constructor.name} of another copy of millrace than this command`,
    )
  const service = Service.is(value) ? value : proxyOf(value as AnyPhases, module, reloads)
  const server = new Server()
  server.addService(service)
  return { server, services: [service] }
}

/** A server that has something to run. */
function whole(server: Server, services: readonly Service[], given: string): Runnable {
  if (server.state === 'closing' || server.state === 'closed')
    throw new Failure(`${given}: its server is closed`)
  if (services.length === 0) throw new Failure(`${given}: its server has no services: see addService`)
  return { server, services }
}

function proxyOf(phases: AnyPhases, module: URL, reloads: boolean): HttpProxy {
  const { jsThreads, jsBlockedTimeoutMs } = overridden.proxy<HttpProxyOptions>({})
  const isInThreads = reloads || jsThreads !== undefined || jsBlockedTimeoutMs !== undefined
  // What is wrong with the phases is told by the thread that loads them.
  return isInThreads ? new HttpProxy(module) : new HttpProxy(phases)
}

async function made(exported: unknown, given: string): Promise<unknown> {
  // It is called once here, as in the only thread of a module.
  return checked(await madeOf(exported, { index: 0, count: 1 }, isRunnable), given)
}

/** Whether objects of a class are servers or services, whose constructors take options. */
const isRunnable = ({ prototype }: { prototype: unknown }) =>
  prototype instanceof Server || prototype instanceof Service

function checked(value: unknown, given: string): unknown {
  if (typeof value === 'object' && value !== null) return value
  throw new Failure(`${given}: its default export is ${show(value)}: it may be ${EXPORTS}`)
}

function isOfAnother(value: unknown): boolean {
  const name = (value as object).constructor?.name
  return (name === 'Server' || name === 'HttpProxy') && 'addService' in (value as object)
}
