// One interleaved run of all subjects over loopback. Each subject has a core to itself while it is
// measured; origin and load generator share another. A round starts every subject anew, so that what
// one process happens to be lucky with does not decide. Figures are medians over the rounds.
//
//   npm run bench -- [CASE ...] [--rounds 5] [--seconds 1] [--connections 64,8] [--only none,hyper]
//                    [--mib 1024] [--cores 1] [--json] [--svg FILE]
import { spawnSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readdirSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { withLock } from '../scripts/lock.mjs'
import { check } from './check.mjs'
import { crossingAddon } from './measure/crossing.mjs'
import { readOptions } from './options.mjs'
import { find } from './peers.mjs'
import { cores, freePort, launch, launchAt, outputOf, Stop, stop } from './processes.mjs'
import { svg } from './report/svg.mjs'
import { report } from './report/text.mjs'
import { summarize } from './statistics.mjs'
import { crossings, relayBinary, subjects } from './subjects.mjs'
import { verdicts } from './targets.mjs'

process.chdir(dirname(dirname(fileURLToPath(import.meta.url))))

const partsOf = (found) => (found.name === 'crossing' ? crossings : subjects)
const titleOf = (found, name) => partsOf(found).find((subject) => subject.name === name).title

try {
  const options = readOptions(process.argv.slice(2))
  if (options.svg !== undefined) checkFile(options.svg)
  // Two runs at once would measure each other.
  const wait = (pid) => console.error(`bench: waiting for the run of process ${pid}`)
  await withLock('target/bench/lock', wait, () => main(options))
} catch (error) {
  if (!(error instanceof Stop)) throw error
  console.error(`bench: ${error.message}`)
  process.exit(1)
}

/** Before half an hour is spent on what cannot be written. */
function checkFile(file) {
  try {
    closeSync(openSync(file, 'a'))
  } catch (error) {
    throw new Stop(`--svg cannot be written: ${error.message}`)
  }
}

async function main(options) {
  const plans = options.cases.map((found) => ({ found, subjects: present(found) }))
  for (const { name, uses } of options.cases)
    if (uses !== undefined && find(uses.program) === undefined)
      console.error(`bench: ${name} without ${uses.program}, which is not installed: ${uses.without}`)
  build(plans)
  const run = await prepare(options)
  const samples = []
  for (const { found, subjects } of plans) {
    const { measure } = await import(`./measure/${found.measure}.mjs`)
    for (let round = 0; round < options.rounds; round++) {
      for (const subject of turned(subjects, round)) {
        progress(`${found.name}, round ${round + 1} of ${options.rounds}: ${subject.title}`)
        const place = await run.place(found, subject)
        for await (const { setting, figures } of measure({ found, subject, run, place }))
          samples.push({ case: found.name, setting, subject: subject.name, round, figures })
      }
    }
  }
  progress('')
  await stop(run.origin)
  tell(options, samples)
}

function tell(options, samples) {
  const tables = summarize(samples, options.cases, titleOf)
  const found = verdicts(samples)
  const { rounds, seconds } = options
  const environment = { node: process.version, cpu: cpus()[0].model, rounds, seconds }
  const words = `Node ${environment.node}, ${environment.cpu}; medians of ${rounds} rounds`
  if (options.svg !== undefined) writeFileSync(options.svg, svg(tables, options.cases, words))
  if (options.json) console.log(JSON.stringify({ ...environment, tables, targets: found, samples }, null, 2))
  else console.log(`${words}\n\n${report(tables, found, options.cases, titleOf)}`)
}

/** The subjects of a case that can take part; who cannot is told of. */
function present(found) {
  return found.subjects
    .map((name) => partsOf(found).find((subject) => subject.name === name))
    .filter((subject) => {
      const why = subject.missing?.()
      if (why !== undefined) console.error(`bench: ${found.name} without ${subject.title}: ${why}`)
      return why === undefined
    })
}

/** Another one begins in each round. */
function turned(list, round) {
  const turn = list.length === 0 ? 0 : round % list.length
  return [...list.slice(turn), ...list.slice(0, turn)]
}

function build(plans) {
  const flags = ['--bench']
  if (plans.some(({ subjects }) => subjects.some((one) => one.build === 'pingora'))) flags.push('--pingora')
  if (plans.some(({ found }) => found.build === 'crossing')) flags.push('--crossing')
  // What it says goes to stderr: stdout is for the report.
  const stdio = ['ignore', 2, 2]
  if (spawnSync(process.execPath, ['scripts/build.mjs', ...flags], { stdio }).status !== 0)
    throw new Stop('the build failed')
}

/** What all measurements need of the run. */
async function prepare(options) {
  const allowed = cores()
  if (allowed.length < options.cores + 1) {
    // The crossing needs no load beside it, and some cases hardly any.
    const isAlone = options.cases.every(({ name, sharesCores }) => name === 'crossing' || sharesCores)
    if (!isAlone || allowed.length < options.cores)
      throw new Stop(`it needs ${options.cores + 1} cores: the last for origin and load`)
  }
  const subjectCore = allowed.slice(0, options.cores).join(',')
  const loadCore = allowed[options.cores] ?? allowed.at(-1)
  mkdirSync('target/bench', { recursive: true })
  const tls = { cert: resolve('target/bench/cert.pem'), key: resolve('target/bench/key.pem') }
  if (options.cases.some(({ isTls }) => isTls))
    await outputOf(loadCore, [relayBinary, 'certificate', tls.cert, tls.key], 'making a certificate')
  const origin = await launch(loadCore, [relayBinary, 'origin'])
  const run = {
    options,
    subjectCore,
    loadCore,
    origin,
    stop,
    empty: [process.execPath, '--no-deprecation', 'bench/subjects/empty.mjs', '-'],
    addon: addonPath(),
    place: async (found, subject) => ({
      origin: origin.address,
      port: subject.needsPort ? await freePort() : undefined,
      tls: found.isTls ? tls : undefined,
      h2: found.streams !== undefined,
    }),
    launch: async (subject, place) => {
      const command = subject.start(place)
      if (subject.needsPort)
        return await launchAt(subjectCore, command, `127.0.0.1:${place.port}`, subject.isGuarded)
      return await launch(subjectCore, command)
    },
    start: async (subject, place) => {
      const running = await run.launch(subject, place)
      await check(subject, running.address, place)
      return running
    },
  }
  return run
}

function addonPath() {
  try {
    const file = readdirSync(crossingAddon).find((name) => name.endsWith('.node'))
    return file === undefined ? undefined : resolve(join(crossingAddon, file))
  } catch {
    return undefined
  }
}

function progress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`)
  else if (text !== '') process.stderr.write(`${text}\n`)
}
