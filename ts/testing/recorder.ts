import type { Composition, Part } from '../composition.js'
import { isThenable } from '../crossing/promise.js'
import type { ProxyEntry } from '../crossing/state.js'
import { nextEntry } from '../entry.js'
import type { ProxyError } from '../errors.js'
import type { AnyLog } from '../logger.js'
import { HttpPeer } from '../peer.js'
import { type AnyPhases, Hook, PHASES, Phase, type PhaseName } from '../phases.js'
import { LiveSession, type Session } from '../session.js'
import { outcomeOf, type PhaseCall } from './calls.js'

type Bag = Record<string, ((...args: unknown[]) => unknown) | undefined>

/** What is known of one request. */
export class Recorded {
  readonly session: Session
  readonly entry: ProxyEntry
  readonly target: string
  readonly isSubrequest: boolean
  readonly calls: PhaseCall[] = []
  readonly contexts: unknown[] = []
  error: ProxyError | undefined = undefined
  attempt = 1

  constructor(session: Session, entry: ProxyEntry) {
    this.session = session
    this.entry = entry
    this.target = session.request.target
    this.isSubrequest = session.parent !== undefined
  }

  /** The context of its one object with phases, or those of all parts. */
  get ctx(): unknown {
    const { composition } = this.entry
    return composition === undefined || composition.single !== undefined ? this.contexts[0] : this.contexts
  }

  /** The phases that it has and that were not called, in their order. */
  get skipped(): PhaseName[] {
    const called = new Set(this.calls.map(({ phase }) => phase))
    return implemented.get(this.entry)!.filter((name) => !called.has(name))
  }
}

/** Of one set of phases. */
interface Whole {
  entry(): ProxyEntry
  /** The parts that have `logging`. */
  readonly logs: readonly Part[]
}

function isFixed(phase: number, { fixedPeer }: ProxyEntry): boolean {
  return phase === Phase.upstreamPeer && fixedPeer !== undefined
}

/** The functions that have a say in the line that tells of a failure. */
const HOOKS = (1 << Hook.suppressErrorLog) | (1 << Hook.requestSummary)

/** Which phases were there, by the entry that took their place. */
const implemented = new WeakMap<ProxyEntry, PhaseName[]>()

/** Stands between a proxy and its phases, and writes down what they do. */
export class Recorder {
  readonly requests: Recorded[] = []
  /** Peers that requests may go to, as far as they are known. */
  readonly peers = new Set<HttpPeer>()
  readonly entries: ProxyEntry[] = []
  readonly #bySession = new Map<unknown, Recorded>()
  readonly #log: AnyLog
  #whenIdle: (() => void)[] = []

  readonly #begun: () => void
  /** Settles when the proxy is done with the request that was injected. */
  readonly over: Promise<void>
  #over!: () => void

  /** @param begun told when something is known of a request, before any phase is */
  constructor(log: AnyLog, begun: () => void) {
    this.#log = log
    this.#begun = begun
    this.over = new Promise((resolve) => {
      this.#over = resolve
    })
  }

  /** The same phases, watched, as a set of their own. */
  watch(entry: ProxyEntry, composition: Composition): ProxyEntry {
    const recorder = this
    const whole = { entry: () => made, logs: composition.order[Phase.logging]! }
    let [sessions, detached] = [0, 0]
    if (entry.fixedPeer !== undefined) this.peers.add(entry.fixedPeer)
    const made: ProxyEntry = {
      ...entry,
      id: nextEntry(),
      phases: entry.composition === undefined ? this.#watched(entry.phases, 0, whole, true) : entry.phases,
      composition: entry.composition && this.#composed(entry.composition, whole),
      log: this.#log,
      get sessions() {
        return sessions
      },
      set sessions(count: number) {
        sessions = count
        recorder.#look()
      },
      get detached() {
        return detached
      },
      set detached(count: number) {
        detached = count
        recorder.#look()
      },
    }
    implemented.set(
      made,
      PHASES.filter((_, number) => composition.order[number]!.length > 0 && !isFixed(number, entry)),
    )
    this.entries.push(made)
    return made
  }

  #look(): void {
    if (this.isBusy) return
    const waiting = this.#whenIdle
    this.#whenIdle = []
    for (const resolve of waiting) resolve()
  }

  /** Whether a request, or a subrequest, is under way. */
  get isBusy(): boolean {
    return this.entries.some(({ sessions, detached }) => sessions > 0 || detached > 0)
  }

  /** Settles when none is. */
  idle(): Promise<void> {
    return new Promise((resolve) => {
      this.#whenIdle.push(resolve)
      this.#look()
    })
  }

  #composed(composition: Composition, whole: Whole): Composition {
    const known = new Map<AnyPhases, AnyPhases>()
    const watched = ({ phases, index, ...rest }: Part): Part => {
      const found = known.get(phases) ?? this.#watched(phases, index, whole, false)
      known.set(phases, found)
      return { phases: found, index, ...rest }
    }
    const order = composition.order.map((parts) => parts.map(watched))
    const last = {
      logging: (session: Session, error?: ProxyError) => this.#ended(session, error, whole.entry()),
    }
    order[Phase.logging]!.push({ index: -1, phases: last as unknown as AnyPhases })
    return { ...composition, order }
  }

  #watched(given: AnyPhases, part: number, whole: Whole, isAll: boolean): AnyPhases {
    const phases = given as unknown as Bag
    const made: Bag = {}
    for (const name of PHASES)
      if (typeof phases[name] === 'function')
        made[name] = (...args) => this.#call(phases, name, part, whole.entry(), args)
    for (const name of ['suppressErrorLog', 'requestSummary'])
      if (typeof phases[name] === 'function') made[name] = (...args) => phases[name]!(...args)
    if (phases.upstreamPeer !== undefined && made.upstreamPeer === undefined)
      made.upstreamPeer = phases.upstreamPeer
    const { newCtx } = made
    if (newCtx !== undefined)
      made.newCtx = (session) => (isNotMissed(session as Session, whole) ? undefined : newCtx(session))
    if (!isAll) return made as unknown as AnyPhases
    const { logging } = made
    const [part0] = whole.logs
    made.logging = (session, error, ctx) => {
      this.#ended(session as Session, error as ProxyError | undefined, whole.entry())
      const isFor = part0 !== undefined && LiveSession.stateOf(session as Session).isFor(part0)
      return isFor ? logging?.(session, error, ctx) : undefined
    }
    return made as unknown as AnyPhases
  }

  #of(session: Session, entry: ProxyEntry): Recorded {
    const known = this.#bySession.get(session)
    if (known !== undefined) return known
    this.#begun()
    const recorded = new Recorded(session, entry)
    this.#bySession.set(session, recorded)
    this.requests.push(recorded)
    return recorded
  }

  #ended(session: Session, error: ProxyError | undefined, entry: ProxyEntry): void {
    this.#of(session, entry).error = error
    if (session.parent === undefined) this.#over()
  }

  #call(phases: Bag, name: PhaseName, part: number, entry: ProxyEntry, args: unknown[]): unknown {
    const request = this.#of(args[0] as Session, entry)
    const call: PhaseCall = { phase: name, part, attempt: request.attempt, outcome: 'unsettled' }
    if (/BodyFilter$/.test(name)) {
      call.chunk = Buffer.from(args[1] as Buffer)
      call.end = args[2] as boolean
    }
    request.calls.push(call)
    const state = LiveSession.stateOf(args[0] as Session)
    const returned = (value: unknown) => {
      if (name === 'newCtx') request.contexts[part] = value
      if (value instanceof HttpPeer) this.peers.add(value)
      call.returned = value
      call.outcome = outcomeOf(name, value, state.answer !== null)
      if (call.outcome === 'retry') request.attempt++
      return value
    }
    const threw = (error: unknown) => {
      call.outcome = 'threw'
      call.threw = error
      throw error
    }
    let value: unknown
    try {
      value = phases[name]!(...args)
    } catch (error) {
      return threw(error)
    }
    if (name === 'newCtx' && isThenable(value)) {
      call.outcome = 'refused'
      call.returned = value
      return value
    }
    // Followed, not watched from beside: a thenable may do its work each time it is asked.
    return isThenable(value) ? Promise.resolve(value).then(returned, threw) : returned(value)
  }
}

/** Nothing but `logging` crosses, and only because the recorder is to be told: there would be no context. */
function isNotMissed(session: Session, { logs }: Whole): boolean {
  const state = LiveSession.stateOf(session)
  const isEnd = (state.mask & (1 << Phase.logging)) !== 0
  return isEnd && (state.mask & HOOKS) === 0 && !logs.some((part) => state.isFor(part))
}
