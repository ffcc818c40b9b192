import { AsyncResource } from 'node:async_hooks'
import { ChainStage } from '../bodies/chain.js'
import type { BodyStage } from '../bodies/stage.js'
import type { Composition } from '../composition.js'
import { ProxyError } from '../errors.js'
import { Wanted } from '../head.js'
import { type AnyPhases, PHASES, Phase, SCOPE } from '../phases.js'
import { callPhase, wrongReturn } from './call.js'
import { describe } from './failure.js'
import { disown, isThenable } from './promise.js'
import type { RequestState } from './state.js'

/** What the parts of a proxy have of one request beside its state. */
export class PartsState {
  /** The context of each part. */
  readonly contexts: unknown[] = []
  /** Which of the parts that have the phase is next. */
  next = 0
  /** The part that ran last. */
  current = 0
  /** Parts whose body phases are not to see the response. */
  readonly unfiltered = new Set<number>()
  /** What earlier parts change the body with. */
  stage: BodyStage | undefined = undefined
  wanted = 0

  /** What an earlier try left is not for the next one. */
  forgetTry(): void {
    this.unfiltered.clear()
    this.stage?.cancel()
    this.stage = undefined
    this.wanted = 0
  }
}

/** Enters the scopes, the outermost first, and makes the contexts. Throws what they throw. */
export function begin(state: RequestState, { scopes, order }: Composition): void {
  state.parts = new PartsState()
  if (scopes.length > 0) {
    state.phase = SCOPE
    enter(state, scopes)
    state.phase = Phase.newCtx
  }
  for (const { phases, index } of order[Phase.newCtx]!) {
    const ctx = state.inScope(newCtx, phases, state)
    state.parts.contexts[index] = ctx
  }
}

function newCtx(phases: AnyPhases, { session }: RequestState): unknown {
  return checkCtx(phases.newCtx!(session))
}

/** @throws ProxyError PHASE_RETURN for a promise */
export function checkCtx(ctx: unknown): unknown {
  if (!isThenable(ctx)) return ctx
  disown(ctx)
  throw wrongReturn(Phase.newCtx, ctx, 'anything but a promise')
}

function enter(state: RequestState, scopes: readonly AnyPhases[]): void {
  const from = (at: number) => {
    const scope = scopes[at]
    if (scope === undefined) {
      // It holds the context of now, in Node's old way to keep it as in the new one.
      state.scope = new AsyncResource('MILLRACE_REQUEST')
      return
    }
    let calls = 0
    const run = () => {
      if (++calls === 1) from(at + 1)
      else throw new ProxyError({ message: 'scope may call run once only, before it returns' })
    }
    const promise: unknown = scope.scope!(run, state.session)
    // An async function has called `run` by now, or has not; its promise is waited for by nobody.
    if (isThenable(promise))
      Promise.resolve(promise).then(undefined, (error) =>
        state.proxy.log.error(`scope failed: ${describe(error)}`),
      )
    if (calls === 0) {
      calls = 1
      throw new ProxyError({ message: 'scope did not call run' })
    }
  }
  from(0)
  if (state.scope === undefined) throw new ProxyError({ message: 'scope did not let run come to its end' })
}

/** Calls the next part of a phase, and takes the phase out of the mask with the last. */
export function callPart(state: RequestState, phase: number, { order }: Composition): unknown {
  const parts = state.parts!
  const having = order[phase]!
  let part = having[parts.next]!
  for (;;) {
    if (++parts.next === having.length) {
      parts.next = 0
      state.mask &= ~(1 << phase)
      break
    }
    if (state.isFor(part)) break
    part = having[parts.next]!
  }
  if (!state.isFor(part)) return undefined
  const { phases, index } = part
  parts.current = index
  return state.inScope(callPhase, state, phase, phases, parts.contexts[index])
}

/** A part has done its phase, which did not answer: what it says binds, or the next one goes on. */
export function partDone(state: RequestState): void {
  if (state.decision !== 0) leave(state)
  if (state.head !== null && isOfResponse(state.phase)) collect(state)
}

function isOfResponse(phase: number): boolean {
  return phase === Phase.upstreamResponseFilter || phase === Phase.responseFilter
}

/** No further part is called. */
export function leave(state: RequestState): void {
  state.mask = 0
  state.parts!.next = 0
}

/** Sets aside what a part wants of the response's body, so that the next one starts without. */
function collect(state: RequestState): void {
  const head = state.head!
  const parts = state.parts!
  if ((head.wanted & Wanted.noPhases) !== 0) parts.unfiltered.add(parts.current)
  if (head.stage !== undefined && (head.wanted & Wanted.change) !== 0) {
    parts.stage = parts.stage === undefined ? head.stage : new ChainStage(parts.stage, head.stage)
    parts.wanted |= head.wanted & (Wanted.change | Wanted.whole)
  }
  head.stage = undefined
  head.streamed = undefined
  head.wanted = 0
}

/** What all parts want of the response's body, once the filters of its head are through. */
export function wantedOfBody(state: RequestState, { order }: Composition): number {
  const parts = state.parts!
  const { stage, wanted, unfiltered } = parts
  const filters = [...order[Phase.upstreamResponseBodyFilter]!, ...order[Phase.responseBodyFilter]!]
  const none = filters.every((part) => unfiltered.has(part.index) || !state.isFor(part))
  if (stage !== undefined) state.changeWith(stage)
  parts.stage = undefined
  parts.wanted = 0
  return none ? wanted | Wanted.noPhases : wanted
}

/** `logging` of every part: what one of them throws does not keep the others from it. */
export function logParts(state: RequestState, { order }: Composition): Promise<unknown> | undefined {
  const { log } = state.proxy
  const failed = (error: unknown) => log.error(`${PHASES[Phase.logging]} failed: ${describe(error)}`)
  const promises: Promise<unknown>[] = []
  for (const part of order[Phase.logging]!) {
    if (!state.isFor(part)) continue
    const { phases, index } = part
    try {
      const value = state.inScope(callPhase, state, Phase.logging, phases, state.parts!.contexts[index])
      if (isThenable(value)) promises.push(Promise.resolve(value).then(undefined, failed))
    } catch (error) {
      failed(error)
    }
  }
  return promises.length === 0 ? undefined : Promise.all(promises)
}
