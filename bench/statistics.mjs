// From samples to medians with their spread.
export function median(numbers) {
  const sorted = numbers.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** The median of numbers and how far they reach; undefined for none. */
export function summaryOf(numbers) {
  const known = numbers.filter((number) => number !== undefined)
  if (known.length === 0) return undefined
  return { median: median(known), min: Math.min(...known), max: Math.max(...known) }
}

/** A figure of one subject to that of another, round by round: what disturbs a round disturbs both. */
export function ratiosOf(own, others, field, relate = (a, b) => a / b) {
  return own.flatMap(({ round, figures }) => {
    const other = others.find((sample) => sample.round === round)?.figures[field]
    return other === undefined || figures[field] === undefined ? [] : [relate(figures[field], other)]
  })
}

/** A table for each setting of each case, with a row for each subject that was measured. */
export function summarize(samples, cases, titleOf) {
  return cases.flatMap((found) => {
    const measured = samples.filter((sample) => sample.case === found.name)
    const settings = [...new Set(measured.map(({ setting }) => setting))]
    return settings.map((setting) => {
      const here = measured.filter((sample) => sample.setting === setting)
      const own = (name) => here.filter(({ subject }) => subject === name)
      const names = found.subjects.filter((name) => own(name).length > 0)
      const rows = names.map((name) => {
        const figure = ({ field }) => [field, summaryOf(own(name).map(({ figures }) => figures[field]))]
        const ratio = (other) => [other, summaryOf(ratiosOf(own(name), own(other), found.main))]
        return {
          subject: name,
          title: titleOf(found, name),
          figures: Object.fromEntries(found.columns.map(figure)),
          ratios: Object.fromEntries(found.against.map(ratio).filter(([, value]) => value !== undefined)),
        }
      })
      return { case: found.name, title: found.title, setting, main: found.main, rows }
    })
  })
}
