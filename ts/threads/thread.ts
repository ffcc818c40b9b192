import { MessageChannel, type MessagePort, Worker, type WorkerOptions } from 'node:worker_threads'
import { UsageError } from '../errors.js'
import { type Farewell, LAST_WORDS_MS } from '../farewell.js'
import type { AnyLog } from '../logger.js'
import { placeInStack } from '../modules/place.js'
import { lineOf, moduleFile, nameOf, type Reason, withReason } from '../modules/reason.js'
import { NativeThread } from '../native.js'
import type { ThreadStats } from '../stats.js'
import { Board } from './board.js'
import { takeLines } from './lines.js'
import type { Failure, Order, Report, Summary, Task, ThreadPlace, WayRecipe } from './messages.js'
import { workerFile, workerOptions } from './options.js'

/** How long a module may take to load. */
export const LOAD_MS = 30_000

/** What all threads of a proxy have in common. */
export interface ThreadPlan {
  readonly module: URL
  readonly count: number
  /** How long an event loop may be blocked; 0 = for ever. */
  readonly blockedMs: number
  readonly batch: boolean
  readonly log: AnyLog
  /** Fires when it is not to be loaded any more. */
  readonly givenUp?: AbortSignal
}

/** A thread that runs the phases of a module. Nothing of it holds the process. */
export class Thread {
  /** Settles when its module is loaded. @throws UsageError MODULE_FAILED (rejects) */
  readonly loaded: Promise<Summary>
  /** Settles when it takes requests. Rejects if it ends before. */
  readonly serving: Promise<void>
  /** Settles when it has ended: why, if nobody asked for it. */
  readonly ended: Promise<string | undefined>
  readonly #native = new NativeThread()
  readonly #plan: ThreadPlan
  readonly #port: MessagePort
  readonly #worker: Worker
  readonly #board = new Board()
  #whenLoaded!: (summary: Summary) => void
  #whenServing!: () => void
  #fail!: (error: Error) => void
  #failServing!: (error: Error) => void
  #reason: string | undefined
  /** What was thrown outside of its phases, or by its module. */
  #thrown: Reason | undefined
  #isAsked = false
  #isOver = false
  #hasExited = false
  /** How many `logging` had not settled when it ended. */
  #left = 0
  #watch: NodeJS.Timeout | undefined
  #limit: NodeJS.Timeout | undefined

  /** @throws UsageError START_FAILED */
  constructor(plan: ThreadPlan, index: number) {
    this.#plan = plan
    this.loaded = new Promise((resolve, reject) => {
      this.#whenLoaded = resolve
      this.#fail = reject
    })
    this.serving = new Promise((resolve, reject) => {
      this.#whenServing = resolve
      this.#failServing = reject
    })
    for (const promise of [this.loaded, this.serving]) promise.catch(() => undefined)
    const { port1, port2 } = new MessageChannel()
    this.#port = port1
    const place: ThreadPlace = { index, count: plan.count }
    const task: Task = {
      module: plan.module.href,
      place,
      thread: this.#native.number,
      batch: plan.batch,
      port: port2,
      board: this.#board.memory,
    }
    const worker = makeWorker(workerFile(), {
      ...workerOptions(plan.module),
      name: `${nameOf(plan.module)} ${index}`,
      workerData: { millrace: task },
      transferList: [port2],
    })
    this.#worker = worker
    this.ended = new Promise((resolve) => worker.once('exit', (code) => resolve(this.#exited(code))))
    worker.on('error', (error: unknown) => {
      const stack = error instanceof Error ? error.stack : undefined
      this.#reason = stack ?? String(error)
      if (stack !== undefined)
        this.#thrown = { place: placeInStack(stack), message: stack.split('\n    at ')[0]! }
    })
    port1.on('message', (message: Report) => this.#take(message))
    port1.unref()
    worker.unref()
    const late = () => this.lose(`its module did not load within ${LOAD_MS} ms`)
    this.#limit = setTimeout(late, LOAD_MS).unref()
  }

  /** Its number in the addon. */
  get number(): number {
    return this.#native.number
  }

  /** What it does and has done; what it says of itself is a second old at most. */
  stats(): ThreadStats {
    const { queued, slots, batches, items, late } = this.#native.stats()
    const own = this.#board.read()
    return { queued, sessions: slots, crossings: batches, items, ...own, late: late + own.late }
  }

  /** It takes the requests of these ways, once it is loaded. */
  serve(ways: readonly WayRecipe[]): Promise<void> {
    this.#send({ kind: 'serve', ways })
    return this.serving
  }

  /** It ends when its requests have, after `graceMs` at the latest. */
  end(graceMs: number): Promise<unknown> {
    this.#isAsked = true
    if (graceMs <= 0 || this.#isOver) this.#terminate()
    else this.#limit = setTimeout(() => this.#terminate(), graceMs).unref()
    return this.ended
  }

  /**
   * It ends when `logging` of its last request has settled, which nobody else knows, or is not waited for any
   * more: the server of its proxy has stopped. Resolves when it has ended: how many had not settled.
   */
  async leave(farewell: Farewell): Promise<number> {
    this.#isAsked = true
    clearTimeout(this.#limit)
    if (this.#isOver) this.#terminate()
    else this.#send({ kind: 'end', isAtOnce: false })
    void farewell.over.then(() => {
      if (this.#hasExited) return
      this.#send({ kind: 'end', isAtOnce: true })
      this.#limit = setTimeout(() => {
        this.#left = this.#native.stats().slots
        this.#terminate()
      }, LAST_WORDS_MS).unref()
    })
    await this.ended
    return this.#left
  }

  #send(order: Order): void {
    this.#port.postMessage(order)
  }

  #take(message: Report): void {
    if (message.kind === 'log') {
      takeLines(message.records, this.#plan.log)
      this.#send({ kind: 'logged' })
    } else if (message.kind === 'over') {
      this.#isOver = true
      this.#left = message.left
      if (this.#isAsked) this.#terminate()
    } else if (message.kind === 'failed') this.#failed(message.failure)
    else {
      if (message.kind === 'loaded') this.#whenLoaded(message.summary)
      else this.#whenServing()
      clearTimeout(this.#limit)
      this.#watchLoop()
    }
  }

  #failed({ cause, ...reason }: Failure): void {
    this.#fail(failed(this.#plan.module, reason, cause))
    this.#reason = lineOf(reason)
    this.#terminate()
  }

  /** Looks whether its event loop is free. Also one that is never free answers where its memory is shared. */
  #watchLoop(): void {
    const { blockedMs } = this.#plan
    if (blockedMs === 0 || this.#watch !== undefined) return
    const every = Math.max(10, Math.min(1_000, blockedMs / 4))
    let asked = Date.now()
    let looked = asked
    this.#watch = setInterval(() => {
      const now = Date.now()
      // Where this thread, or the whole process, has stood still, that one may have too.
      const stood = now - looked > 2 * every
      looked = now
      if (Atomics.load(this.#board.beats, 0) === Atomics.load(this.#board.beats, 1)) {
        asked = now
        Atomics.add(this.#board.beats, 0, 1)
        this.#send({ kind: 'beat' })
      } else if (stood) asked = now
      else if (now - asked > blockedMs) this.lose(`its event loop was blocked for ${blockedMs} ms`)
    }, every).unref()
  }

  /** It is given up. */
  lose(reason: string): void {
    this.#reason = reason
    this.#terminate()
  }

  #terminate(): void {
    // At once: a loop that is blocked may take a while to be broken.
    this.#native.close()
    clearInterval(this.#watch)
    void this.#worker.terminate()
  }

  #exited(code: number): string | undefined {
    this.#hasExited = true
    clearInterval(this.#watch)
    clearTimeout(this.#limit)
    this.#native.close()
    this.#port.close()
    const reason = this.#reason ?? `it ended with exit code ${code}`
    const error = failed(this.#plan.module, this.#thrown ?? { place: undefined, message: reason }, undefined)
    this.#fail(error)
    this.#failServing(error)
    return this.#isAsked ? undefined : reason
  }
}

/** Node.js takes no options of V8 or of the process here, which hold for all threads anyway. */
function makeWorker(file: string, options: WorkerOptions): Worker {
  try {
    return new Worker(file, options)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const wrong = /: (.*)$/s.exec(message)?.[1]?.split(', ')
    if (code !== 'ERR_WORKER_INVALID_EXEC_ARGV' || wrong === undefined) throw error
    const execArgv = options.execArgv?.filter((one) => !wrong.includes(one)) ?? []
    return new Worker(file, { ...options, execArgv })
  }
}

function failed(module: URL, reason: Reason, cause: unknown): UsageError {
  const file = moduleFile(module)
  const { place = file === undefined ? undefined : { file }, message } = reason
  // What is said once is enough.
  const why = place?.line === undefined && place?.file === file ? message : lineOf(reason)
  const text = `the module ${file ?? module.href.slice(0, 80)} could not be loaded: ${why}`
  return withReason(new UsageError('MODULE_FAILED', text, { cause }), { place, message })
}
