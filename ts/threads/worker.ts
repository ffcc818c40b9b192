/** What a thread of its own runs: loads a module, and runs its phases. */
import { workerData } from 'node:worker_threads'
import type { Composition } from '../composition.js'
import { type Environment, makeEnvironment } from '../crossing/environment.js'
import { entryOf } from '../entry.js'
import { explain } from '../modules/explain.js'
import { batchThread } from '../native.js'
import { HttpPeer } from '../peer.js'
import { loopDelay } from '../stats.js'
import { Board } from './board.js'
import { Lines } from './lines.js'
import type { Order, Report, Task, WayRecipe } from './messages.js'
import { loadPhases, summaryOf } from './phases.js'

/** How often it is looked for the end of the last requests. */
const LOOK_MS = 5
/** How often it shows how it does. */
const SHOW_MS = 1_000

const { module, place, thread, batch, port, board: memory } = (workerData as { millrace: Task }).millrace
const board = new Board(memory)
const { beats } = board
const lines = new Lines((records) => report({ kind: 'log', records }))
const log = lines.log()
let composition: Composition | undefined
let environment: Environment | undefined
/** `logging` is not waited for any more. */
let isAtOnce = false

function report(what: Report): void {
  port.postMessage(what)
}

port.on('message', (order: Order) => {
  if (order.kind === 'beat') Atomics.store(beats, 1, Atomics.load(beats, 0))
  else if (order.kind === 'serve') serve(order.ways)
  else if (order.kind === 'end') {
    isAtOnce = order.isAtOnce
    end()
  } else lines.taken()
})

if (batch) batchThread()
loopDelay.watch()
setInterval(
  () => board.show({ loopDelayMs: loopDelay.read(), late: environment?.crossing.late ?? 0 }),
  SHOW_MS,
).unref()
void load()

async function load(): Promise<void> {
  try {
    composition = await loadPhases(module, place)
    report({ kind: 'loaded', summary: summaryOf(composition) })
  } catch (error) {
    const url = new URL(module)
    const failure = { ...(await explain(error, { module: url, execArgv: process.execArgv })), cause: error }
    try {
      report({ kind: 'failed', failure })
    } catch {
      // What was thrown cannot be cloned.
      report({ kind: 'failed', failure: { ...failure, cause: undefined } })
    }
  }
}

function serve(ways: readonly WayRecipe[]): void {
  environment = makeEnvironment(log, thread)
  const { crossing } = environment
  for (const way of ways) {
    const peer =
      way.peer === 'own'
        ? composition!.fixedPeer
        : way.peer && new HttpPeer(way.peer.address, way.peer.options)
    const entry = entryOf(way.id, composition!, peer, way)
    entry.log = log
    crossing.proxies.add(entry)
  }
  crossing.proxies.whenRetired = end
  report({ kind: 'serving' })
}

/** Says when the last request is over, also for `logging`. */
function end(): void {
  const { slots, queued } = environment?.native.stats() ?? { slots: 0, queued: 0 }
  if (queued === 0 && (slots === 0 || isAtOnce))
    report({ kind: 'over', left: environment?.crossing.logging() ?? 0 })
  else setTimeout(end, LOOK_MS)
}
