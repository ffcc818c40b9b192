import type { AsyncResource } from 'node:async_hooks'
import type { CheckedAnswer } from '../answer.js'
import type { BodyStage } from '../bodies/stage.js'
import type { Composition, Part } from '../composition.js'
import { type ProxyError, withoutStack } from '../errors.js'
import { Head } from '../head.js'
import type { AnyLog } from '../logger.js'
import type { NativePiece, NativeSubrequest, NativeSubrequestOptions, NativeTlsInfo } from '../native.js'
import type { HttpPeer } from '../peer.js'
import type { AnyPhases } from '../phases.js'
import {
  type Address,
  LiveResponse,
  LiveSession,
  type RequestView,
  type ResponseView,
  type Timings,
  type TlsView,
  type UpstreamView,
} from '../session.js'
import type { Running } from '../subrequest.js'
import { ClientTls } from '../tls/client-tls.js'
import type { PartsState } from './parts.js'
import { phaseOver, type Waiting } from './reads.js'

/** A proxy as the crossing sees it. */
export interface ProxyEntry {
  readonly id: number
  /** Its one object with phases. */
  readonly phases: AnyPhases
  readonly hasNewCtx: boolean
  /** Where it has several, or gives its requests an async context. */
  readonly composition?: Composition | undefined
  readonly fixedPeer: HttpPeer | undefined
  readonly callbackTimeoutMs: number
  /** How deep subrequests may go. */
  readonly maxSubrequestDepth: number
  /** Detached subrequests under way. */
  detached: number
  /** The server's, once it has started. */
  log: AnyLog
  /** Requests that JavaScript knows of. */
  sessions: number
}

/** What the requests of one JavaScript environment share. */
export interface Shared {
  /** Six numbers for each slot: see `Fact`. */
  facts: Float64Array
  readonly connections: Map<string, Connection>
  /** What the handshake came to of the client whose request has a slot. */
  readonly tlsOf: (slot: number) => NativeTlsInfo | null | undefined
  /** The next piece of the body of the request that has a slot. */
  readonly bodyPiece: (slot: number) => Promise<NativePiece>
  /** Reads the body of a request for its phase. */
  readonly readBody: (state: RequestState, maxBytes: number) => Promise<Buffer>
  readonly startSubrequest: (
    state: RequestState,
    what: SubrequestParts,
    peer: HttpPeer | undefined,
  ) => Started
  /** Sends the client of the request that has a slot an interim response. */
  readonly sendInterim: (slot: number, status: number, fields: string) => void
}

/** What a subrequest is made of, as it crosses. */
export type SubrequestParts = Omit<NativeSubrequestOptions, 'proxyId' | 'slot' | 'peer'>

/** A subrequest under way. */
export interface Started {
  readonly native: NativeSubrequest
  /** It has ended. */
  readonly forget: () => void
}

/** Numbers of a request, by their place. */
export const Fact = { start: 0, connectMs: 1, firstByteMs: 2, totalMs: 3, received: 4, sent: 5 } as const

/** Doubles kept for each slot. */
export const FACTS = 6

/** The connection of a client, as sessions show it. */
export class Connection {
  readonly id: string
  readonly remote: Address
  requests = 0
  readonly data = new Map<unknown, unknown>()
  /** Its TLS, null in the clear; undefined until somebody wants to know. */
  tls: TlsView | null | undefined = undefined

  constructor(id: string, remote: Address) {
    this.id = id
    this.remote = remote
  }
}

/** What the addon says of the body of a request that is over, by lines. */
export const OVER = 'INTERNAL\ninternal\n0\n500\nthe request is over'

/** Stands for "nothing was thrown", as anything can be. */
export const NOTHING = Symbol('nothing')

/** All that is known of one live request. Phases see it through the session, which checks `live`. */
export class RequestState {
  readonly slot: number
  readonly proxy: ProxyEntry
  readonly session: LiveSession
  readonly #shared: Shared
  /** The request section: target, method, host, ten lines, fields. */
  text: string
  readonly #targetEnd: number
  readonly #methodEnd: number
  readonly #hostEnd: number
  #fields = -1
  live = true
  /** Before `newCtx`. */
  fresh = true
  ctx: unknown = undefined
  /** What several parts keep, their contexts among it. */
  parts: PartsState | undefined = undefined
  /** The async context of the request. */
  scope: AsyncResource | undefined = undefined
  /** The crossing under way; -1 when there is none, or it is void. */
  seq = -1
  /** The phases still to run in it. */
  mask = 0
  /** The phase that runs; -1 = none. */
  phase = -1
  /** The promise waited for, as a number that goes up; what settles late has another. */
  wait = 0
  /** Whether the crossing went on after an await. */
  resumed = false
  /** The head of this crossing, if it has one. */
  head: Head | null = null
  response: Head | null = null
  status = 0
  responseStarted = false
  error: ProxyError | undefined = undefined
  errorText = ''
  /** Whether another try is safe: the error's own word may be shared with other requests. */
  canRetry = false
  /** What a phase threw last. */
  thrown: unknown = NOTHING
  thrownIn = -1
  answer: CheckedAnswer | null = null
  peer: HttpPeer | undefined
  decision = 0
  peerId = 0
  upstreamText = ''
  reused = false
  /** What the addon says of the request in bits; an app looks at them. */
  flags = 0
  attempt = 0
  /** In `logging`, which is the last of all. */
  ending = false
  /** Async `logging` waits: the connection may have closed, and nothing would tell of it again. */
  detached = false
  timer: NodeJS.Timeout | undefined = undefined
  /** What `responseFilter` gave to change the body with. */
  change: BodyStage | undefined = undefined
  /** Calls of `readBody` that wait, the first of them for the addon. */
  reads: Waiting[] = []
  /** The request's body was read, all of it. */
  hasRead = false
  /** What makes the body of the answer. */
  source: BodyStage | undefined = undefined
  /** The phase that gave it. */
  sourcePhase = -1
  request: RequestView | undefined = undefined
  aborted: ProxyError | undefined = undefined
  controller: AbortController | undefined = undefined
  /** Called when the signal fires, also where nobody has asked for it. */
  onAbort: ((reason: ProxyError) => void) | undefined = undefined
  #connection: Connection | undefined = undefined
  /** For each filter whether it is for the request: `1` or `0`. */
  #filters: string | undefined = undefined
  /** The request that this one was made for, by `session.subrequest`. */
  parent: RequestState | undefined = undefined
  /** How many of them there are, one for the other. */
  depth = 0
  #subrequests: Set<Running> | undefined = undefined
  #onOver: (() => void) | undefined = undefined

  constructor(
    slot: number,
    proxy: ProxyEntry,
    shared: Shared,
    text: string,
    target: number,
    method: number,
    host: number,
  ) {
    this.slot = slot
    this.proxy = proxy
    this.#shared = shared
    this.text = text
    this.#targetEnd = target
    this.#methodEnd = target + method
    this.#hostEnd = target + method + host
    this.peer = proxy.fixedPeer
    this.session = new LiveSession(this)
  }

  target(): string {
    return this.text.substring(0, this.#targetEnd)
  }

  method(): string {
    return this.text.substring(this.#targetEnd, this.#methodEnd)
  }

  host(): string {
    return this.text.substring(this.#methodEnd, this.#hostEnd)
  }

  /** One of the lines after the host. */
  meta(line: number): string {
    let from = this.#hostEnd + 1
    for (; line > 0; line--) from = this.text.indexOf('\n', from) + 1
    return this.text.substring(from, this.text.indexOf('\n', from))
  }

  /** Where the fields begin. */
  fields(): number {
    if (this.#fields >= 0) return this.#fields
    let at = this.#hostEnd
    for (let line = 0; line < 10; line++) at = this.text.indexOf('\n', at + 1)
    this.#fields = at
    return at
  }

  /**
   * Where to look for a field from. The lines before the fields have a colon only in the
   * addresses; no name longer than four hexadecimal digits is found in those by mistake.
   */
  fieldsFor(name: string): number {
    return name.length > 4 ? this.#hostEnd : this.fields()
  }

  address(line: number): Address {
    return { host: this.meta(line), port: Number(this.meta(line + 1)) }
  }

  /** Who the request comes from: whom trusted proxies name, or the other end of the socket. */
  client(): Address {
    const found = this.meta(8)
    if (found === '') return this.address(2)
    const space = found.lastIndexOf(' ')
    return { host: found.substring(0, space), port: Number(found.substring(space + 1)) }
  }

  /** Whether a part's phase is for this request. Of one that was refused nobody has looked. */
  isFor({ filter }: Part): boolean {
    if (filter === undefined) return true
    this.#filters ??= this.meta(9)
    return this.#filters.charCodeAt(filter) !== 48
  }

  connection(): Connection {
    if (this.#connection !== undefined) return this.#connection
    const id = this.meta(6)
    const { connections } = this.#shared
    const connection = connections.get(id) ?? new Connection(id, this.address(2))
    if (!this.detached) connections.set(id, connection)
    connection.requests = Math.max(connection.requests, Number(this.meta(7)))
    this.#connection = connection
    return connection
  }

  tls(): TlsView | undefined {
    const connection = this.connection()
    if (connection.tls === undefined) {
      const info = this.#shared.tlsOf(this.slot)
      connection.tls = info ? new ClientTls(info) : null
    }
    return connection.tls ?? undefined
  }

  startSubrequest(what: SubrequestParts, peer: HttpPeer | undefined): Started {
    return this.#shared.startSubrequest(this, what, peer)
  }

  /** Those under way that end with this request. */
  get subrequests(): Set<Running> {
    this.#subrequests ??= new Set()
    return this.#subrequests
  }

  #cancelSubrequests(reason: ProxyError | undefined): void {
    if (this.#subrequests === undefined) return
    const message = 'the request that the subrequest was made for is over'
    for (const run of this.#subrequests)
      run.cancel(reason ?? withoutStack({ code: 'CLIENT_ABORTED', source: 'downstream', message }))
    this.#subrequests.clear()
  }

  sendInterim(status: number, fields: string): void {
    this.#shared.sendInterim(this.slot, status, fields)
  }

  /** Forgets the connection: this was its last request. */
  dropConnection(): void {
    if (this.#shared.connections.size > 0) this.#shared.connections.delete(this.meta(6))
  }

  fact(which: number): number {
    return this.#shared.facts[this.slot * FACTS + which]!
  }

  timings(): Timings {
    const timings: { start: number; connectMs?: number; firstByteMs?: number; totalMs?: number } = {
      start: this.fact(0),
    }
    const [connectMs, firstByteMs, totalMs] = [this.fact(1), this.fact(2), this.fact(3)]
    // A number that is not known is NaN.
    if (!Number.isNaN(connectMs)) timings.connectMs = connectMs
    if (!Number.isNaN(firstByteMs)) timings.firstByteMs = firstByteMs
    if (!Number.isNaN(totalMs)) timings.totalMs = totalMs
    return timings
  }

  upstream(): UpstreamView | undefined {
    if (this.upstreamText === '' || this.peer === undefined) return undefined
    const address = this.upstreamText.substring(this.upstreamText.indexOf('\n') + 1)
    // The peer of a try that did not get a connection.
    if (address === '') return undefined
    return { peer: this.peer, address, reused: this.reused, attempt: this.attempt }
  }

  responseView(): ResponseView | undefined {
    if (this.answer !== null && (this.status === 0 || this.status === this.answer.status)) {
      const text = `\n${this.answer.fields.replace(/^[^\0]+\0/gm, (name) => `${name.slice(0, -1).toLowerCase()}:`)}`
      return new LiveResponse(this, new Head(text, 0, this.answer.status))
    }
    if (this.response !== null) return new LiveResponse(this, this.response)
    return this.status === 0 ? undefined : new LiveResponse(this, new Head('\n', 0, this.status))
  }

  signal(): AbortSignal {
    if (this.controller === undefined) {
      this.controller = new AbortController()
      // In `logging` also where it failed in another way.
      const why = this.aborted ?? (this.ending ? this.error : undefined)
      if (why !== undefined) this.controller.abort(why)
    }
    return this.controller.signal
  }

  summary(): string {
    const status = this.answer?.status ?? (this.status || this.response?.status) ?? '-'
    const total = this.fact(Fact.totalMs)
    const time = Number.isNaN(total) ? '-' : `${total.toFixed(1)}ms`
    const upstream = this.upstream()
    const via = upstream === undefined ? '' : ` via ${upstream.address}`
    const failed = this.error === undefined ? '' : ` ${this.error.code}`
    return `${this.client().host} ${this.method()} ${this.host()}${this.target()} ${status || '-'} ${this.fact(Fact.sent)}B ${time}${via}${failed}`
  }

  /** The next piece of the request's body, for an app. Never rejects. */
  bodyPiece(): Promise<NativePiece> {
    // Once it is over, the slot may be another request's.
    return this.live ? this.#shared.bodyPiece(this.slot) : Promise.resolve({ error: OVER })
  }

  readBody(maxBytes: number): Promise<Buffer> {
    return this.#shared.readBody(this, maxBytes)
  }

  /** Nobody reads on for what waits. */
  endReads(error: () => unknown): void {
    if (this.reads.length === 0) return
    const reads = this.reads
    this.reads = []
    const reason = error()
    for (const { reject } of reads) reject(reason)
  }

  /** Calls a function in the async context of the request, if it has one. */
  inScope<Args extends unknown[], T>(call: (...args: Args) => T, ...args: Args): T {
    if (this.scope === undefined) return call(...args)
    return this.scope.runInAsyncScope(call, undefined, ...args)
  }

  /** Settles once we, too, have been told that the request is over, of which the addon knows before. */
  whenOver(): Promise<void> {
    if (!this.live || this.aborted !== undefined) return Promise.resolve()
    return new Promise((resolve) => {
      this.#onOver = resolve
    })
  }

  /** Fires the signal. A listener that throws is reported by Node, not thrown here. */
  fire(reason: ProxyError): void {
    const { controller, onAbort } = this
    if (this.aborted !== undefined) this.#onOver?.()
    this.#cancelSubrequests(reason)
    if (controller !== undefined) this.inScope(() => controller.abort(reason))
    onAbort?.(reason)
  }

  /** Nobody wants what its bodies were to be changed with, or made by. */
  #cancelStages(): void {
    const { change, source, answer } = this
    answer?.cancel()
    if (change === undefined && source === undefined) return
    this.inScope(() => {
      change?.cancel()
      source?.cancel()
    })
  }

  changeWith(stage: BodyStage): void {
    // Of a try that came to nothing.
    this.change?.cancel()
    this.change = stage
  }

  sourceFrom(stage: BodyStage): void {
    this.source?.cancel()
    this.source = stage
    this.sourcePhase = this.phase
  }

  /** Ends it: whatever is kept of it throws from now on. */
  die(): void {
    this.live = false
    this.#onOver?.()
    this.phase = -1
    this.wait++
    this.closeHead()
    this.endReads(() => this.aborted ?? phaseOver())
    if (this.timer !== undefined) clearTimeout(this.timer)
    this.#cancelStages()
    this.#cancelSubrequests(undefined)
    this.text = ''
    this.upstreamText = ''
    this.errorText = ''
    this.ctx = undefined
    this.parts = undefined
    this.scope = undefined
    this.head = null
    this.response = null
    this.error = undefined
    this.thrown = NOTHING
    this.answer = null
    this.peer = undefined
    this.request = undefined
    this.onAbort = undefined
  }

  /** Makes the header objects of the phase that ended unusable. */
  closeHead(): void {
    if (this.head !== null) this.head.turn++
  }
}
