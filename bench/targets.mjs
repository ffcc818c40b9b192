// What is expected: `of` in a figure of a case, as a ratio `to` another subject (the best, where there
// are several), as a difference `over` it, or by itself. Ratios are medians of those of each round.
import { ratiosOf, summaryOf } from './statistics.mjs'

const cpu = (case_, setting, of, to, atMost) => ({ case: case_, setting, field: 'cpuMicros', of, to, atMost })

const h1 = (of, to, atMost) => cpu('h1', '64 connections', of, to, atMost)
const few = (of, to, atMost) => cpu('h1', '8 connections', of, to, atMost)
const large = (of, to, atMost) => cpu('large', '64 connections', of, to, atMost)
const h2 = (of, to, atMost) => cpu('h2', '8 connections × 16 streams', of, to, atMost)
const alone = (of, over, atMost) => {
  return { case: 'latency', setting: '1 connection', field: 'p50Micros', of, over, atMost, unit: 'µs' }
}
const bulk = (setting, field, more) => ({ case: 'bulk', setting, field, ...more })
const flat = (setting, of) => bulk(setting, 'growthMib', { of, atMost: 64, unit: 'MiB' })
const fast = (setting) => bulk(setting, 'mibPerSecond', { of: 'none', to: 'hyper', atLeast: 0.95 })

export const targets = [
  h1('none', 'hyper', 1.1),
  h1('none', 'pingora', 0.7),
  large('none', 'hyper', 1.1),
  large('none', 'pingora', 0.7),
  cpu('tls', '64 connections', 'none', 'nginx', 1.1),
  h2('none', 'hyper', 1.1),
  h2('none', 'pingora', 0.75),
  h2('four', 'pingora', 0.85),
  h1('one', 'pingora', 0.75),
  h1('one', 'none', 1.12),
  h1('four', 'pingora', 0.8),
  h1('four', 'none', 1.2),
  h1('four', ['http-proxy', 'reply-from'], 0.4),
  few('one', 'pingora', 1),
  few('four', 'pingora', 1.2),
  alone('one', 'none', 20),
  alone('four', 'none', 45),
  h1('async', 'pingora', 0.85),
  {
    ...{ case: 'latency', setting: '64 connections', field: 'p99Micros' },
    ...{ of: 'four', to: 'pingora', atMost: 1.5 },
  },
  { case: 'idle', setting: '10,000 connections', field: 'overNodeMib', of: 'none', to: 'pingora', atMost: 1 },
  flat('down', 'none'),
  flat('up', 'none'),
  flat('down', 'body'),
  flat('up', 'body'),
  fast('down'),
  fast('up'),
  {
    ...{ case: 'threads', setting: '64 connections', field: 'requestsPerSecond' },
    ...{ of: 'costly-2', to: 'costly-1', atLeast: 1.8 },
  },
  { case: 'start', setting: 'start', field: 'overNodeMs', of: 'none', atMost: 50, unit: 'ms' },
]

/** Each target with what was found: `isReached` is undefined where its subjects were not measured. */
export function verdicts(samples, list = targets) {
  return list.map((target) => {
    const found = foundOf(samples, target)
    if (found === undefined) return { ...target, isReached: undefined }
    const { atMost = Number.POSITIVE_INFINITY, atLeast = Number.NEGATIVE_INFINITY } = target
    return { ...target, found, isReached: found.median <= atMost && found.median >= atLeast }
  })
}

function foundOf(samples, { case: case_, setting, field, of, to, over }) {
  const measured = samples.filter((sample) => sample.case === case_ && sample.setting === setting)
  const own = (name) => measured.filter(({ subject }) => subject === name)
  if (over !== undefined) return summaryOf(ratiosOf(own(of), own(over), field, (a, b) => a - b))
  if (to === undefined) return summaryOf(own(of).map(({ figures }) => figures[field]))
  // To the best of several is to the one that it compares worst with.
  const all = [to].flat().map((name) => summaryOf(ratiosOf(own(of), own(name), field)))
  if (all.includes(undefined)) return undefined
  return all.reduce((worst, one) => (one.median > worst.median ? one : worst))
}
