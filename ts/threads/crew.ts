import type { Composition } from '../composition.js'
import { UsageError } from '../errors.js'
import type { Farewell } from '../farewell.js'
import { nameOf } from '../modules/reason.js'
import type { ThreadStats } from '../stats.js'
import type { Summary, WayRecipe } from './messages.js'
import { compositionOf, difference } from './phases.js'
import { Thread, type ThreadPlan } from './thread.js'

/** A thread that lives so long has its failures before forgiven. */
const FORGIVEN_MS = 60_000
/** How long to wait before a thread is replaced again: twice as long each time, from the first to the last. */
const BACK_OFF_MS = { first: 100, most: 30_000 }

/** The thread in one place, and how often those before it have failed. */
interface Place {
  thread: Thread
  since: number
  failures: number
  timer: NodeJS.Timeout | undefined
  /** What those before it have counted. */
  before: ThreadCounts
}

/** What goes up from the start on. */
export type ThreadCounts = Pick<ThreadStats, 'crossings' | 'items' | 'late'>

const NONE: ThreadCounts = { crossings: 0, items: 0, late: 0 }

/** The figures of a thread, its counts on top of those of another. */
export function onTopOf<T extends ThreadCounts>(before: ThreadCounts = NONE, now: T): T {
  const { crossings, items, late } = before
  return { ...now, crossings: now.crossings + crossings, items: now.items + items, late: now.late + late }
}

/** The threads of a proxy that loaded its module at one time. What ends of them is replaced. */
export class Crew {
  /** The phases that the module has. */
  readonly composition: Composition
  readonly #plan: ThreadPlan
  readonly #summary: Summary
  readonly #places: Place[]
  #ways: readonly WayRecipe[] = []
  #isOver = false

  private constructor(plan: ThreadPlan, threads: readonly Thread[], summary: Summary) {
    this.#plan = plan
    this.#summary = summary
    this.composition = compositionOf(summary)
    this.#places = threads.map((thread) => ({
      thread,
      since: Date.now(),
      failures: 0,
      timer: undefined,
      before: NONE,
    }))
  }

  /** Loads the module in as many threads as are asked for. @throws UsageError MODULE_FAILED, START_FAILED (rejects) */
  static async load(plan: ThreadPlan): Promise<Crew> {
    const threads: Thread[] = []
    const giveUp = () => void threads.map((thread) => thread.end(0))
    plan.givenUp?.addEventListener('abort', giveUp)
    try {
      for (let index = 0; index < plan.count; index++) threads.push(new Thread(plan, index))
      const summaries = await Promise.all(threads.map(({ loaded }) => loaded))
      const crew = new Crew(plan, threads, summaries[0]!)
      for (const [index, summary] of summaries.entries()) {
        const what = difference(crew.#summary, summary)
        if (what !== undefined)
          throw differs(plan.module, `thread ${index} has other phases than thread 0: ${what}`)
      }
      return crew
    } catch (error) {
      await Promise.all(threads.map((thread) => thread.end(0)))
      throw error
    } finally {
      plan.givenUp?.removeEventListener('abort', giveUp)
    }
  }

  /** The numbers of its threads in the addon. */
  get numbers(): number[] {
    return this.#places.map(({ thread }) => thread.number)
  }

  /** Of each of its threads. */
  stats(): ThreadStats[] {
    return this.#places.map(({ thread, before }) => onTopOf(before, thread.stats()))
  }

  /** They take the requests of these ways. */
  async serve(ways: readonly WayRecipe[]): Promise<void> {
    this.#ways = ways
    await Promise.all(this.#places.map(({ thread }) => thread.serve(ways)))
  }

  /** From now on a thread that ends is replaced: `replaced` is told which one, and the number of the new one. */
  keep(replaced: (at: number, number: number) => void): void {
    for (const at of this.#places.keys()) void this.#keep(at, replaced)
  }

  async #keep(at: number, replaced: (at: number, number: number) => void): Promise<void> {
    this.#lost(at, await this.#places[at]!.thread.ended, replaced)
  }

  #lost(at: number, reason: string | undefined, replaced: (at: number, number: number) => void): void {
    if (this.#isOver) return
    const place = this.#places[at]!
    if (Date.now() - place.since > FORGIVEN_MS) place.failures = 0
    const wait =
      place.failures === 0 ? 0 : Math.min(BACK_OFF_MS.first * 2 ** (place.failures - 1), BACK_OFF_MS.most)
    place.failures++
    this.#log(at, `ended, and is replaced ${wait === 0 ? 'at once' : `in ${wait} ms`}: ${reason}`)
    if (wait === 0) void this.#replace(at, replaced)
    else place.timer = setTimeout(() => void this.#replace(at, replaced), wait).unref()
  }

  async #replace(at: number, replaced: (at: number, number: number) => void): Promise<void> {
    const place = this.#places[at]!
    place.since = Date.now()
    const counted = place.thread.stats()
    try {
      place.thread = new Thread(this.#plan, at)
    } catch (error) {
      this.#lost(at, String(error), replaced)
      return
    }
    place.before = onTopOf(place.before, counted)
    const { thread } = place
    // Requests wait for it from now on.
    replaced(at, thread.number)
    void this.#keep(at, replaced)
    try {
      const summary = await thread.loaded
      const what = difference(this.#summary, summary)
      if (what === undefined) return await thread.serve(this.#ways)
      const message = `its phases are others than before, which only reload() takes in: ${what}`
      thread.lose(differs(this.#plan.module, message).message)
    } catch {
      // It has ended, which is seen to above.
    }
  }

  #log(at: number, what: string): void {
    this.#plan.log.error(`thread ${at} of ${nameOf(this.#plan.module)} ${what}`)
  }

  /** Ends each thread when its last request has ended, after `graceMs` at the latest. Resolves when all have. */
  async end(graceMs: number): Promise<void> {
    this.#close()
    await Promise.all(this.#places.map(({ thread }) => thread.end(graceMs)))
  }

  /**
   * Ends each thread when `logging` of its last request has settled, or is not waited for any more, as the server
   * has stopped. Resolves when all have ended: how many had not settled.
   */
  async leave(farewell: Farewell): Promise<number> {
    this.#close()
    const left = await Promise.all(this.#places.map(({ thread }) => thread.leave(farewell)))
    return left.reduce((sum, one) => sum + one, 0)
  }

  #close(): void {
    this.#isOver = true
    for (const { timer } of this.#places) clearTimeout(timer)
  }
}

function differs(module: URL, what: string): UsageError {
  return new UsageError('MODULE_FAILED', `the module ${nameOf(module)}: ${what}`)
}
