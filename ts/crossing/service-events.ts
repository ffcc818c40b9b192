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

  /** The server has stopped: its last events may still be on their way for so long. */
  retire(server: number, afterMs: number): void {
    setTimeout(() => this.#servers.delete(server), afterMs).unref()
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
