// The command line: names of cases, and options.
import { parseArgs } from 'node:util'
import { cases } from './cases.mjs'
import { Stop } from './processes.mjs'
import { crossings, subjects } from './subjects.mjs'

const known = [...new Set([...subjects, ...crossings].map(({ name }) => name))]

const usage = `npm run bench -- [CASE ...] [--rounds 5] [--seconds 1] [--connections 64,8] [--only none,hyper]
                 [--mib 1024] [--cores 1] [--json] [--svg FILE]
cases: ${cases.map(({ name }) => name).join(', ')}, all; bench/README.md has more`

export function readOptions(args) {
  if (args.includes('--help') || args.includes('-h')) throw new Stop(usage)
  let parsed
  try {
    parsed = parseArgs({
      args,
      allowPositionals: true,
      options: {
        rounds: { type: 'string', default: '5' },
        seconds: { type: 'string', default: '1' },
        connections: { type: 'string' },
        only: { type: 'string' },
        mib: { type: 'string', default: '1024' },
        cores: { type: 'string', default: '1' },
        json: { type: 'boolean', default: false },
        svg: { type: 'string' },
      },
    })
  } catch (error) {
    throw new Stop(error.message)
  }
  const { values, positionals } = parsed
  const wanted = positionals.length === 0 ? ['h1'] : positionals
  const names = wanted.includes('all') ? cases.map(({ name }) => name) : wanted
  for (const name of names)
    if (!cases.some((one) => one.name === name))
      throw new Stop(`no case ${name}; there are: ${cases.map((one) => one.name).join(', ')}, all`)
  const only = values.only?.split(',')
  for (const name of only ?? [])
    if (!known.includes(name)) throw new Stop(`--only knows no ${name}; there are: ${known.join(', ')}`)
  const chosen = cases
    .filter(({ name }) => names.includes(name))
    .map((found) => {
      const kept = found.subjects.filter((name) => only === undefined || only.includes(name))
      if (kept.length === 0)
        throw new Stop(`--only leaves nothing of ${found.name}, which has: ${found.subjects.join(', ')}`)
      return { ...found, subjects: kept }
    })
  return {
    cases: chosen,
    rounds: whole('rounds', values.rounds, 50),
    seconds: whole('seconds', values.seconds, 60),
    mib: whole('mib', values.mib, 65_536),
    cores: whole('cores', values.cores, 64),
    connections: values.connections?.split(',').map((text) => whole('connections', text, 16_000)),
    json: values.json,
    svg: values.svg,
  }
}

function whole(name, text, most) {
  const number = Number(text)
  if (Number.isInteger(number) && number >= 1 && number <= most) return number
  throw new Stop(`--${name} takes whole numbers from 1 to ${most}`)
}
