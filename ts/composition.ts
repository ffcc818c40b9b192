import type { OptionProblem } from './errors.js'
import { phasesOf } from './implemented.js'
import { HttpPeer } from './peer.js'
import { type AnyPart, type AnyPhases, Hook, PHASES, Phase } from './phases.js'

/** One of the objects that make up the phases of a proxy. */
export interface Part {
  readonly index: number
  readonly phases: AnyPhases
}

/** What a proxy is made of. */
export interface Composition {
  /** Which phases any of its parts has. */
  readonly mask: number
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

/** Reads what was given as phases: one object, or several in an array. Adds what is wrong to `problems`. */
export function composed(given: AnyPhases | readonly AnyPart[], problems: OptionProblem[]): Composition {
  if (!Array.isArray(given)) {
    const phases = given as AnyPhases
    const mask = phasesOf(phases, problems)
    return composition([{ index: 0, phases }], [mask], phases)
  }
  const parts: Part[] = given.map((phases, index) => ({ index, phases }))
  const masks = parts.map(({ phases, index }) => phasesOf(phases, problems, index))
  const choosers = parts.filter(({ phases }) => phases?.upstreamPeer !== undefined)
  const allowed = 'exactly one of the parts has it'
  if (choosers.length === 0)
    problems.push({ path: 'phases', found: given, allowed: `upstreamPeer: ${allowed}` })
  for (const { phases, index } of choosers.slice(1))
    problems.push({ path: `phases[${index}].upstreamPeer`, found: phases.upstreamPeer, allowed })
  return composition(parts, masks, parts.length === 1 ? parts[0]!.phases : undefined)
}

function composition(parts: Part[], masks: number[], single: AnyPhases | undefined): Composition {
  const numbers = Array.from({ length: PHASES.length + Object.keys(Hook).length }, (_, number) => number)
  const order = numbers.map((phase) => {
    const having = parts.filter(({ index }) => (masks[index]! & (1 << phase)) !== 0)
    return INWARDS.has(phase) ? having : having.reverse()
  })
  const peers = parts.map(({ phases }) => phases?.upstreamPeer)
  return {
    mask: masks.reduce((all, mask) => all | mask, 0),
    fixedPeer: peers.find((peer) => peer instanceof HttpPeer),
    single,
    order,
    scopes: parts.flatMap(({ phases }) => (phases?.scope === undefined ? [] : [phases])),
  }
}
