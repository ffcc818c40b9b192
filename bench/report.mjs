// From samples to medians, and from medians to words.
import { expectations, subjects } from './subjects.mjs'

const median = (numbers) => {
  const sorted = numbers.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** One row for each subject and number of connections. */
export function summarize(samples, options) {
  return options.connections.flatMap((connections) => {
    const rows = options.subjects.map(({ name, title }) => {
      const own = samples.filter((sample) => sample.subject === name && sample.connections === connections)
      const of = (field) => median(own.map((sample) => sample[field]))
      const cpu = own.map((sample) => sample.cpuMicros)
      return {
        subject: name,
        title,
        connections,
        requestsPerSecond: Math.round(of('requestsPerSecond')),
        cpuMicros: of('cpuMicros'),
        cpuMin: Math.min(...cpu),
        cpuMax: Math.max(...cpu),
        p50Micros: Math.round(of('p50Micros')),
        p99Micros: Math.round(of('p99Micros')),
      }
    })
    const cpuOf = (name) => rows.find((row) => row.subject === name)?.cpuMicros
    return rows.map((row) => ({
      ...row,
      cpuToHyper: ratio(row.cpuMicros, cpuOf('hyper')),
      cpuToMillrace: ratio(row.cpuMicros, cpuOf('none')),
    }))
  })
}

const ratio = (of, to) => (to === undefined ? undefined : Math.round((of / to) * 1_000) / 1_000)

export function report(summary, options) {
  const tables = options.connections.map((connections) =>
    table(
      connections,
      summary.filter((row) => row.connections === connections),
    ),
  )
  return [...tables, expected(summary)].filter((part) => part !== '').join('\n\n')
}

function table(connections, rows) {
  const times = (value) => (value === undefined ? '' : value.toFixed(2))
  const lines = [
    ['', 'requests/s', 'CPU µs', '[min–max]', '× hyper', '× millrace', 'p50 µs', 'p99 µs'],
    ...rows.map((row) => [
      row.title,
      String(row.requestsPerSecond),
      row.cpuMicros.toFixed(1),
      `[${row.cpuMin.toFixed(1)}–${row.cpuMax.toFixed(1)}]`,
      times(row.cpuToHyper),
      times(row.cpuToMillrace),
      String(row.p50Micros),
      String(row.p99Micros),
    ]),
  ]
  lines[0][0] = `${connections} connections`
  const widths = lines[0].map((_, column) => Math.max(...lines.map((line) => line[column].length)))
  return lines
    .map((line) =>
      line.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column]))),
    )
    .map((line) => line.join('  '))
    .join('\n')
}

function expected(summary) {
  const rowOf = (name) => summary.find((row) => row.subject === name && row.connections === 64)
  const titleOf = (name) => subjects.find((subject) => subject.name === name).title
  return expectations
    .filter(({ of, to }) => rowOf(of) !== undefined && rowOf(to) !== undefined)
    .map(({ of, to, atMost }) => {
      const found = ratio(rowOf(of).cpuMicros, rowOf(to).cpuMicros)
      const verdict = found <= atMost ? 'met' : 'missed'
      return `${verdict}: ${titleOf(of)} at ${found.toFixed(2)} of the CPU of ${titleOf(to)} (expected: at most ${atMost})`
    })
    .join('\n')
}
