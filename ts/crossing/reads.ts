import { type ProxyError, UsageError } from '../errors.js'
import { nameOf, Phase } from '../phases.js'
import { type Records, Result } from './records.js'
import type { RequestState } from './state.js'

/** The phases before the upstream, as a mask. */
const MAY_READ =
  (1 << Phase.earlyRequestFilter) |
  (1 << Phase.requestFilter) |
  (1 << Phase.proxyUpstreamFilter) |
  (1 << Phase.upstreamPeer)

/** One call of `readBody` that waits. */
export interface Waiting {
  readonly maxBytes: number
  readonly resolve: (body: Buffer) => void
  readonly reject: (error: unknown) => void
}

/** What reading wants of its crossing. */
export interface ReadHost {
  readonly records: Records
  /** What is written outside of a batch goes over soon. */
  flushSoon(): void
  /** A copy of the body of the request that has this slot, once it was read. */
  bodyOf(slot: number): Buffer | null | undefined
}

/** Request bodies on their way to the phases that wait for them, one call of a request at a time. */
export class BodyReads {
  readonly #host: ReadHost

  constructor(host: ReadHost) {
    this.#host = host
  }

  read(state: RequestState, maxBytes: number): Promise<Buffer> {
    const promise = new Promise<Buffer>((resolve, reject) => {
      const known = state.hasRead ? this.#host.bodyOf(state.slot) : undefined
      if (known && known.length <= maxBytes) return resolve(known)
      const mayRead = state.phase >= 0 && (MAY_READ & (1 << state.phase)) !== 0
      if (!mayRead || (state.attempt > 1 && !state.hasRead)) return reject(state.aborted ?? cannot(state))
      state.reads.push({ maxBytes, resolve, reject })
      if (state.reads.length === 1) this.#ask(state)
    })
    // Whoever does not wait for it need not hear of its failure.
    promise.catch(() => undefined)
    return promise
  }

  #ask(state: RequestState): void {
    this.#host.records.plain(state.slot, state.seq, Result.read, state.phase, state.reads[0]!.maxBytes)
    this.#host.flushSoon()
  }

  /** The addon has it, or says why not. */
  settle(state: RequestState, error: ProxyError | undefined): void {
    const waiting = state.reads.shift()
    if (waiting === undefined) return
    if (error !== undefined) waiting.reject(error)
    else {
      state.hasRead = true
      waiting.resolve(this.#host.bodyOf(state.slot) ?? Buffer.alloc(0))
    }
    if (state.reads.length > 0) this.#ask(state)
  }
}

function cannot(state: RequestState): UsageError {
  const where = state.phase < 0 ? 'no phase of this request is running' : `this is ${nameOf(state.phase)}`
  const message = `readBody is for phases before the upstream is chosen: ${where}`
  return new UsageError('CANNOT_READ_BODY', message)
}

/** Why calls of `readBody` fail that wait when their phase is over. */
export function phaseOver(): UsageError {
  return new UsageError(
    'CANNOT_READ_BODY',
    'the phases before the upstream were over before the body was read',
  )
}
