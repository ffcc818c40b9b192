import { describe } from './crossing/failure.js'
import { isThenable } from './crossing/promise.js'
import type { OptionProblem } from './errors.js'
import { type Members, misspelt } from './misspelt.js'
import type { NativeServer } from './native.js'
import { checkInto, integer, MAX_MS, ms, oneOf, serviceName } from './options.js'
import { overridden } from './overrides.js'
import type { Awaitable } from './phases.js'
import { type Host, Service } from './service.js'

/** What the work of a background service is given. */
export interface BackgroundContext {
  /** Fires when the service is to stop: when the server closes, or when a start took too long. */
  readonly signal: AbortSignal
}

/**
 * Work in the background as one function, which says itself when it is ready. It goes on until it is
 * done or the signal fires; what rejects because the signal has fired is no failure.
 */
export type BackgroundFunction = (context: BackgroundContext & { ready(): void }) => Awaitable<void>

/** Work in the background in steps; it has `start`, `run` or both. */
export interface BackgroundWork {
  /** Gets ready. The service is when this is done; without it, at once. */
  start?(context: BackgroundContext): Awaitable<void>
  /** Goes on until it is done or the signal fires. Without it the service stays as it is until then. */
  run?(context: BackgroundContext): Awaitable<void>
  /** Lets go of what `start` took, when the service ends, whatever the reason. */
  stop?(): Awaitable<void>
}

/** How a background service runs. Times are in milliseconds. */
export interface BackgroundServiceOptions {
  /** How long it may take to be ready; 0 = forever. Default: 30,000. */
  readyTimeoutMs?: number
  /**
   * What becomes of the server when the service fails after it was ready: it closes, with its grace, and
   * `run()` rejects (`close`); the service is started again (`restart`); it goes on without the service
   * (`continue`). Default: `close`.
   */
  onFailure?: 'close' | 'restart' | 'continue'
  /** With `restart`: before the first new start; doubled with each failure. Default: 1,000. */
  restartDelayMs?: number
  /** With `restart`: the longest wait, at least `restartDelayMs`; one that was up for longer begins anew. Default: 60,000. */
  maxRestartDelayMs?: number
}

const rules = {
  readyTimeoutMs: ms(30_000),
  onFailure: oneOf<'close' | 'restart' | 'continue', 'close'>('close', ['close', 'restart', 'continue']),
  restartDelayMs: integer(1_000, 1, MAX_MS),
  maxRestartDelayMs: integer(60_000, 1, MAX_MS),
}

/** @internal The rules of {@link BackgroundServiceOptions}. */
export { rules as backgroundRules }

const STEPS = ['start', 'run', 'stop'] as const

const MEMBERS: Members = {
  names: STEPS,
  what: 'step',
  prefix: 'work.',
  isOpen: true,
  couldBe: (value) => typeof value === 'function',
}

/**
 * A service that does something while others serve: connects to what they need, watches a file, writes
 * numbers away. It runs on the thread of JavaScript; what it throws ends no process.
 */
export class BackgroundService extends Service {
  readonly #name: string
  readonly #work: BackgroundFunction | BackgroundWork
  readonly #options: Required<BackgroundServiceOptions>
  #current: { run: number; controller: AbortController } | undefined
  #thrown: unknown

  /** @throws UsageError INVALID_OPTIONS */
  constructor(
    name: string,
    work: BackgroundFunction | BackgroundWork,
    options: BackgroundServiceOptions = {},
  ) {
    super()
    const problems: OptionProblem[] = []
    const { check, allowed } = serviceName('')
    this.#name = name === undefined ? '' : check(name, 'name', problems)
    if (name === undefined) problems.push({ path: 'name', found: name, allowed })
    checkWork(work, problems)
    const given = overridden.service(options, this.#name)
    const checked = checkInto(rules, given, problems)
    const { restartDelayMs, maxRestartDelayMs } = checked
    const isTooShort = maxRestartDelayMs < restartDelayMs
    if (isTooShort && given.maxRestartDelayMs !== undefined)
      problems.push({
        path: 'maxRestartDelayMs',
        found: maxRestartDelayMs,
        allowed: `at least restartDelayMs, ${restartDelayMs}`,
        other: 'restartDelayMs',
      })
    this.#options = isTooShort ? { ...checked, maxRestartDelayMs: restartDelayMs } : checked
    if (problems.length > 0) throw overridden.refusal('BackgroundService', problems, given)
    this.#work = work
  }

  /** The service's name. */
  override get name(): string {
    return this.#name
  }

  /** @internal */
  protected override readonly speaks = 'http/1.1'
  /** @internal */
  protected override readonly listens = false

  /** @internal */
  override get closesServer(): boolean {
    return this.#options.onFailure === 'close'
  }

  /** @internal */
  override get cause(): unknown {
    return this.#thrown
  }

  /** @internal */
  override addTo({ native }: Host): number {
    const { onFailure, ...rest } = this.#options
    return native.addBackground({ name: this.#name, restarts: onFailure === 'restart', ...rest })
  }

  /** @internal */
  override begin(run: number, native: NativeServer, number: number): void {
    const controller = new AbortController()
    const { signal } = controller
    this.#current = { run, controller }
    const ready = () => native.backgroundReady(number, run)
    void runWork(this.#work, signal, ready).then(
      () => native.backgroundEnded(number, run),
      (thrown: unknown) => {
        if (isAbort(thrown, signal)) return native.backgroundEnded(number, run)
        this.#thrown = thrown
        native.backgroundEnded(number, run, describe(thrown))
      },
    )
  }

  /** @internal */
  override end(run: number): void {
    if (this.#current?.run === run) this.#current.controller.abort()
  }
}

function checkWork(work: unknown, problems: OptionProblem[]): void {
  if (typeof work === 'function') return
  const allowed = 'a function, or an object with the functions start or run, and stop'
  if (typeof work !== 'object' || work === null) {
    problems.push({ path: 'work', found: work, allowed })
    return
  }
  const steps = work as Record<string, unknown>
  for (const step of STEPS)
    if (steps[step] !== undefined && typeof steps[step] !== 'function')
      problems.push({ path: `work.${step}`, found: steps[step], allowed: 'a function' })
  misspelt(work, MEMBERS, problems)
  if (steps.start === undefined && steps.run === undefined)
    problems.push({ path: 'work', found: work, allowed })
}

async function runWork(
  work: BackgroundFunction | BackgroundWork,
  signal: AbortSignal,
  ready: () => void,
): Promise<void> {
  if (typeof work === 'function') {
    await work({ signal, ready })
    return
  }
  try {
    const starting = work.start?.({ signal })
    if (isThenable(starting)) await starting
    ready()
    if (work.run !== undefined) await work.run({ signal })
    else await fired(signal)
  } finally {
    await work.stop?.()
  }
}

function fired(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}

/** Whether something was thrown only because the signal has fired. */
function isAbort(thrown: unknown, signal: AbortSignal): boolean {
  if (!signal.aborted) return false
  return thrown === signal.reason || (thrown instanceof Error && thrown.name === 'AbortError')
}
