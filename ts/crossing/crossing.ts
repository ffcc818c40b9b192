import { discard } from '../answer.js'
import { Head } from '../head.js'
import type { AnyLog } from '../logger.js'
import type { NativeLogRecord, NativeServiceEvent } from '../native.js'
import { HttpPeer, type PeerTable } from '../peer.js'
import { nameOf, Phase } from '../phases.js'
import type { FastBuffer } from './buffer.js'
import { acceptResult, callPhase, wrongAnswer } from './call.js'
import { Endings } from './ending.js'
import { describe, givenUp, phaseTimeout, readError, reportFailure, toldError } from './failure.js'
import { ENDED, ITEM, Kind, NUMBERS, OTHER_HEADS, TOO_SLOW, TRY_EXPIRED } from './items.js'
import { BodyLanes } from './lanes.js'
import { Logs } from './logs.js'
import { begin, callPart, checkCtx, partDone, wantedOfBody } from './parts.js'
import { isThenable, whenSettled } from './promise.js'
import { Proxies } from './proxies.js'
import { BodyReads, phaseOver } from './reads.js'
import { type CrossingLike, Records, Result } from './records.js'
import { ServiceRouter } from './service-events.js'
import {
  FACTS,
  type ProxyEntry,
  RequestState,
  type Shared,
  type Started,
  type SubrequestParts,
} from './state.js'
import { StreamRouter } from './streams.js'
import { Subrequests } from './subrequests.js'

/** Beside the status of an answer: its body is made piece by piece. The addon knows it too. */
const STREAMED = 1 << 16

/** Makes the addon's side of a crossing. */
export type MakeNative = (
  dispatch: (items: number) => void,
  logged: (records: NativeLogRecord[]) => void,
  told: (events: NativeServiceEvent[]) => void,
) => CrossingLike

/**
 * Takes the addon's items in batches, runs phases, and hands the results back in batches. Nothing
 * a phase does gets out of `dispatch`.
 */
export class Crossing {
  readonly native: CrossingLike
  /** Where faults of millrace itself are told. */
  readonly log: AnyLog
  /** Where the log lines of servers go. */
  readonly logs = new Logs()
  /** The phases that requests come for. */
  readonly proxies = new Proxies()
  /** Where goes what is told of services. */
  readonly services = new ServiceRouter((error) => this.#fault(error))
  /** Where go the connections of apps. */
  readonly streams = new StreamRouter()
  readonly subrequests = new Subrequests()
  /** Promises that settled when nobody waited for them any more. */
  late = 0
  readonly #table: PeerTable
  readonly #slots: (RequestState | undefined)[] = []
  /** Bodies under way, each in a slot of its own. */
  readonly #lanes: BodyLanes
  readonly #reads: BodyReads
  readonly #shared: Shared = {
    facts: new Float64Array(FACTS * 256),
    connections: new Map(),
    tlsOf: (slot) => this.native.tls(slot),
    bodyPiece: (slot) => this.native.bodyPiece(slot),
    readBody: (state, maxBytes) => this.#reads.read(state, maxBytes),
    startSubrequest: (state, what, peer) => this.#startSubrequest(state, what, peer),
    sendInterim: (slot, status, fields) => {
      this.#records.full(slot, 0, Result.interim, 0, status, fields, '')
      this.#flushSoon()
    },
  }
  readonly #records: Records
  readonly #input: FastBuffer
  readonly #items: Int32Array
  readonly #numbers: Float64Array
  readonly #endings: Endings
  #epoch = 0
  #dispatching = false
  #flushing = false
  readonly #fault = (error: unknown) => this.log.error(`a fault in millrace: ${describe(error)}`)
  readonly #flush = () => {
    this.#flushing = false
    try {
      this.#records.finish()
    } catch (error) {
      this.#fault(error)
    }
  }

  constructor(make: MakeNative, table: PeerTable, log: AnyLog) {
    this.#table = table
    this.log = log
    this.native = make(
      (items) => this.#dispatch(items),
      (records) => this.logs.take(records),
      (events) => this.services.take(events),
    )
    const { input, items, numbers, records } = this.native.buffers()
    this.#input = input as FastBuffer
    this.#items = items
    this.#numbers = numbers
    this.#records = new Records(this.native, records)
    this.#reads = new BodyReads({
      records: this.#records,
      flushSoon: () => this.#flushSoon(),
      bodyOf: (slot: number): Buffer | null => this.native.body(slot),
    })
    this.#endings = new Endings({
      wait: (state, promise) => this.#wait(state, promise),
      forget: (state) => this.#forget(state),
      finish: () => this.#records.finish(),
      fault: this.#fault,
    })
    this.#lanes = new BodyLanes({
      records: this.#records,
      flushSoon: () => this.#flushSoon(),
      settledLate: () => void this.late++,
      fault: this.#fault,
    })
  }

  /** Live requests. */
  get sessions(): number {
    let count = 0
    for (const state of this.#slots) if (state !== undefined) count++
    return count
  }

  /** How many requests, of these phases or of all, are in a `logging` that has not settled. */
  logging(entries?: ReadonlySet<ProxyEntry>): number {
    let count = 0
    for (const state of this.#slots) if (state?.ending && entries?.has(state.proxy) !== false) count++
    return count
  }

  #dispatch(count: number): void {
    this.#dispatching = true
    try {
      this.#epoch = this.#table.peerEpoch()
      const items = this.#items
      let end = ENDED + 1
      const last = end + 2 * items[ENDED]!
      for (let item = 0; item < count; item++) {
        for (; end < last && items[end]! <= item; end += 2) this.#ended(items[end + 1]!)
        try {
          this.#take(item)
        } catch (error) {
          this.#fault(error)
        }
      }
      for (; end < last; end += 2) this.#ended(items[end + 1]!)
      if (last > ENDED + 1) this.#records.plain(0, 0, Result.ended, 0, 0)
      this.#records.finish()
    } catch (error) {
      this.#fault(error)
    }
    this.#dispatching = false
  }

  /** A request has ended and left nothing to run: twice its slot, and one if it was the last of its connection. */
  #ended(told: number): void {
    const state = this.#slots[told >> 1]
    if (state === undefined) return
    try {
      if ((told & 1) !== 0) state.dropConnection()
      this.#drop(state)
    } catch (error) {
      this.#fault(error)
    }
  }

  #take(item: number): void {
    const items = this.#items
    const at = item * ITEM
    const slot = items[at]!
    const kind = items[at + 2]!
    if (kind === Kind.retired) {
      this.proxies.retired(items[at + 1]!)
      return
    }
    const seq = items[at + 3]!
    const mask = items[at + 4]!
    const requestLength = items[at + 6]!
    if (kind === Kind.body) {
      const from = items[at + 5]!
      const piece = Buffer.allocUnsafe(requestLength)
      this.#input.copy(piece, 0, from, from + requestLength)
      const parent = this.#slots[items[at + 7]!]
      if (!this.#lanes.take(slot, seq, mask, items[at + 15]!, piece, parent)) this.#unknown(slot, seq)
      return
    }
    let state = this.#slots[slot]
    const ends = kind === Kind.end || kind === Kind.abort
    // What tells of a connection has no slot: it says 0, which may be a body's.
    if (ends && state === undefined && requestLength === 0 && this.#lanes.has(slot)) {
      if (kind === Kind.abort) this.#lanes.abort(slot, items[at + 15]! === TOO_SLOW)
      else this.#lanes.end(slot, seq)
      return
    }
    const upstreamLength = items[at + 10]!
    const headLength = items[at + 11]!
    const errorLength = items[at + 13]!
    const offset = items[at + 5]!
    const length = requestLength + upstreamLength + headLength + errorLength
    const text = length === 0 ? '' : this.#input.latin1Slice(offset, offset + length)
    if (kind === Kind.closed) {
      this.#shared.connections.delete(text)
      return
    }
    if (kind === Kind.stream) {
      this.streams.take(items[at + 1]!, text)
      return
    }

    if (requestLength > 0) {
      if (state !== undefined) this.#forget(state)
      const section = requestLength === length ? text : text.substring(0, requestLength)
      state = this.#open(item, slot, section)
    }
    if (state === undefined) {
      // Nothing is known of it: an END frees the slot all the same, anything else must not wait.
      if (kind === Kind.end) this.#records.plain(slot, seq, Result.free, 0, 0)
      else if (kind === Kind.run) this.#unknown(slot, seq)
      return
    }

    if (kind === Kind.read) {
      if (state.seq === seq) this.#reads.settle(state, errorLength > 0 ? toldError(text) : undefined)
      return
    }
    const flags = items[at + 15]!
    if (kind === Kind.abort) {
      this.#abort(state, seq, flags)
      return
    }
    const { facts } = this.#shared
    const numbers = item * NUMBERS
    for (let i = 0, to = slot * FACTS; i < FACTS; i++) facts[to + i] = this.#numbers[numbers + i]!
    const headAt = requestLength + upstreamLength
    const errorAt = headAt + headLength
    if (upstreamLength > 0) state.upstreamText = text.substring(requestLength, headAt)
    state.attempt = items[at + 14]!
    state.seq = seq
    state.mask = mask
    state.status = (mask & (1 << Phase.interimResponseFilter)) === 0 ? items[at + 12]! : 0
    state.flags = flags
    state.reused = (flags & 1) !== 0
    state.responseStarted = (flags & 2) !== 0
    state.decision = 0
    state.resumed = false
    // The head that went out is known better than the answer it was made of.
    if (kind === Kind.run || headLength > 0) state.answer = null
    state.closeHead()
    if (headLength > 0) this.#setHead(state, item, text.substring(headAt, errorAt))
    else state.head = null
    if (errorLength > 0) readError(text.substring(errorAt), state)
    else state.error = undefined

    if (state.fresh && state.proxy.hasNewCtx && !this.#newCtx(state, kind)) return
    if (kind === Kind.end) this.#endings.end(state, mask, (flags & 4) !== 0)
    else this.#advance(state)
  }

  #open(item: number, slot: number, text: string): RequestState | undefined {
    const items = this.#items
    const at = item * ITEM
    const proxy = this.proxies.get(items[at + 1]!)
    if (proxy === undefined) return undefined
    const state = new RequestState(
      slot,
      proxy,
      this.#shared,
      text,
      items[at + 7]!,
      items[at + 8]!,
      items[at + 9]!,
    )
    this.subrequests.adopt(state)
    proxy.sessions++
    this.#slots[slot] = state
    if ((slot + 1) * FACTS > this.#shared.facts.length) {
      const bigger = new Float64Array((slot + 1) * FACTS * 2)
      bigger.set(this.#shared.facts)
      this.#shared.facts = bigger
    }
    return state
  }

  #setHead(state: RequestState, item: number, text: string): void {
    const upstream = (state.mask & (1 << Phase.upstreamRequestFilter)) !== 0
    if (upstream) {
      state.head = Head.request(text)
      return
    }
    state.head = new Head(text, 0, this.#items[item * ITEM + 12]!)
    if ((state.mask & OTHER_HEADS) === 0) state.response = state.head
  }

  /** What is settled outside of a batch goes over in one with what else settles now. */
  #flushSoon(): void {
    if (this.#dispatching || this.#flushing) return
    this.#flushing = true
    this.#epoch = this.#table.peerEpoch()
    queueMicrotask(this.#flush)
  }

  /** Says whether the item may go on. */
  #newCtx(state: RequestState, kind: number): boolean {
    state.fresh = false
    state.phase = Phase.newCtx
    try {
      const { phases, composition } = state.proxy
      if (composition === undefined) state.ctx = checkCtx(phases.newCtx!(state.session))
      else begin(state, composition)
      return true
    } catch (error) {
      if (kind === Kind.run) this.#failed(state, error)
      else state.proxy.log.error(`${nameOf(state.phase)} failed: ${describe(error)}`)
      return kind !== Kind.run
    } finally {
      state.phase = -1
    }
  }

  /** Runs the phases left in the mask, until one answers, fails, decides or has to be waited for. */
  #advance(state: RequestState): void {
    try {
      while (state.mask !== 0) {
        const bit = state.mask & -state.mask
        const phase = 31 - Math.clz32(bit)
        state.phase = phase
        let value: unknown
        const { phases, composition } = state.proxy
        if (composition === undefined) {
          state.mask ^= bit
          value = callPhase(state, phase, phases, state.ctx)
        } else value = callPart(state, phase, composition)
        if (typeof value === 'object' && value !== null && isThenable(value)) {
          this.#wait(state, value)
          return
        }
        if (this.#settled(state, phase, value)) return
      }
      this.#done(state)
    } catch (error) {
      this.#failed(state, error)
    }
  }

  /** Takes a phase's value in and says whether the crossing is over, or waits. */
  #settled(state: RequestState, phase: number, value: unknown): boolean {
    if (state.answer === null) {
      try {
        if (state.scope === undefined) acceptResult(state, phase, value)
        else state.inScope(acceptResult, state, phase, value)
      } catch (error) {
        discard(value)
        throw error
      }
    } else if (value !== undefined) state.session.respond(value as number)
    const { answer } = state
    if (answer !== null) {
      const { reading } = answer
      if (reading !== null) {
        answer.reading = null
        this.#wait(state, reading)
        return true
      }
      this.#answered(state, phase)
      return true
    }
    if (phase === Phase.upstreamPeer) state.peerId = this.#peerId(state.peer!)
    if (state.proxy.composition !== undefined) partDone(state)
    state.closeHead()
    return false
  }

  #wait(state: RequestState, promise: object): void {
    const wait = ++state.wait
    const phase = state.phase
    whenSettled(promise, (failed, value) => this.#resume(state, wait, phase, failed, value), this.#fault)
    if (state.resumed && !state.ending) this.#records.plain(state.slot, state.seq, Result.progress, phase, 0)
  }

  #resume(state: RequestState, wait: number, phase: number, failed: boolean, value: unknown): void {
    if (!state.live || state.wait !== wait) {
      this.late++
      if (!failed) discard(value)
      return
    }
    this.#flushSoon()
    if (state.ending) {
      if (failed) state.proxy.log.error(`logging failed: ${describe(value)}`)
      this.#forget(state)
      return
    }
    state.phase = phase
    state.resumed = true
    try {
      // Of a Response it is its body that has failed.
      if (failed) throw state.answer?.stop ? wrongAnswer(phase, value) : value
      if (this.#settled(state, phase, value)) return
    } catch (error) {
      this.#failed(state, error)
      return
    }
    this.#advance(state)
  }

  #done(state: RequestState): void {
    const { slot, seq, phase } = state
    const { head } = state
    const { composition } = state.proxy
    // Responses are the only heads of which a body is wanted.
    const wanted = composition === undefined ? head?.wanted : head && wantedOfBody(state, composition)
    const value = phase === Phase.upstreamPeer ? state.peerId : state.decision | (wanted ?? 0)
    const edits = head === null ? '' : head.edits
    if (head !== null && head.stage !== undefined) state.changeWith(head.stage)
    this.#rest(state)
    if (edits === '') this.#records.plain(slot, seq, Result.done, phase, value)
    else this.#records.full(slot, seq, Result.done, phase, value, edits, '')
  }

  #answered(state: RequestState, phase: number): void {
    const { status, fields, body } = state.answer!
    const source = state.answer!.takeSource()
    const { slot, seq } = state
    if (source !== null) state.sourceFrom(source)
    this.#rest(state)
    const value = source === null ? status : status | STREAMED
    this.#records.full(slot, seq, Result.answered, phase, value, fields, body)
  }

  #failed(state: RequestState, thrown: unknown): void {
    const { slot, seq, phase } = state
    state.answer?.cancel()
    state.answer = null
    this.#rest(state)
    reportFailure(this.#records, slot, seq, phase, state, thrown)
  }

  /** The crossing is over; the request waits for the addon. */
  #rest(state: RequestState): void {
    state.closeHead()
    state.endReads(phaseOver)
    state.phase = -1
    state.mask = 0
    if (state.parts !== undefined) state.parts.next = 0
    state.wait++
  }

  #abort(state: RequestState, seq: number, reason: number): void {
    const phase = state.phase
    const name = phase < 0 ? 'a phase' : nameOf(phase)
    const why = reason === TOO_SLOW ? phaseTimeout(name) : givenUp(reason)
    state.endReads(() => why)
    if (state.seq === seq) {
      this.#rest(state)
      state.seq = -1
      state.answer?.cancel()
    }
    if (reason === TRY_EXPIRED) {
      state.fire(why)
      // The next try has a signal of its own.
      state.controller = undefined
      return
    }
    state.aborted = why
    state.fire(why)
    if (state.ending) this.#forget(state)
  }

  /** The session dies, and its slot is free. */
  #forget(state: RequestState): void {
    this.#drop(state)
    this.#records.plain(state.slot, state.seq, Result.free, 0, 0)
  }

  #drop(state: RequestState): void {
    this.#endings.dropped(state)
    state.die()
    state.proxy.sessions--
    this.#slots[state.slot] = undefined
  }

  #unknown(slot: number, seq: number): void {
    this.#records.full(slot, seq, Result.thrown, 0, 0, '', 'INTERNAL\nno proxy of this number')
  }

  #startSubrequest(state: RequestState, what: SubrequestParts, peer: HttpPeer | undefined): Started {
    this.#epoch = this.#table.peerEpoch()
    return this.subrequests.start(state, what, peer === undefined ? 0 : this.#peerId(peer))
  }

  #peerId(peer: HttpPeer): number {
    if (HttpPeer.isRegistered(peer, this.#epoch)) return HttpPeer.id(peer)
    // Numbers already written stay good: the addon keeps the table before the one it began anew.
    const id = HttpPeer.register(peer, this.#table)
    this.#epoch = this.#table.peerEpoch()
    return id
  }
}
