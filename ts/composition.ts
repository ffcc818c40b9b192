import type { OptionProblem } from './errors.js'
import { handlersOf, phasesOf } from './implemented.js'
import type { NativeMatch } from './native.js'
import { HttpPeer } from './peer.js'
import { type AnyPart, type AnyPhases, Hook, PHASES, Phase } from './phases.js'

/** One of the objects that make up the phases of a proxy. */
export interface Part {
  readonly index: number
  readonly phases: AnyPhases
  /** The filter of the phase, if it has one. */
  readonly filter?: number
}

/** The filter of a phase: which requests it is for. */
export interface PhaseFilter {
  readonly phase: number
  readonly matcher: NativeMatch
  /** Where it stands, such as `phases[1].requestFilter`. */
  readonly path: string
  /** As it was given. */
  readonly given: unknown
}

/** What a proxy is made of. */
export interface Composition {
  /** Which phases any of its parts has. */
  readonly mask: number
  /** Which of them any part has for all requests. */
  readonly always: number
  /** The filters of the others. */
  readonly filters: readonly PhaseFilter[]
  readonly fixedPeer: HttpPeer | undefined
  /** Where there is one object: that one. */
  readonly single: AnyPhases | undefined
  /** For each phase by number, those that have it, in the order in which they are called. */
  readonly order: readonly (readonly Part[])[]
  /** Those that give an async context, the outermost first. */
  readonly scopes: readonly AnyPhases[]
}

/** The phases on the way in, which run in order; all others run in reverse. */
const INWARDS = new Set<number>([
  Phase.newCtx,
  Phase.earlyRequestFilter,
  Phase.requestFilter,
  Phase.proxyUpstreamFilter,
  Phase.upstreamPeer,
  Phase.connectedToUpstream,
  Phase.upstreamRequestFilter,
  Phase.requestBodyFilter,
])

/**
 * Reads what was given as phases: one object, or several in an array. Adds what is wrong to `problems`;
 * `needsPeer` = that there is no `upstreamPeer` is.
 */
export function composed(
  given: AnyPhases | AnyPart | readonly AnyPart[],
  problems: OptionProblem[],
  needsPeer = true,
): Composition {
  const filters: PhaseFilter[] = []
  if (!Array.isArray(given)) {
    const phases = given as AnyPhases
    const mask = phasesOf(phases, problems, filters, undefined, needsPeer)
    const plain = handlersOf(phases, filters.length > 0)
    return composition([{ index: 0, phases: plain }], [mask], plain, filters, [0])
  }
  const starts: number[] = []
  const masks = given.map((phases, index) => {
    starts.push(filters.length)
    return phasesOf(phases, problems, filters, index, needsPeer)
  })
  const parts: Part[] = given.map((phases, index) => {
    const end = starts[index + 1] ?? filters.length
    return { index, phases: handlersOf(phases, end > starts[index]!) }
  })
  const choosers = parts.filter(({ phases }) => phases?.upstreamPeer !== undefined)
  const allowed = 'exactly one of the parts has it'
  if (choosers.length === 0 && needsPeer)
    problems.push({ path: 'phases', found: given, allowed: `upstreamPeer: ${allowed}` })
  for (const { phases, index } of choosers.slice(1))
    problems.push({ path: `phases[${index}].upstreamPeer`, found: phases.upstreamPeer, allowed })
  const single = parts.length === 1 ? parts[0]!.phases : undefined
  return composition(parts, masks, single, filters, starts)
}

function composition(
  parts: Part[],
  masks: number[],
  single: AnyPhases | undefined,
  filters: readonly PhaseFilter[],
  starts: readonly number[],
): Composition {
  let always = 0
  const partOf = (part: Part, phase: number): Part => {
    const start = starts[part.index] ?? 0
    const end = starts[part.index + 1] ?? filters.length
    const filter = filters.findIndex((one, at) => at >= start && at < end && one.phase === phase)
    if (filter >= 0) return { ...part, filter }
    always |= 1 << phase
    return part
  }
  const numbers = Array.from({ length: PHASES.length + Object.keys(Hook).length }, (_, number) => number)
  const order = numbers.map((phase) => {
    const having = parts
      .filter(({ index }) => (masks[index]! & (1 << phase)) !== 0)
      .map((part) => partOf(part, phase))
    return INWARDS.has(phase) ? having : having.reverse()
  })
  const peers = parts.map(({ phases }) => phases?.upstreamPeer)
  return {
    mask: masks.reduce((all, mask) => all | mask, 0),
    always,
    filters,
    fixedPeer: peers.find((peer) => peer instanceof HttpPeer),
    single,
    order,
    scopes: parts.flatMap(({ phases }) => (phases?.scope === undefined ? [] : [phases])),
  }
}
