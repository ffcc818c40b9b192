import { type BodyStage, bytesOf, isLastPiece, type Output } from '../bodies/stage.js'
import type { Part } from '../composition.js'
import { type AnyPhases, nameOf, Phase, type Phases } from '../phases.js'
import { wrongReturn } from './call.js'
import type { RequestState } from './state.js'

/** Bits of an item of a body; the addon has the same list. */
export const BodyFlag = { end: 1, more: 2, change: 4, source: 8 } as const
/** Bits of the value of its reply. */
const Reply = { end: 1, more: 2, unchanged: 4 } as const

const EMPTY = Buffer.alloc(0)

/** One body of a request on its way through JavaScript. It has a slot of its own. */
export class BodyLane {
  readonly slot: number
  readonly parent: RequestState
  /** What stands behind the phases. */
  readonly stage: BodyStage | undefined = undefined
  seq = -1
  /** The phases still to run on this piece. */
  mask = 0
  /** The phase that runs, or ran last; of a stage the one that gave it. */
  phase: number
  /** The stage runs, and no phase. */
  #inStage = false
  readonly #stagePhase: number
  /** The promise waited for, as a number that goes up. */
  wait = 0
  /** Which of the parts that have the phase is next. */
  #part = 0
  /** Whether this piece went on after an await. */
  resumed = false
  /** The piece; null = dropped, undefined = there is none, but more was announced. */
  #piece: Uint8Array | null | undefined
  #isUnchanged = true
  #end = false
  #more = false
  #stagePending = false
  /** No phase has seen the piece: nobody else holds it. */
  #isOurs = true

  constructor(slot: number, parent: RequestState, flags: number) {
    this.slot = slot
    this.parent = parent
    this.phase = this.#stagePhase =
      (flags & BodyFlag.source) !== 0 ? parent.sourcePhase : Phase.responseFilter
    if ((flags & BodyFlag.source) !== 0) this.stage = parent.source
    else if ((flags & BodyFlag.change) !== 0) this.stage = parent.change
  }

  /** Another piece, copied: it is the user's to keep. */
  begin(seq: number, mask: number, flags: number, piece: Buffer): void {
    this.seq = seq
    this.mask = mask
    this.#part = 0
    this.resumed = false
    this.#piece = (flags & BodyFlag.more) !== 0 ? undefined : piece
    if (this.#piece === undefined) this.mask = 0
    this.#isUnchanged = true
    this.#end = (flags & BodyFlag.end) !== 0
    this.#more = false
    this.#stagePending = this.stage !== undefined
    this.#isOurs = true
  }

  /** Calls what comes next; undefined where nothing does. What it gives goes to `accept`. */
  step(): { value: unknown } | undefined {
    while (this.mask !== 0) {
      const bit = this.mask & -this.mask
      const phase = 31 - Math.clz32(bit)
      const { composition } = this.parent.proxy
      const part = composition === undefined ? undefined : this.#nextPart(composition.order[phase]!, phase)
      if (this.#part === 0) this.mask ^= bit
      // A piece that was dropped is not shown to the next phase, but the end is.
      if (part === null || (this.#piece === null && !this.#end)) continue
      this.phase = phase
      this.#inStage = false
      this.#isOurs = false
      return {
        value:
          part === undefined ? this.#call(this.parent.proxy.phases, this.parent.ctx) : this.#callPart(part),
      }
    }
    if (!this.#stagePending) return undefined
    this.#stagePending = false
    if (this.#piece === null && !this.#end) return undefined
    this.phase = this.#stagePhase
    this.#inStage = true
    if (this.#piece === undefined) return { value: this.#fromStage(undefined) }
    const piece = bufferOf(this.#piece)
    // A phase may have kept it, and may change it later.
    return { value: this.#fromStage(this.#isOurs ? piece : Buffer.from(piece)) }
  }

  #fromStage(piece: Buffer | undefined): unknown {
    const stage = this.stage!
    const { scope } = this.parent
    if (scope === undefined) return stage.next(piece, this.#end)
    return scope.runInAsyncScope(stage.next, stage, piece, this.#end)
  }

  /** The part whose turn it is; null if it does not want to see this body. */
  #nextPart(having: readonly Part[], phase: number): Part | null {
    const part = having[this.#part]!
    this.#part = (this.#part + 1) % having.length
    const isOut = phase !== Phase.requestBodyFilter && this.parent.parts!.unfiltered.has(part.index)
    return isOut || !this.parent.isFor(part) ? null : part
  }

  #callPart({ phases, index }: Part): unknown {
    return this.parent.inScope(() => this.#call(phases, this.parent.parts!.contexts[index]))
  }

  #call(given: AnyPhases, ctx: unknown): unknown {
    // Those with a filter have become functions: see `handlersOf`.
    const phases = given as Phases<unknown>
    const { session } = this.parent
    const chunk = bufferOf(this.#piece)
    if (this.phase === Phase.requestBodyFilter)
      return phases.requestBodyFilter!(session, chunk, this.#end, ctx)
    if (this.phase === Phase.upstreamResponseBodyFilter)
      return phases.upstreamResponseBodyFilter!(session, chunk, this.#end, ctx)
    return phases.responseBodyFilter!(session, chunk, this.#end, ctx)
  }

  /** Takes in what was called came to. @throws ProxyError PHASE_RETURN */
  accept(value: unknown): void {
    if (this.#inStage) {
      // The stage's own, whose shape is known.
      const { chunk, end, more } = value as Output
      this.#piece = chunk
      this.#isUnchanged = false
      this.#end = end
      this.#more = more
      return
    }
    if (value === undefined) return
    this.#isUnchanged = false
    if (value === null) this.#piece = null
    else if (typeof value === 'string' || value instanceof Uint8Array) this.#piece = bytesOf(value)
    else this.#piece = this.#last(value)
  }

  /** The piece of `{ chunk?, end: true }`. */
  #last(value: unknown): Uint8Array | null {
    if (!isLastPiece(value))
      throw wrongReturn(this.phase, value, 'nothing, null, a string, bytes, or { chunk, end: true }')
    const { chunk } = value
    this.#end = true
    return chunk === undefined ? null : bytesOf(chunk)
  }

  /** What the reply says, and the bytes that go with it. */
  reply(): { value: number; bytes: Uint8Array } {
    const end = this.#end ? Reply.end : 0
    const more = this.#more ? Reply.more : 0
    if (this.#isUnchanged) return { value: end | Reply.unchanged, bytes: EMPTY }
    return { value: end | more, bytes: this.#piece ?? EMPTY }
  }

  /** What runs, for messages. */
  get name(): string {
    return nameOf(this.phase)
  }
}

/** The same bytes as a Buffer; of none, an empty one. */
function bufferOf(piece: Uint8Array | null | undefined): Buffer {
  if (!piece) return EMPTY
  return piece instanceof Buffer ? piece : Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength)
}
