// One interleaved run of all subjects over loopback. Each subject has core 0 to itself while it is
// measured; the origin and the load generator share core 1. A round starts every subject anew, so
// what one process happens to be lucky with does not decide. Figures are medians over the rounds.
//
//   npm run bench -- [--rounds 5] [--seconds 2] [--connections 64,8] [--only none,hyper] [--json]
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { report, summarize } from './report.mjs'
import { relayBinary, subjects } from './subjects.mjs'

process.chdir(dirname(dirname(fileURLToPath(import.meta.url))))

const WARM_UP_MS = { first: 2_000, next: 300 } // the first warms up the subject, the next its connections
const START_WITHIN_MS = 10_000

const options = readOptions()
const [subjectCore, loadCore] = cores()
const children = new Set()
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL')
})
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1))

const origin = await launch(loadCore, [relayBinary, 'origin'])
const samples = []
for (let round = 0; round < options.rounds; round++) {
  const turn = round % options.subjects.length
  for (const subject of [...options.subjects.slice(turn), ...options.subjects.slice(0, turn)]) {
    progress(`round ${round + 1} of ${options.rounds}: ${subject.title}`)
    samples.push(...(await measure(subject)))
  }
}
progress('')
await stop(origin)

const summary = summarize(samples, options)
if (options.json) console.log(JSON.stringify({ ...environment(), summary, samples }, undefined, 2))
else console.log(`${describe()}\n\n${report(summary, options)}`)

async function measure(subject) {
  const running = await launch(subjectCore, subject.start(origin.address))
  await check(subject, running.address)
  const found = []
  for (const [index, connections] of options.connections.entries()) {
    const warmUp = index === 0 ? WARM_UP_MS.first : WARM_UP_MS.next
    const args = [running.address, connections, warmUp, options.seconds * 1_000, running.child.pid]
    const figures = JSON.parse(await outputOf(loadCore, [relayBinary, 'load', ...args.map(String)], subject))
    found.push({ subject: subject.name, connections, ...figures })
  }
  await stop(running)
  return found
}

/** The subject really is a proxy in front of the origin, and its phases really run. */
async function check(subject, address) {
  const problem = async () => {
    const response = await fetch(`http://${address}/head`)
    const head = await response.text()
    if (response.status !== 200 || !head.startsWith('GET /head HTTP/1.1'))
      return `answered ${response.status}: ${head}`
    if (!subject.edits) return undefined
    if (!/^x-via: millrace\r$/im.test(head)) return 'did not run upstreamRequestFilter'
    if (response.headers.get('x-served-by') !== 'millrace') return 'did not run responseFilter'
    const refused = await fetch(`http://${address}/internal`)
    if (refused.status !== 403) return 'did not run requestFilter'
    return undefined
  }
  const found = await problem()
  if (found !== undefined) fail(`${subject.title} ${found}`)
}

// === processes ===

/** Starts a process on one core; it says on its first line where it listens. */
async function launch(core, command) {
  const child = pinned(core, command, 'pipe')
  const late = setTimeout(() => child.kill('SIGKILL'), START_WITHIN_MS)
  for await (const line of createInterface({ input: child.stdout })) {
    clearTimeout(late)
    return { child, address: line }
  }
  return fail(`${command.join(' ')} did not start`)
}

async function stop({ child }) {
  if (child.exitCode === null && child.signalCode === null) {
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
  }
}

async function outputOf(core, command, subject) {
  const child = pinned(core, command, 'ignore')
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (piece) => {
    text += piece
  })
  const [status] = await once(child, 'close')
  if (status !== 0) fail(`the load on ${subject.title} failed`)
  return text
}

function pinned(core, command, stdin) {
  const child = spawn('taskset', ['-c', core, ...command], {
    stdio: [stdin, 'pipe', 'inherit'],
    env: { ...process.env, NODE_ENV: 'production' },
  })
  children.add(child)
  child.once('exit', () => children.delete(child))
  return child
}

/** The first two cores this process may use. */
function cores() {
  if (process.platform !== 'linux') fail('the benchmark needs Linux: it reads /proc and pins with taskset')
  const list = /^Cpus_allowed_list:\s*(.+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))[1]
  const allowed = list.split(',').flatMap((range) => {
    const [first, last = first] = range.split('-').map(Number)
    return Array.from({ length: last - first + 1 }, (_, index) => first + index)
  })
  if (allowed.length < 2) fail('the benchmark needs two cores: one for the subject, one for the load')
  return allowed.map(String)
}

// === options and words ===

function readOptions() {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '2' },
      connections: { type: 'string', default: '64,8' },
      only: { type: 'string', default: subjects.map((subject) => subject.name).join(',') },
      json: { type: 'boolean', default: false },
    },
  })
  const whole = (name, text, most) => {
    const number = Number(text)
    if (!Number.isInteger(number) || number < 1 || number > most)
      fail(`--${name} is a whole number from 1 to ${most}`)
    return number
  }
  const wanted = values.only.split(',')
  for (const name of wanted) {
    if (!subjects.some((subject) => subject.name === name)) fail(`--only knows no ${name}`)
  }
  if (!existsSync(relayBinary)) fail('bench/relay is not built: run `npm run bench`')
  return {
    rounds: whole('rounds', values.rounds, 20),
    seconds: whole('seconds', values.seconds, 30),
    connections: values.connections.split(',').map((text) => whole('connections', text, 512)),
    subjects: subjects.filter((subject) => wanted.includes(subject.name)),
    json: values.json,
  }
}

function environment() {
  return {
    node: process.version,
    cpu: cpus()[0].model,
    rounds: options.rounds,
    seconds: options.seconds,
  }
}

function describe() {
  const { node, cpu, rounds, seconds } = environment()
  return `Node ${node}, ${cpu}; HTTP/1.1 over loopback, 1 KiB answers, one core for the subject\nmedian of ${rounds} rounds of ${seconds} s; CPU is µs per request of the whole process`
}

function progress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`)
  else if (text !== '') process.stderr.write(`${text}\n`)
}

function fail(message) {
  console.error(`bench: ${message}`)
  process.exit(1)
}
