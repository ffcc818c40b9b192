import type { NativeSubrequest, NativeSubrequestOptions } from '../native.js'
import type { RequestState, Started, SubrequestParts } from './state.js'

/** The subrequests under way, and the requests that they were made for. */
export class Subrequests {
  /** Makes the addon's side of one. */
  make: ((options: NativeSubrequestOptions) => NativeSubrequest) | undefined
  readonly #parents = new Map<string, RequestState>()

  /** Starts one, to the peer of this number, or with 0 through the phases. */
  start(state: RequestState, what: SubrequestParts, peer: number): Started {
    const native = this.make!({ ...what, proxyId: state.proxy.id, slot: state.slot, peer })
    const { id } = native
    // Only with phases does it come back as a request.
    if (peer === 0) this.#parents.set(id, state)
    return { native, forget: () => void this.#parents.delete(id) }
  }

  /** Tells a request that has begun whose subrequest it is. */
  adopt(state: RequestState): void {
    if (this.#parents.size === 0) return
    const parent = this.#parents.get(state.meta(0))
    if (parent === undefined) return
    state.parent = parent
    state.depth = parent.depth + 1
  }
}
