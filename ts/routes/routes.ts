import { type Composition, composed } from '../composition.js'
import type { OptionProblem } from '../errors.js'
import { checkRoutes, type NativeProblem, type NativeRoute } from '../native.js'
import { type Checked, group, list, value } from '../options.js'
import { HttpPeer } from '../peer.js'
import { type AnyPart, type AnyPhases, Phase } from '../phases.js'
import { matchRules, nativeMatch, type RequestMatch } from './match.js'
import { actionOf, type RouteValues, valueRules } from './values.js'

/** Some of the requests of a proxy, and what becomes of them. The first route that is for a request holds. */
export interface Route extends RouteValues {
  /** Which requests it is for. Default: every request. */
  match?: RequestMatch
  /** Where they go, in the place of the phase. Default: as the phase says. */
  upstreamPeer?: HttpPeer
  /** Their phases, in the place of the proxy's. Default: the proxy's. */
  phases?: AnyPhases | AnyPart | readonly AnyPart[]
}

const routeRules = {
  match: group(matchRules),
  upstreamPeer: value<HttpPeer | undefined>(undefined, 'an HttpPeer', (v) => v instanceof HttpPeer),
  phases: value<Route['phases']>(
    undefined,
    'an object with phases, or a list of them',
    (v) => typeof v === 'object',
  ),
  ...valueRules,
}

/** The rule of the option `routes`, which has no default but to be absent. */
export function routesRule(fallback: undefined) {
  // Routes have phases, which only a program can give.
  const { schema: _, ...rule } = list(routeRules)
  return { ...rule, fallback }
}

/** What a request's phases are, where it is on a route, or on none. */
export interface Way {
  readonly composition: Composition
  /** Where it goes; undefined = a phase is asked. */
  readonly peer: HttpPeer | undefined
  /** Whether its phases are the proxy's, and its peer too. */
  readonly same: boolean
  readonly native: NativeRoute
}

/** For each route its phases, if it has some of its own. */
export type RoutePhases = readonly (Composition | undefined)[]

/** The values that stand on the proxy itself, and its routes. */
export type ProxyValues = Checked<typeof valueRules> & { routes: Checked<typeof routeRules>[] | undefined }

/** Whether values say what becomes of requests, so that no phase has to. */
export function isOpen({ routes, respond, redirect }: ProxyValues): boolean {
  return routes !== undefined || respond !== undefined || redirect !== undefined
}

/** The phases that routes have of their own. Adds to `problems` what is wrong with them. */
export function phasesOfRoutes({ routes }: ProxyValues, problems: OptionProblem[]): RoutePhases {
  return (routes ?? []).map(({ phases }, at) => {
    if (phases === undefined) return undefined
    const found: OptionProblem[] = []
    const composition = composed(phases, found, false)
    for (const problem of found)
      problems.push({ ...problem, path: `routes[${at}].${problem.path.replace(/^(?!phases)/, 'phases.')}` })
    return composition
  })
}

/**
 * The ways of a proxy: of each route, and at the end of what is on none. Adds to `problems` what is
 * wrong with them.
 */
export function waysOf(
  values: ProxyValues,
  own: Composition,
  ofRoutes: RoutePhases,
  keepsSlashes: boolean,
  options: unknown,
  problems: OptionProblem[],
): Way[] {
  const last = way(values, own, undefined, true, '', problems)
  if (isOpen(values) && !hasPeer(own) && last.native.action.kind === 'pass') last.native.action.kind = 'none'
  const ways = (values.routes ?? []).map((route, at) => {
    const path = `routes[${at}].`
    const composition = ofRoutes[at] ?? own
    const made = way(route, composition, route.upstreamPeer, ofRoutes[at] !== undefined, path, problems)
    const { kind } = made.native.action
    const answers = kind === 'redirect' || kind === 'respond'
    for (const name of ['upstreamPeer', 'requestHeaders'] as const)
      if (answers && route[name] !== undefined)
        problems.push({ path: path + name, found: route[name], allowed: `nothing, as ${kind} answers` })
    if (!answers && route.upstreamPeer === undefined && !hasPeer(composition)) {
      const allowed = 'an HttpPeer, as neither its phases nor the proxy’s say where its requests go'
      problems.push({ path: `${path}upstreamPeer`, found: undefined, allowed })
    }
    return made
  })
  const all = [...ways, last]
  check(all, keepsSlashes, options, problems)
  return all
}

/** Whether phases say where requests go. */
export function hasPeer({ mask, fixedPeer }: Composition): boolean {
  return fixedPeer !== undefined || (mask & (1 << Phase.upstreamPeer)) !== 0
}

function way(
  values: Partial<Checked<typeof routeRules>> & Checked<typeof valueRules>,
  composition: Composition,
  upstreamPeer: HttpPeer | undefined,
  hasPhases: boolean,
  path: string,
  problems: OptionProblem[],
): Way {
  const peer = upstreamPeer ?? composition.fixedPeer
  const skipped = (1 << Phase.newCtx) | (peer === undefined ? 0 : 1 << Phase.upstreamPeer)
  const native: NativeRoute = {
    matcher: nativeMatch(values.match),
    requestHeaders: values.requestHeaders ?? [],
    responseHeaders: values.responseHeaders ?? [],
    action: { ...actionOf(values, path, problems) },
    proxyId: 0,
    phases: composition.always & ~skipped,
    peer: 0,
  }
  if (hasPhases) native.filters = composition.filters.map(({ phase, matcher }) => ({ phase, matcher }))
  return { composition, peer, same: !hasPhases && upstreamPeer === undefined, native }
}

/** Lets the addon read all texts. */
function check(
  ways: readonly Way[],
  keepsSlashes: boolean,
  options: unknown,
  problems: OptionProblem[],
): void {
  const routes = ways.map(({ native }) => native)
  const last = routes.pop()!
  for (const problem of checkRoutes(routes, last, keepsSlashes)) {
    const { route, allowed, other } = problem
    const place = route < 0 ? '' : `routes[${route}].`
    const { path, found } = placeOf(problem, ways.at(route)!, place, options)
    if (!problems.some((known) => known.path === path))
      problems.push({ path, found, allowed, ...(other !== '' && { other }) })
  }
}

function placeOf(problem: NativeProblem, way: Way, place: string, options: unknown) {
  const filter = way.composition.filters[problem.filter]
  const root = filter === undefined ? options : filter.given
  const inner = filter === undefined ? place + problem.path : problem.path
  let found = at(root, inner)
  const isList = problem.index >= 0 && Array.isArray(found)
  if (isList) found = (found as unknown[])[problem.index]
  const isSingle = found !== undefined || !inner.endsWith('.to')
  const named = isSingle ? inner : inner.slice(0, -3)
  if (!isSingle) found = at(root, named)
  const prefix = filter === undefined ? '' : `${place}${place === '' ? '' : 'phases.'}${filter.path}.`
  return { path: `${prefix}${named}${isList ? `[${problem.index}]` : ''}`, found }
}

/** What stands at a path such as `routes[2].match.path`. */
function at(root: unknown, path: string): unknown {
  let found = root
  for (const key of path.split(/[.[\]]+/).filter((key) => key !== ''))
    found = (found as Record<string, unknown> | undefined)?.[key]
  return found
}
