// One builder at a time, between processes. The holder touches the lock file once a second; a lock
// that nobody has touched for a while belongs to a process that was killed, and is taken over.
// (Not by process number: numbers are reused, and differ between containers that share a checkout.)
import {
  linkSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const TOUCH_MS = 1_000
const DEAD_AFTER_MS = 8_000

/** Runs `work` while holding the lock at `path`; `onWait(pid)` is called once if another holds it. */
export async function withLock(path, onWait, work) {
  mkdirSync(dirname(path), { recursive: true })
  const mine = `${process.pid} ${Date.now()} ${Math.random()}`
  await acquire(path, mine, onWait)
  const release = () => {
    if (read(path) === mine) rmSync(path, { force: true })
  }
  const touch = setInterval(() => {
    const now = new Date()
    try {
      utimesSync(path, now, now)
    } catch {} // taken over or cleaned away: the build itself is still sound, only maybe done twice
  }, TOUCH_MS)
  process.once('exit', release)
  try {
    return await work()
  } finally {
    clearInterval(touch)
    process.off('exit', release)
    release()
  }
}

async function acquire(path, mine, onWait) {
  let seen = ''
  let since = performance.now()
  let told = false
  while (true) {
    if (create(path, mine)) return
    const holder = read(path)
    const state = `${holder} ${statSync(path, { throwIfNoEntry: false })?.mtimeMs}`
    if (state !== seen) {
      seen = state
      since = performance.now()
    } else if (performance.now() - since > DEAD_AFTER_MS) {
      rmSync(path, { force: true })
      if (create(path, mine)) {
        // Another waiter may have judged the same lock dead and removed ours: who is left holds it.
        await sleep(100)
        if (read(path) === mine) return
      }
      continue
    }
    if (!told && holder !== undefined) {
      told = true
      onWait(holder.split(' ')[0])
    }
    await sleep(100)
  }
}

/** Creates the lock with its content in one step: it is never seen empty. */
function create(path, content) {
  const draft = `${path}.${process.pid}`
  writeFileSync(draft, content)
  try {
    linkSync(draft, path)
    return true
  } catch (error) {
    if (error.code === 'EEXIST') return false
    throw error
  } finally {
    unlinkSync(draft)
  }
}

function read(path) {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
