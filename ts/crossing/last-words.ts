import { setTimeout as sleep } from 'node:timers/promises'
import { type Farewell, LAST_WORDS_MS } from '../farewell.js'
import type { Environment } from './environment.js'
import type { ProxyEntry } from './state.js'

/** How often it is looked whether the last `logging` has settled. */
const LOOK_MS = 2

/** What is told of those that are not waited for. */
export function unsettled(count: number): string {
  return `logging of ${count} ${count === 1 ? 'request has' : 'requests have'} not settled: the server does not wait for it any longer`
}

/**
 * Settles when `logging` of the last requests of these phases has, or when nobody waits any longer: how many have
 * not settled then.
 */
export async function lastWords(
  { crossing, native }: Environment,
  entries: ReadonlySet<ProxyEntry>,
  farewell: Farewell,
): Promise<number> {
  // Ends that were told and not yet taken: at most a second, should others keep the thread busy.
  const { items, queued } = native.stats()
  const until = performance.now() + LAST_WORDS_MS
  while (native.stats().items < items + queued && performance.now() < until) await sleep(1)
  while (crossing.logging(entries) > 0 && !farewell.isOver) await sleep(LOOK_MS)
  return crossing.logging(entries)
}
