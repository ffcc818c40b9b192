// What a request costs beside time: calls of the system, as strace counts them, and pieces of memory that the
// addon takes from the heap, in a build that counts them. Both slow the subject down, so no time is measured.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, rmSync } from 'node:fs'
import { settingOf } from '../cases.mjs'
import { find } from '../peers.mjs'
import { launch, pidsOf } from '../processes.mjs'
import { load } from './http.mjs'

const FILE = 'target/bench/strace.txt'
const CALLS = {
  reads: /^(read|readv|recv\w*)$/,
  writes: /^(write|writev|send\w*)$/,
  waits: /^(epoll_p?wait2?|poll|ppoll|futex)$/,
}

export async function* measure({ found, subject, run, place }) {
  for (const connections of run.options.connections ?? found.connections) {
    const plan = { ...found, connections, ms: run.options.seconds * 1_000 }
    const figures = { ...(await systemCalls(run, subject, place, plan)) }
    if (subject.isOurs) Object.assign(figures, await allocated(run, subject, place, plan))
    yield { setting: settingOf(found, connections), figures }
  }
}

async function systemCalls(run, subject, place, plan) {
  if (find('strace') === undefined) return {}
  const running = await run.start(subject, place)
  try {
    await warm(run, subject, running, plan)
    const pids = pidsOf(running).flatMap((pid) => ['-p', String(pid)])
    const strace = spawn(find('strace'), ['-c', '-f', '-o', FILE, ...pids], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    await once(strace.stderr, 'data') // It says that it has attached.
    strace.stderr.resume()
    const { requests } = await counted(run, subject, running, plan)
    strace.kill('SIGINT')
    await once(strace, 'exit')
    return callsPer(requests, readFileSync(FILE, 'utf8'))
  } finally {
    rmSync(FILE, { force: true })
    await run.stop(running)
  }
}

/** Reads the table of `strace -c`: `% time, seconds, usecs/call, calls, errors if any, name`. */
function callsPer(requests, table) {
  const rows = table.matchAll(/^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$/gm)
  const calls = [...rows].map(([, count, name]) => ({ count: Number(count) / requests, name }))
  const sum = (wanted) =>
    calls.filter(({ name }) => wanted.test(name)).reduce((all, { count }) => all + count, 0)
  const kinds = Object.entries(CALLS).map(([kind, names]) => [kind, sum(names)])
  return { syscalls: sum(/^(?!total$)/), ...Object.fromEntries(kinds) }
}

async function allocated(run, subject, place, plan) {
  const [node, ...words] = subject.start(place)
  const command = [node, '--import', './bench/subjects/allocations.mjs', ...words]
  const running = await launch(run.subjectCore, command, { MILLRACE_BINARY: run.addon })
  const ask = async () => {
    process.kill(pidsOf(running)[0], 'SIGUSR2')
    const [line] = await once(running.child.stdout, 'data')
    return JSON.parse(line)
  }
  try {
    await warm(run, subject, running, plan)
    const before = await ask()
    const { requests } = await counted(run, subject, running, plan)
    const after = await ask()
    return {
      allocations: (after.times - before.times) / requests,
      allocatedBytes: (after.bytes - before.bytes) / requests,
    }
  } finally {
    await run.stop(running)
  }
}

const warm = (run, subject, running, plan) =>
  load(run, subject, running, { ...plan, warmUp: 1_000, ms: 1_000 })

/** All requests but those of a millisecond count. */
const counted = (run, subject, running, plan) => load(run, subject, running, { ...plan, warmUp: 1 })
