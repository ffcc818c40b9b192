import { type Composition, composed } from '../composition.js'
import { invalidOptions, type OptionProblem, type UsageError } from '../errors.js'
import { nameOf } from '../modules/reason.js'
import { HttpPeer } from '../peer.js'
import { type AnyPart, PHASES as NAMES } from '../phases.js'
import { Server } from '../server.js'
import { Service } from '../service.js'
import { madeOf } from './made.js'
import type { Summary, ThreadPlace } from './messages.js'

/**
 * The phases of a module: its default export, or what that makes, if it is a function or a class.
 * @throws UsageError INVALID_OPTIONS, and what the module throws (rejects)
 */
export async function loadPhases(module: string, place: ThreadPlace): Promise<Composition> {
  const loaded = (await import(/* @vite-ignore */ /* webpackIgnore: true */ module)) as object
  const made = await madeOf(defaultOf(loaded), place)
  // `millrace run` takes these, so that a module may well have one.
  if (Service.is(made) || Server.servicesOf(made) !== undefined)
    throw wrongExport(made, `${PHASES}; a service is made of them where the module is named`)
  const problems: OptionProblem[] = []
  // Whether a peer is needed is decided where the routes are known.
  const composition = composed(made as AnyPart, problems, false)
  if (problems.length > 0) throw invalidOptions(`the phases of ${nameOf(new URL(module))}`, problems)
  return composition
}

function defaultOf(loaded: object): unknown {
  if (!('default' in loaded)) throw wrongExport(undefined, PHASES)
  const exported = loaded.default
  // CommonJS that was compiled from a module.
  const isCompiled = typeof exported === 'object' && exported !== null && '__esModule' in exported
  return isCompiled && 'default' in exported ? exported.default : exported
}

const PHASES = 'phases, or a function or class that makes them'

function wrongExport(found: unknown, allowed: string): UsageError {
  return invalidOptions('the module', [{ path: 'export default', found, allowed }])
}

/** What another thread has to know of phases. */
export function summaryOf({ mask, always, filters, fixedPeer }: Composition): Summary {
  return {
    mask,
    always,
    filters: filters.map(({ phase, path, matcher }) => ({ phase, path, matcher })),
    peer: fixedPeer === undefined ? undefined : HttpPeer.recipe(fixedPeer),
  }
}

/** The phases that a summary tells of. They can be looked at, not called: they are in another thread. */
export function compositionOf({ mask, always, filters, peer }: Summary): Composition {
  return {
    mask,
    always,
    filters: filters.map((filter) => ({ ...filter, given: undefined })),
    fixedPeer: peer === undefined ? undefined : new HttpPeer(peer.address, peer.options),
    single: undefined,
    order: [],
    scopes: [],
  }
}

/** How two differ, in words; undefined: they do not. */
export function difference(one: Summary, other: Summary): string | undefined {
  const differing = one.mask ^ other.mask
  const names = NAMES.filter((_, phase) => (differing & (1 << phase)) !== 0)
  if (names.length > 0) return `only one has ${names.join(', ')}`
  if (JSON.stringify(one) === JSON.stringify(other)) return undefined
  if (JSON.stringify(one.peer) !== JSON.stringify(other.peer)) return 'upstreamPeer is not the same'
  return 'what their phases are for is not the same'
}

/** What stands for the phases of a module before it is loaded: any may be there. */
export const UNKNOWN: Composition = {
  mask: -1,
  always: 0,
  filters: [],
  fixedPeer: undefined,
  single: undefined,
  order: [],
  scopes: [],
}
