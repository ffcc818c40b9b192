import { describe, expect, it } from 'vitest'

// Plain JavaScript, as the benchmark runs without a build; nobody else has use for types of it.
const bench = (file: string) => import(new URL(`../../bench/${file}.mjs`, import.meta.url).href)
const { cases } = await bench('cases')
const { svg } = await bench('report/svg')
const { report } = await bench('report/text')
const { median, ratiosOf, summarize, summaryOf } = await bench('statistics')
const { crossings, subjects } = await bench('subjects')
const { targets, verdicts } = await bench('targets')

type Named = { name: string }
type Column = { field: string }

/** One sample for each round. */
const rounds = (subject: string, values: number[], field = 'cpuMicros', setting = '64 connections') =>
  values.map((value, round) => ({ case: 'h1', setting, subject, round, figures: { [field]: value } }))

const target = (more: object) => ({
  case: 'h1',
  setting: '64 connections',
  field: 'cpuMicros',
  of: 'none',
  ...more,
})
const verdict = (samples: object[], more: object) => verdicts(samples, [target(more)])[0]
const titleOf = (_case: object, name: string) =>
  subjects.find((subject: Named) => subject.name === name)?.title ?? name

describe('figures', () => {
  it('are medians with their spread', () => {
    expect(median([3, 1, 2])).toBe(2)
    expect(median([4, 1, 2, 3])).toBe(2.5)
    expect(summaryOf([5, 1, 3])).toEqual({ median: 3, min: 1, max: 5 })
    expect(summaryOf([undefined, 2])).toEqual({ median: 2, min: 2, max: 2 })
    expect(summaryOf([])).toBeUndefined()
  })

  it('are compared round by round, so that a slow round counts for both', () => {
    const [own, other] = [rounds('none', [10, 100, 12]), rounds('hyper', [10, 100, 10])]
    expect(ratiosOf(own, other, 'cpuMicros')).toEqual([1, 1, 1.2])
    expect(ratiosOf(own, other.slice(1), 'cpuMicros')).toEqual([1, 1.2])
  })
})

describe('targets', () => {
  it('are reached up to their bound, and not beyond', () => {
    const samples = [...rounds('none', [11, 11, 12]), ...rounds('hyper', [10, 10, 10])]
    expect(verdict(samples, { to: 'hyper', atMost: 1.1 })).toMatchObject({
      isReached: true,
      found: { median: 1.1, min: 1.1, max: 1.2 },
    })
    expect(verdict(samples, { to: 'hyper', atMost: 1.09 })?.isReached).toBe(false)
    expect(verdict(samples, { to: 'hyper', atLeast: 1.2 })?.isReached).toBe(false)
  })

  it('compare with the best of several', () => {
    const samples = [...rounds('none', [10]), ...rounds('http-proxy', [40]), ...rounds('reply-from', [20])]
    const found = verdict(samples, { to: ['http-proxy', 'reply-from'], atMost: 0.4 })
    expect(found).toMatchObject({ isReached: false, found: { median: 0.5 } })
  })

  it('may be differences, or figures by themselves', () => {
    const samples = [...rounds('none', [130]), ...rounds('hyper', [100])]
    expect(verdict(samples, { over: 'hyper', atMost: 30 })).toMatchObject({
      isReached: true,
      found: { median: 30 },
    })
    expect(verdict(samples, { atMost: 129 })?.isReached).toBe(false)
  })

  it('are neither reached nor missed where somebody was not measured', () => {
    expect(verdict(rounds('none', [10]), { to: 'hyper', atMost: 1 })?.isReached).toBeUndefined()
    expect(verdict([], { atMost: 1 })?.isReached).toBeUndefined()
    expect(verdict(rounds('none', [10]), { to: ['none', 'hyper'], atMost: 1 })?.isReached).toBeUndefined()
  })

  it('name what the cases measure', () => {
    for (const { case: name, field, of, to, over } of targets) {
      const found = cases.find((one: Named) => one.name === name)
      expect(found.columns.map((column: Column) => column.field)).toContain(field)
      for (const subject of [of, to ?? [], over ?? []].flat()) expect(found.subjects).toContain(subject)
    }
  })
})

describe('cases', () => {
  it('have subjects that there are', () => {
    for (const { name, subjects: wanted, against, columns, main } of cases) {
      const known = (name === 'crossing' ? crossings : subjects).map((subject: Named) => subject.name)
      expect(known).toEqual(expect.arrayContaining([...wanted, ...against]))
      expect(columns.map(({ field }: Column) => field)).toContain(main)
    }
  })
})

describe('the report', () => {
  const samples = [...rounds('none', [9, 10, 12]), ...rounds('hyper', [8, 8, 8])]
  const tables = summarize(samples, cases, titleOf)

  it('shows medians, spread, ratios and targets', () => {
    const text = report(tables, verdicts(samples), cases, titleOf)
    expect(text).toMatch(/millrace, no phase +– +10\.0 +\[9\.0–12\.0\] +– +– +1\.25 +1\.00/)
    expect(text).toContain(
      'MISSED   h1, 64 connections: millrace, no phase, CPU 1.25 [1.13–1.50] × hyper alone (at most 1.1)',
    )
    expect(text).toContain(`(${targets.length - 1} further targets were not measured in this run)`)
  })

  it('draws a bar for each subject, in an SVG that is whole', () => {
    const drawn = svg(tables, cases, 'Node & others <here>')
    expect(drawn.match(/<rect/g)).toHaveLength(2)
    expect(drawn).toContain('prefers-color-scheme: dark')
    expect(drawn).toContain('Node &amp; others &lt;here&gt;')
    expect(drawn.match(/<text/g)).toHaveLength(drawn.match(/<\/text>/g)?.length ?? 0)
  })
})
