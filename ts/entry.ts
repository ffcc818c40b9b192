import type { Composition } from './composition.js'
import type { ProxyEntry } from './crossing/state.js'
import { makeLog } from './logger.js'
import type { HttpPeer } from './peer.js'
import { type AnyPhases, Phase } from './phases.js'

/** What the phases of a way need to know beside themselves. */
export interface EntryOptions {
  readonly callbackTimeoutMs: number
  readonly maxSubrequestDepth: number
}

let entries = 0

/** The number of another set of phases. */
export function nextEntry(): number {
  return ++entries
}

/** An object with phases alone, as the crossing takes it. */
export function plainEntry(
  id: number,
  phases: AnyPhases,
  { callbackTimeoutMs, maxSubrequestDepth }: EntryOptions,
): ProxyEntry {
  return {
    id,
    phases,
    hasNewCtx: false,
    composition: undefined,
    fixedPeer: undefined,
    callbackTimeoutMs,
    maxSubrequestDepth,
    detached: 0,
    log: makeLog(false),
    sessions: 0,
  }
}

/** Of a proxy of several parts, which each have their own. */
const NONE: unknown = Object.freeze({})

/** A set of phases, as the crossing takes it. */
export function entryOf(
  id: number,
  composition: Composition,
  fixedPeer: HttpPeer | undefined,
  options: EntryOptions,
): ProxyEntry {
  const { mask, single, scopes } = composition
  const isPlain = single !== undefined && scopes.length === 0
  return {
    ...plainEntry(id, single ?? (NONE as AnyPhases), options),
    hasNewCtx: !isPlain || (mask & (1 << Phase.newCtx)) !== 0,
    composition: isPlain ? undefined : composition,
    fixedPeer,
  }
}
