// Processes of the run: pinned to a core each, and none left behind.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { createInterface } from 'node:readline'

const START_WITHIN_MS = 10_000

/** Ends the run with a sentence, and no stack. */
export class Stop extends Error {}

const children = new Set()
process.once('exit', () => {
  for (const child of children) kill(child.pid)
})
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1))

/** The cores this process may use. */
export function cores() {
  if (process.platform !== 'linux') throw new Stop('it needs Linux: it reads /proc and pins with taskset')
  const list = /^Cpus_allowed_list:\s*(.+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))[1]
  return list.split(',').flatMap((range) => {
    const [first, last = first] = range.split('-').map(Number)
    return Array.from({ length: last - first + 1 }, (_, index) => String(first + index))
  })
}

/** Starts a program that ends with its standard input, and says on its first line where it listens. */
export async function launch(core, command, env = {}) {
  const child = pinned(core, command, 'pipe', env)
  const late = setTimeout(() => kill(child.pid), START_WITHIN_MS)
  for await (const line of createInterface({ input: child.stdout })) {
    clearTimeout(late)
    child.stdout.resume()
    return { child, address: line }
  }
  throw new Stop(`${command.join(' ')} did not start`)
}

// The program in the background; when the shell's input ends, so does the program.
const GUARD = 'exec 3<&0; "$@" </dev/null & cat <&3 >/dev/null; kill -TERM $!; wait'

/** Starts a program that does not say when it listens at `address`; most do not end with their input. */
export async function launchAt(core, command, address, isGuarded) {
  const child = pinned(core, isGuarded ? ['sh', '-c', GUARD, 'guard', ...command] : command, 'pipe')
  const until = Date.now() + START_WITHIN_MS
  while (!(await answers(address))) {
    if (Date.now() > until || child.exitCode !== null) throw new Stop(`${command[0]} did not start`)
  }
  return { child, address }
}

/** Whether a connection can be made; waits a moment if not. */
async function answers(address) {
  const [host, port] = address.split(':')
  const socket = connect(Number(port), host)
  try {
    await once(socket, 'connect')
    return true
  } catch {
    await new Promise((resolve) => setTimeout(resolve, 2))
    return false
  } finally {
    socket.destroy()
  }
}

/** A port that was free a moment ago. */
export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}

export async function stop({ child }) {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  kill(child.pid)
  await ended
}

/** What a command prints; it has to end well. */
export async function outputOf(core, command, what) {
  const child = pinned(core, command, 'ignore')
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (piece) => {
    text += piece
  })
  const [status] = await once(child, 'close')
  if (status !== 0) throw new Stop(`${what} failed`)
  return text
}

function pinned(core, command, stdin, env = {}) {
  const child = spawn('taskset', ['-c', core, ...command], {
    stdio: [stdin, 'pipe', 'inherit'],
    env: { ...process.env, NODE_ENV: 'production', ...env },
  })
  child.stdin?.on('error', () => {})
  children.add(child)
  child.once('exit', () => children.delete(child))
  return child
}

// === what /proc says ===

/** A process and all that descend from it: nginx has a master and workers. */
function tree(root) {
  const parents = new Map()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const stat = read(`/proc/${name}/stat`)
    const [, command, parent] = /^\d+ \((.*)\) \S (\d+)/s.exec(stat) ?? []
    if (parent !== undefined) parents.set(Number(name), { command, parent: Number(parent) })
  }
  const found = [{ pid: root, command: parents.get(root)?.command }]
  for (const { pid } of found)
    for (const [child, { command, parent }] of parents)
      if (parent === pid) found.push({ pid: child, command })
  return found
}

/** The processes of a subject, without those that only guard it. */
export function pidsOf({ child }) {
  return tree(child.pid)
    .filter(({ command }) => command !== 'sh' && command !== 'cat')
    .map(({ pid }) => pid)
}

/** What all threads of the processes have spent on a processor, in µs. */
export function cpuMicros(pids) {
  const spent = pids.flatMap((pid) =>
    readdirSync(`/proc/${pid}/task`).map((task) => read(`/proc/${pid}/task/${task}/schedstat`)),
  )
  return spent.reduce((sum, line) => sum + Number(line.split(' ', 1)[0]) / 1e3, 0)
}

/** Resident memory in MiB, now (`VmRSS`) or at most since `forgetPeak` (`VmHWM`). */
export function memoryMib(pids, field = 'VmRSS') {
  const kib = (pid) => new RegExp(`^${field}:\\s*(\\d+) kB`, 'm').exec(read(`/proc/${pid}/status`))?.[1] ?? 0
  return pids.reduce((sum, pid) => sum + Number(kib(pid)) / 1024, 0)
}

export function forgetPeak(pids) {
  for (const pid of pids) writeFileSync(`/proc/${pid}/clear_refs`, '5')
}

function kill(root) {
  for (const { pid } of tree(root)) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // It has ended meanwhile.
    }
  }
}

function read(path) {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
