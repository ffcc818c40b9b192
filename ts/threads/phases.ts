import { type Composition, composed } from '../composition.js'
import { invalidOptions, type OptionProblem } from '../errors.js'
import { nameOf } from '../modules/reason.js'
import { HttpPeer } from '../peer.js'
import type { AnyPart } from '../phases.js'
import { madeOf } from './made.js'
import type { Summary, ThreadPlace } from './messages.js'

/**
 * The phases of a module: its default export, or what that makes, if it is a function or a class.
 * @throws UsageError INVALID_OPTIONS, and what the module throws (rejects)
 */
export async function loadPhases(module: string, place: ThreadPlace): Promise<Composition> {
  const loaded = (await import(/* @vite-ignore */ /* webpackIgnore: true */ module)) as object
  const made = await madeOf(defaultOf(loaded), place)
  const problems: OptionProblem[] = []
  // Whether a peer is needed is decided where the routes are known.
  const composition = composed(made as AnyPart, problems, false)
  if (problems.length > 0) throw invalidOptions(`the phases of ${nameOf(new URL(module))}`, problems)
  return composition
}

function defaultOf(loaded: object): unknown {
  if (!('default' in loaded)) {
    const allowed = 'phases, or a function or class that makes them'
    throw invalidOptions('the module', [{ path: 'export default', found: undefined, allowed }])
  }
  const exported = loaded.default
  // CommonJS that was compiled from a module.
  const isCompiled = typeof exported === 'object' && exported !== null && '__esModule' in exported
  return isCompiled && 'default' in exported ? exported.default : exported
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
