import { isBeforeAll } from '../phases.js'
import { phaseTimeout, reportFailure } from './failure.js'
import { BodyLane } from './lane.js'
import { isThenable, whenSettled } from './promise.js'
import { type Records, Result } from './records.js'
import type { RequestState } from './state.js'

/** What the lanes want of their crossing. */
export interface LaneHost {
  readonly records: Records
  /** What is settled outside of a batch goes over soon. */
  flushSoon(): void
  /** A promise settled when nobody waited for it any more. */
  settledLate(): void
  /** Something is wrong in here. */
  fault(error: unknown): void
}

/** The bodies under way, by their slots: runs what there is to run on each of their pieces. */
export class BodyLanes {
  readonly #host: LaneHost
  readonly #lanes: (BodyLane | undefined)[] = []

  constructor(host: LaneHost) {
    this.#host = host
  }

  has(slot: number): boolean {
    return this.#lanes[slot] !== undefined
  }

  /** A piece of a body. Whether its request is still known. */
  take(
    slot: number,
    seq: number,
    mask: number,
    flags: number,
    piece: Buffer,
    parent: RequestState | undefined,
  ): boolean {
    let lane = this.#lanes[slot]
    if (lane === undefined) {
      if (parent === undefined) return false
      lane = new BodyLane(slot, parent, flags)
      this.#lanes[slot] = lane
    }
    lane.begin(seq, mask, flags, piece)
    if (!lane.parent.live) return false
    const { thrown, thrownIn } = lane.parent
    if (isBeforeAll(thrownIn)) this.#failed(lane, thrown, thrownIn)
    else this.#advance(lane)
    return true
  }

  /** The piece of a lane is not waited for any more. */
  abort(slot: number, isTooSlow: boolean): void {
    const lane = this.#lanes[slot]!
    lane.wait++
    const { parent } = lane
    if (!isTooSlow || !parent.live) return
    parent.aborted ??= phaseTimeout(lane.name)
    parent.fire(parent.aborted)
  }

  /** The body of a lane is over. */
  end(slot: number, seq: number): void {
    const lane = this.#lanes[slot]!
    lane.wait++
    this.#lanes[slot] = undefined
    const { stage } = lane
    if (stage !== undefined) lane.parent.inScope(() => stage.cancel())
    this.#host.records.plain(slot, seq, Result.free, 0, 0)
  }

  #advance(lane: BodyLane): void {
    try {
      for (let step = lane.step(); step !== undefined; step = lane.step()) {
        const { value } = step
        if (typeof value === 'object' && isThenable(value)) {
          this.#wait(lane, value)
          return
        }
        lane.accept(value)
      }
    } catch (error) {
      this.#failed(lane, error)
      return
    }
    const { value, bytes } = lane.reply()
    lane.wait++
    try {
      this.#host.records.full(lane.slot, lane.seq, Result.done, lane.phase, value, '', bytes)
    } catch (error) {
      // Bytes of a buffer that was transferred to somebody else, or has shrunk.
      this.#failed(lane, error)
    }
  }

  #wait(lane: BodyLane, promise: object): void {
    const wait = ++lane.wait
    whenSettled(promise, (failed, value) => this.#resume(lane, wait, failed, value), this.#host.fault)
    if (lane.resumed) this.#host.records.plain(lane.slot, lane.seq, Result.progress, lane.phase, 0)
  }

  #resume(lane: BodyLane, wait: number, failed: boolean, value: unknown): void {
    if (lane.wait !== wait || !lane.parent.live) {
      this.#host.settledLate()
      return
    }
    this.#host.flushSoon()
    lane.resumed = true
    try {
      if (failed) throw value
      lane.accept(value)
    } catch (error) {
      this.#failed(lane, error)
      return
    }
    this.#advance(lane)
  }

  #failed(lane: BodyLane, thrown: unknown, phase = lane.phase): void {
    const { slot, seq, parent } = lane
    lane.wait++
    reportFailure(this.#host.records, slot, seq, phase, parent, thrown)
  }
}
