import { Complaints } from '../complaints.js'
import { Phase } from '../phases.js'
import { callPhase } from './call.js'
import { describe, isGivenUp } from './failure.js'
import { ERROR_LOG } from './items.js'
import { logParts } from './parts.js'
import { isThenable, whenSettled } from './promise.js'
import type { RequestState } from './state.js'
import { tellFailure } from './tell.js'

/** How many requests may wait for the promise of their `logging`: there have to be places for others. */
const MOST_UNSETTLED = 32_768

/** What the ends of requests need of the crossing. */
interface Host {
  /** The request goes on when this has settled. */
  wait(state: RequestState, promise: object): void
  /** The request is over, and its slot is free. */
  forget(state: RequestState): void
  /** Hands over what is told of requests. */
  finish(): void
  fault(error: unknown): void
}

/** The ends of requests: their signals, the lines of those that failed, and `logging`. */
export class Endings {
  readonly #host: Host
  /** Promises of `logging` that are waited for. */
  #unsettled = 0
  readonly #slow = new Complaints('logging to settle')
  readonly #many = new Complaints('logging to be waited for')

  constructor(host: Host) {
    this.#host = host
  }

  /** A request has ended, and all that is left to run of it is what `mask` says. */
  end(state: RequestState, mask: number, lastOfConnection: boolean): void {
    if (lastOfConnection) state.dropConnection()
    state.ending = true
    state.wait++
    if (state.aborted === undefined && state.error !== undefined) {
      // While no phase ran, or of what one did.
      if (isGivenUp(state.error)) state.aborted = state.error
      state.fire(state.error)
    }
    if ((mask & ERROR_LOG) !== 0 && state.error !== undefined) tellFailure(state)
    if ((mask & (1 << Phase.logging)) !== 0 && this.#log(state)) return
    this.#host.forget(state)
  }

  /** Says whether `logging` goes on. */
  #log(state: RequestState): boolean {
    state.phase = Phase.logging
    try {
      const { phases, composition } = state.proxy
      const value =
        composition === undefined
          ? callPhase(state, Phase.logging, phases, state.ctx)
          : logParts(state, composition)
      return isThenable(value) && this.#settles(state, value)
    } catch (error) {
      failed(state, error)
      return false
    }
  }

  /** Says whether the request waits for the promise of its `logging`. */
  #settles(state: RequestState, promise: object): boolean {
    if (this.#unsettled === MOST_UNSETTLED) {
      const line = `${MOST_UNSETTLED} logging have not settled: sessions end before those of further ones`
      this.#many.add((text) => state.proxy.log.error(text), line)
      whenSettled(promise, (isFailure, error) => isFailure && failed(state, error), this.#host.fault)
      return false
    }
    this.#host.wait(state, promise)
    state.detached = true
    this.#unsettled++
    const limit = state.proxy.callbackTimeoutMs
    if (limit > 0) state.timer = setTimeout(() => this.#overdue(state), limit).unref()
    return true
  }

  #overdue(state: RequestState): void {
    if (!state.live) return
    this.#slow.add((text) => state.proxy.log.error(text), 'logging did not settle in time')
    this.#host.forget(state)
    this.#host.finish()
  }

  /** A request is over, and `logging` is not waited for any more. */
  dropped(state: RequestState): void {
    if (state.detached) this.#unsettled--
  }
}

function failed(state: RequestState, error: unknown): void {
  state.proxy.log.error(`logging failed: ${describe(error)}`)
}
