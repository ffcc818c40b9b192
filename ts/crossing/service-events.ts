import type { NativeServiceEvent } from '../native.js'

/** Takes what the addon tells of the services of a server. */
export type ServiceEvents = (event: NativeServiceEvent) => void

/** Hands what the addon tells of services to their servers. */
export class ServiceRouter {
  readonly #servers = new Map<number, ServiceEvents>()
  readonly #fault: (error: unknown) => void

  constructor(fault: (error: unknown) => void) {
    this.#fault = fault
  }

  /** What is told of the services of a server goes there from now on. */
  add(server: number, events: ServiceEvents): void {
    this.#servers.set(server, events)
  }

  /** The server has stopped: what is on its way already comes within a round of the event loop. */
  retire(server: number): void {
    setImmediate(() => setImmediate(() => this.#servers.delete(server)))
  }

  /** What has been told since the last call. */
  take(events: readonly NativeServiceEvent[]): void {
    for (const event of events) {
      try {
        this.#servers.get(event.server)?.(event)
      } catch (error) {
        this.#fault(error)
      }
    }
  }
}
