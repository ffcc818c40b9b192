// Tables and targets for the terminal.
export function report(tables, verdicts, cases, titleOf) {
  const parts = tables.map((table) => {
    const found = cases.find(({ name }) => name === table.case)
    return `${table.case}: ${table.title}\n${render(table, found, titleOf)}`
  })
  return [...parts, targetLines(verdicts, cases, titleOf)].filter((part) => part !== '').join('\n\n')
}

function render({ setting, main, rows }, found, titleOf) {
  const others = found.against.filter((name) => rows.some(({ ratios }) => ratios[name] !== undefined))
  const number = (value, digits) => (value === undefined ? '–' : value.toFixed(digits))
  const cells = (row) =>
    found.columns.flatMap(({ field, digits }) => {
      const { median, min, max } = row.figures[field] ?? {}
      const spread = `[${number(min, digits)}–${number(max, digits)}]`
      return field === main ? [number(median, digits), spread] : [number(median, digits)]
    })
  const lines = [
    [
      setting,
      ...found.columns.flatMap(({ field, title }) => (field === main ? [title, '[min–max]'] : [title])),
      ...others.map((name) => `× ${titleOf(found, name).split(',')[0]}`),
    ],
    ...rows.map((row) => [
      row.title,
      ...cells(row),
      ...others.map((name) => number(row.ratios[name]?.median, 2)),
    ]),
  ]
  const widths = lines[0].map((_, column) => Math.max(...lines.map((line) => line[column].length)))
  const pad = (cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column]))
  return lines.map((line) => line.map(pad).join('  ')).join('\n')
}

function targetLines(verdicts, cases, titleOf) {
  const measured = verdicts.filter(({ isReached }) => isReached !== undefined)
  if (measured.length === 0) return ''
  const lines = measured.map((verdict) => {
    const found = cases.find(({ name }) => name === verdict.case)
    return `${verdict.isReached ? 'reached' : 'MISSED '}  ${describe(verdict, (name) => titleOf(found, name))}`
  })
  const left = verdicts.length - measured.length
  const unmeasured = left === 0 ? [] : [`(${left} further targets were not measured in this run)`]
  return ['targets', ...lines, ...unmeasured].join('\n')
}

const FIELDS = {
  cpuMicros: 'CPU',
  p50Micros: 'p50',
  p99Micros: 'p99',
  overNodeMib: 'memory',
  growthMib: 'more memory at peak',
  mibPerSecond: 'MiB/s',
  overNodeMs: 'after Node',
}

function describe(verdict, titleOf) {
  const { case: name, setting, field, of, to, over, atMost, atLeast, unit, found, isReached } = verdict
  // A miss by less than can be seen is shown with one more digit.
  const isClose = !isReached && Number(found.median.toFixed(2)) === (atMost ?? atLeast)
  const digits = unit !== undefined ? 1 : isClose ? 3 : 2
  const text = (value) => value.toFixed(digits)
  const spread = `${text(found.median)} [${text(found.min)}–${text(found.max)}]`
  const bound = atLeast === undefined ? `at most ${atMost}` : `at least ${atLeast}`
  const others = [to ?? []].flat().map(titleOf)
  const best = others.length > 1 ? `the best of ${others.join(', ')}` : others[0]
  const value = to !== undefined ? `${spread} × ${best}` : `${spread} ${unit}`
  const over_ = over === undefined ? '' : ` over ${titleOf(over)}`
  const where = name === setting ? name : `${name}, ${setting}`
  return `${where}: ${titleOf(of)}, ${FIELDS[field]} ${value}${over_} (${bound})`
}
