import type { PhaseFilter } from './composition.js'
import type { OptionProblem } from './errors.js'
import { misspelt } from './misspelt.js'
import { checkInto } from './options.js'
import { HttpPeer } from './peer.js'
import { type AnyPhases, Hook, PHASES, type PhaseName } from './phases.js'
import { matchRules, nativeMatch } from './routes/match.js'

/** What an object with phases may have. */
const NAMES: readonly string[] = [...PHASES, ...Object.keys(Hook), 'scope']

/**
 * Which phases an object implements, as a mask; `part` is its place among several. Adds to `problems` what is not a phase: in a bag
 * every other key, on a class what is nearly the name of one.
 */
export function phasesOf(
  phases: unknown,
  problems: OptionProblem[],
  filters: PhaseFilter[] = [],
  part?: number,
  needsPeer = true,
): number {
  const prefix = part === undefined ? '' : `phases[${part}].`
  if (typeof phases !== 'object' || phases === null || Array.isArray(phases)) {
    const path = part === undefined ? 'phases' : `phases[${part}]`
    problems.push({ path, found: phases, allowed: 'an object with phases' })
    return 0
  }
  let mask = 0
  for (const [number, name] of PHASES.entries()) {
    const value = (phases as Record<string, unknown>)[name]
    if (value === undefined && (name !== 'upstreamPeer' || part !== undefined || !needsPeer)) continue
    const isPeer = name === 'upstreamPeer' && value instanceof HttpPeer
    if (typeof value === 'function') mask |= 1 << number
    else if (isFilter(value) && canFilter(name)) {
      mask |= 1 << number
      filters.push(filterOf(value, number, prefix + name, problems))
    } else if (!isPeer)
      problems.push({
        path: prefix + name,
        found: value,
        allowed:
          name === 'upstreamPeer'
            ? 'an HttpPeer or a function'
            : `a function${canFilter(name) ? ', or { match, handler }' : ''}`,
      })
  }
  for (const [name, number] of Object.entries(Hook)) {
    const value = (phases as Record<string, unknown>)[name]
    if (typeof value === 'function') mask |= 1 << number
    else if (value !== undefined) problems.push({ path: prefix + name, found: value, allowed: 'a function' })
  }
  const { scope } = phases as { scope?: unknown }
  if (scope !== undefined && typeof scope !== 'function')
    problems.push({ path: `${prefix}scope`, found: scope, allowed: 'a function' })
  const prototype = Object.getPrototypeOf(phases)
  const isOpen = prototype !== Object.prototype && prototype !== null
  const couldBe = (value: unknown) => typeof value === 'function' || isFilter(value)
  misspelt(phases, { names: NAMES, what: 'phase', prefix, isOpen, couldBe }, problems)
  return mask
}

interface Filtered {
  match: unknown
  handler: unknown
}

function isFilter(value: unknown): value is Filtered {
  return typeof value === 'object' && value !== null && 'handler' in value
}

/** A request always has a context and a peer. */
function canFilter(name: PhaseName): boolean {
  return name !== 'newCtx' && name !== 'upstreamPeer'
}

function filterOf(value: Filtered, phase: number, path: string, problems: OptionProblem[]): PhaseFilter {
  const { match, handler, ...others } = value
  for (const [name, found] of Object.entries(others))
    problems.push({ path: `${path}.${name}`, found, allowed: 'no such option; there are: match, handler' })
  if (typeof handler !== 'function')
    problems.push({ path: `${path}.handler`, found: handler, allowed: 'a function' })
  if (match === undefined) problems.push({ path: `${path}.match`, found: match, allowed: 'an object' })
  const checked = checkInto(matchRules, match, problems, `${path}.match`)
  return { phase, matcher: nativeMatch(checked), path, given: value }
}

/**
 * The phases as functions alone: those with a filter as their handlers. They are looked up at each call,
 * so that they may be replaced while the proxy runs, and `this` is the object itself.
 */
export function handlersOf(phases: AnyPhases, hasFilters: boolean): AnyPhases {
  if (!hasFilters) return phases
  const given = phases as unknown as Record<string, unknown>
  const plain: Record<string, unknown> = {}
  for (const name of NAMES) {
    const found = given[name]
    if (typeof found !== 'function' && !isFilter(found)) {
      if (found !== undefined) plain[name] = found
      continue
    }
    plain[name] = (...args: unknown[]) => {
      const now = given[name]
      const handler = (isFilter(now) ? now.handler : now) as (...args: unknown[]) => unknown
      return handler.apply(phases, args)
    }
  }
  return plain as unknown as AnyPhases
}
