// The tables as bars, for the docs: one SVG without scripts, readable on light and on dark.
const WIDTH = 760
const LEFT = 210
const RIGHT = 150
const BAR = 14
const ROW = 22
const HEAD = 44

const STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #1f2328 }
  .title { font-weight: 600; font-size: 13px }
  .dim { fill: #59636e }
  .own { fill: #b3541e }
  .other { fill: #8c959f }
  .spread { stroke: #1f2328; stroke-width: 1 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .dim { fill: #9198a1 }
    .own { fill: #e8894f }
    .other { fill: #6e7681 }
    .spread { stroke: #e6edf3 }
  }`

/** One group of bars for each table, by the figure that subjects are compared by. */
export function svg(tables, cases, words) {
  let y = 10
  const groups = tables.map((table) => {
    const found = cases.find(({ name }) => name === table.case)
    const drawn = group(table, found, y)
    y = drawn.end
    return drawn.text
  })
  const height = y + 24
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img">
<title>millrace beside its peers</title>
<style>${STYLE}
</style>
${groups.join('\n')}
${text(10, height - 8, words, 'dim')}
</svg>
`
}

function group({ title, setting, main, rows }, found, y) {
  const { digits, title: unit } = found.columns.find(({ field }) => field === main)
  const shown = rows.filter(({ figures }) => figures[main] !== undefined)
  const most = Math.max(...shown.map(({ figures }) => figures[main].max), Number.MIN_VALUE)
  const scale = (value) => Math.max(0, (value / most) * (WIDTH - LEFT - RIGHT))
  const better = found.isMoreBetter ? 'more is better' : 'less is better'
  const lines = [
    text(10, y + 14, title, 'title'),
    text(10, y + 30, setting === found.name ? `${unit}, ${better}` : `${setting}; ${unit}, ${better}`, 'dim'),
  ]
  for (const [index, row] of shown.entries()) {
    const top = y + HEAD + index * ROW
    const { median, min, max } = row.figures[main]
    const middle = top + BAR / 2
    const kind = row.title.startsWith('millrace') || found.name === 'crossing' ? 'own' : 'other'
    lines.push(
      text(LEFT - 10, top + 11, row.title, '', 'end'),
      `<rect class="${kind}" x="${LEFT}" y="${top}" width="${round(scale(median))}" height="${BAR}" rx="2"/>`,
      `<path class="spread" d="M${round(LEFT + scale(min))} ${middle}H${round(LEFT + scale(max))}"/>`,
      text(round(LEFT + scale(max) + 8), top + 11, median.toFixed(digits)),
    )
  }
  return { text: lines.join('\n'), end: y + HEAD + shown.length * ROW + 14 }
}

const round = (value) => Math.round(value * 10) / 10

function text(x, y, words, kind = '', anchor = 'start') {
  const safe = words.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
  return `<text x="${x}" y="${y}"${kind && ` class="${kind}"`} text-anchor="${anchor}">${safe}</text>`
}
