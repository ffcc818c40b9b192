import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks'
import type { ErrorCode } from './errors.js'
import { errorCodes, type NativeServiceStats } from './native.js'
import type { ServiceState } from './service.js'

/** Requests, subrequests among them. */
export interface RequestStats {
  /** That have come. */
  readonly total: number
  /** Under way: the sum of the three. */
  readonly active: number
  /** Under way, in the phases before an upstream is asked, or answered there. */
  readonly filtering: number
  /** Under way, with an upstream that is chosen, connected to, sent to or waited for. */
  readonly proxying: number
  /** Under way, with the head of the response on its way to the client; tunnels among them. */
  readonly responding: number
  /** Ended, by the class of the status that the client got; `none` got no response. */
  readonly statuses: Readonly<Record<'1xx' | '2xx' | '3xx' | '4xx' | '5xx' | 'none', number>>
  /** Further tries of an upstream. */
  readonly retries: number
  /** Tries and requests that ended because something took too long. */
  readonly timeouts: number
  /** Ended with an error, by its code; codes that have not come up are absent. */
  readonly errors: Readonly<Partial<Record<ErrorCode, number>>>
}

/** Connections to origins. */
export interface PoolStats {
  /** Open now, idle or in use. */
  readonly open: number
  /** Kept for later requests. */
  readonly idle: number
  /** How often one was used again. */
  readonly reused: number
  /** How often one was made. */
  readonly created: number
}

/** Connections of clients. */
export interface ConnectionStats {
  /** Client connections now. */
  readonly connections: number
  /** Client connections that were taken in, since the start. */
  readonly accepted: number
  /** Client connections that were closed at once, as too many were open. */
  readonly rejected: number
  /**
   * Client connections that were closed unserved because of their client (a filter, a limit, a wrong PROXY header), as the
   * server closed before that was known, or because a `TcpApp` had `maxQueued` waiting.
   */
  readonly refused: number
}

/** Bytes passed on. */
export interface TrafficStats {
  /** Those that clients have sent. */
  readonly received: number
  /** Those that were sent to clients. */
  readonly sent: number
}

/** Numbers of one service. */
export interface ServiceStats extends ConnectionStats {
  /** The service's name. */
  readonly name: string
  /** Where it is in its life. */
  readonly state: ServiceState
  /** Its requests; all 0 where it has none. */
  readonly requests: RequestStats
  /** Its connections to origins; all 0 where it has none. */
  readonly pool: PoolStats
  /** Bytes passed on by all connections so far; of a TcpProxy and a TcpApp. */
  readonly traffic?: TrafficStats
  /** Of each thread of its own that runs its phases (`jsThreads`); absent where the program's thread does. */
  readonly threads?: readonly ThreadStats[]
}

/** What concerns one thread of JavaScript. */
export interface ThreadStats {
  /** Items that wait for it: requests in phases, pieces of bodies, questions of `connectionFilter`. */
  readonly queued: number
  /** Requests that it knows of. */
  readonly sessions: number
  /** How often it was called; several items share a call. */
  readonly crossings: number
  /** Items it was called with. */
  readonly items: number
  /** Answers that came too late. */
  readonly late: number
  /**
   * How late its event loop was, in milliseconds, since the last look but one: in the last two seconds where
   * it is looked at each second or more often. 0 where the runtime does not say.
   */
  readonly loopDelayMs: Readonly<Record<'mean' | 'p99' | 'max', number>>
}

/** What concerns the program's thread of JavaScript, which all servers on it share. */
export interface JavaScriptStats extends ThreadStats {
  /** Log records that were dropped as it did not take them. */
  readonly droppedLogs: number
  /** Requests whose `logging` was left out, as 65,536 others waited for a thread of JavaScript. */
  readonly unlogged: number
}

/** Numbers of a server at one moment. Counts go up from the start on; they are never reset. */
export interface ServerStats extends ConnectionStats {
  /** Of all services together. */
  readonly requests: RequestStats
  /** Of all services together. */
  readonly pool: PoolStats
  /** Of the thread of JavaScript. */
  readonly javascript: JavaScriptStats
  /** Of each service, in the order added. */
  readonly services: readonly ServiceStats[]
}

/** The places of the numbers that the addon gives of the requests of a service. */
const At = { total: 0, active: 1, ended: 4, retries: 10, retriedTimeouts: 11, errors: 12 } as const

const codes = errorCodes() as ErrorCode[]
const timeouts = codes.flatMap((code, at) =>
  code.endsWith('_TIMEOUT') || code === 'REQUEST_EXPIRED' ? [At.errors + at] : [],
)
const NONE = new Float64Array(At.errors + codes.length)

/** Names what the addon counted. */
function requestStats(counts: Float64Array): RequestStats {
  const [total = 0, filtering = 0, proxying = 0, responding = 0] = counts
  const [none = 0, c1 = 0, c2 = 0, c3 = 0, c4 = 0, c5 = 0] = counts.subarray(At.ended)
  const errors: Partial<Record<ErrorCode, number>> = {}
  for (let at = 0; at < codes.length; at++) {
    const count = counts[At.errors + at]!
    if (count > 0) errors[codes[at]!] = count
  }
  return {
    total,
    active: filtering + proxying + responding,
    filtering,
    proxying,
    responding,
    statuses: { '1xx': c1, '2xx': c2, '3xx': c3, '4xx': c4, '5xx': c5, none },
    retries: counts[At.retries]!,
    timeouts: timeouts.reduce((sum, at) => sum + counts[at]!, counts[At.retriedTimeouts]!),
    errors,
  }
}

/** What the addon gives of a service before it knows of it. */
export function noStats(name: string, hasTraffic: boolean): NativeServiceStats {
  const pool = { open: 0, idle: 0, reused: 0, created: 0 }
  const traffic = { received: 0, sent: 0 }
  return { name, connections: 0, accepted: 0, rejected: 0, refused: 0, pool, ...(hasTraffic && { traffic }) }
}

/** The numbers of a server, of those of its services. */
export function serverStats(
  told: readonly NativeServiceStats[],
  of: (service: number) => { state: ServiceState; threads?: readonly ThreadStats[] },
  javascript: JavaScriptStats,
): ServerStats {
  const all = Float64Array.from(NONE)
  const pool = { open: 0, idle: 0, reused: 0, created: 0 }
  const connections = { connections: 0, accepted: 0, rejected: 0, refused: 0 }
  const services = told.map(({ requests = NONE, ...rest }, at): ServiceStats => {
    for (let i = 0; i < all.length; i++) all[i]! += requests[i]!
    for (const name of Object.keys(pool) as (keyof PoolStats)[]) pool[name] += rest.pool[name]
    for (const name of Object.keys(connections) as (keyof ConnectionStats)[]) connections[name] += rest[name]
    return { ...rest, ...of(at), requests: requestStats(requests) }
  })
  return { ...connections, requests: requestStats(all), pool, javascript, services }
}

const WINDOW_MS = 1_000
const RESOLUTION_MS = 20
const PUNCTUAL = { mean: 0, p99: 0, max: 0 }

/**
 * Watches how late the event loop is, for as long as a server runs. All share it. Two histograms take turns, as one
 * that begins anew does not see what is under way; each takes 100 KiB.
 */
class LoopDelay {
  #older: IntervalHistogram | undefined
  #younger: IntervalHistogram | undefined
  #watchers = 0
  #since = 0

  /** Another server runs: what is called when it does not any more. */
  watch(): () => void {
    if (this.#watchers++ === 0) {
      try {
        this.#older ??= monitorEventLoopDelay({ resolution: RESOLUTION_MS })
        this.#younger ??= monitorEventLoopDelay({ resolution: RESOLUTION_MS })
      } catch {
        // Not all runtimes have it.
      }
      for (const histogram of this.#both()) {
        histogram.enable()
        histogram.reset()
      }
      this.#since = performance.now()
    }
    return () => {
      if (--this.#watchers === 0) for (const histogram of this.#both()) histogram.disable()
    }
  }

  /** Since the last look but one, where looks are a second apart; of one second at least. */
  read(): JavaScriptStats['loopDelayMs'] {
    const now = performance.now()
    const [older, younger] = this.#both()
    if (older === undefined || younger === undefined || this.#watchers === 0) return PUNCTUAL
    const { mean, max } = older
    // It measures the time from one of its timers to the next.
    const late = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS)
    // Of nothing there is no mean.
    const read = mean > 0 ? { mean: late(mean), p99: late(older.percentile(99)), max: late(max) } : PUNCTUAL
    if (now - this.#since >= WINDOW_MS) {
      this.#since = now
      older.reset()
      this.#older = younger
      this.#younger = older
    }
    return read
  }

  #both(): IntervalHistogram[] {
    return [this.#older, this.#younger].filter((histogram) => histogram !== undefined)
  }
}

/** That of this thread. */
export const loopDelay = new LoopDelay()
