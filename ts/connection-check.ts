import { Complaints } from './complaints.js'
import { theEnvironment } from './crossing/environment.js'
import { describe } from './crossing/failure.js'
import { isThenable } from './crossing/promise.js'
import { show } from './errors.js'
import { type AnyLog, makeLog } from './logger.js'
import { NativeConnectionCheck } from './native.js'
import type { Address } from './session.js'

/** A connection that has come in, of which nothing has been read yet. */
export interface IncomingConnection {
  /** Who connects: as a proxy says, where one is believed. */
  readonly client: Address
  /** Where the client has connected to. */
  readonly server: Address
}

/** Says whether a connection is taken. */
export type ConnectionCheck = (connection: IncomingConnection) => boolean | PromiseLike<boolean>

/** The check of an endpoint. */
export interface EndpointCheck {
  readonly native: NativeConnectionCheck
  /** The server's, once it has started. */
  log: AnyLog
}

/** What the addon asks. Whatever `check` does costs only the connection that it is asked about. */
export function makeCheck(check: ConnectionCheck, limitMs: number): EndpointCheck {
  const environment = theEnvironment()
  const complaints = new Complaints('connectionFilter')
  const complain = (client: Address, what: string) =>
    complaints.add((line) => made.log.error(line), `connectionFilter failed for ${client.host}: ${what}`)

  /** Every question is answered, also if nobody waits any more: those that are not are counted. */
  const answer = (question: number, client: Address, found: unknown) => {
    if (typeof found === 'boolean') return made.native.answer(question, found)
    complain(client, `it returned ${show(found)}, not true or false`)
    made.native.answer(question)
  }
  const fail = (question: number, client: Address, thrown: unknown) => {
    complain(client, describe(thrown))
    made.native.answer(question)
  }

  const wait = async (question: number, client: Address, promise: PromiseLike<unknown>) => {
    let isLate = false
    const late = setTimeout(() => {
      isLate = true
      made.native.late(question)
    }, limitMs).unref()
    try {
      const found = await promise
      if (isLate) environment.crossing.late++
      else answer(question, client, found)
    } catch (error) {
      if (isLate) environment.crossing.late++
      else fail(question, client, error)
    } finally {
      clearTimeout(late)
    }
  }

  const ask = (question: number, host: string, port: number, serverHost: string, serverPort: number) => {
    const client = Object.freeze({ host, port })
    try {
      const server = Object.freeze({ host: serverHost, port: serverPort })
      const found: unknown = check(Object.freeze({ client, server }))
      if (isThenable(found)) void wait(question, client, found)
      else answer(question, client, found)
    } catch (error) {
      fail(question, client, error)
    }
  }

  const made: EndpointCheck = {
    native: new NativeConnectionCheck(environment.native, limitMs, ask),
    log: makeLog(undefined),
  }
  return made
}
