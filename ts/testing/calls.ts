import { isAnswer } from '../answer.js'
import { isLastPiece } from '../bodies/stage.js'
import { HttpPeer } from '../peer.js'
import { MAY_ANSWER, Phase, type PhaseName } from '../phases.js'

/**
 * What came of a call: it let the request go on as it was, or with changes made to what it was given (`next`);
 * it answered, by its value or by `session.respond`; it chose a peer; it asked for another try, or gave up; it
 * put something in the place of a piece of a body, left it out, or ended the body; it dropped an interim
 * response; it returned what that phase may not (`refused`, the request failed with PHASE_RETURN); it threw. `unsettled`: its promise had not settled when the request was over.
 */
export type PhaseOutcome =
  | 'next'
  | 'answered'
  | 'peer'
  | 'retry'
  | 'fail'
  | 'replaced'
  | 'dropped'
  | 'ended'
  | 'refused'
  | 'threw'
  | 'unsettled'

/** One call of a phase. */
export interface PhaseCall {
  /** Which phase. */
  phase: PhaseName
  /** Of several parts, the place of the one that has it; 0 where there is one. */
  part: number
  /** The try, from 1 on. */
  attempt: number
  /** What came of it. */
  outcome: PhaseOutcome
  /** What it returned, or its promise gave. */
  returned?: unknown
  /** What it threw, or its promise rejected with. */
  threw?: unknown
  /** Of a body phase: a copy of the piece that it was given. */
  chunk?: Buffer
  /** Of a body phase: whether it was the last. */
  end?: boolean
}

/** What a value means that a phase returned: as in `acceptResult`, which the crossing goes by. */
export function outcomeOf(phase: PhaseName, value: unknown, isAnswered: boolean): PhaseOutcome {
  // Whatever a context is, and whatever the last phase says.
  if (phase === 'newCtx' || phase === 'logging') return 'next'
  if (phase === 'upstreamPeer') return value instanceof HttpPeer ? 'peer' : 'refused'
  const mayAnswer = (MAY_ANSWER & (1 << Phase[phase])) !== 0
  if (value === undefined) return mayAnswer && isAnswered ? 'answered' : 'next'
  if (/BodyFilter$/.test(phase)) return pieceOutcome(value)
  if (phase === 'failToConnect' || phase === 'errorWhileProxy')
    return value === 'retry' || value === 'fail' ? value : 'refused'
  if (phase === 'interimResponseFilter') return value === null ? 'dropped' : 'refused'
  return mayAnswer && isAnswer(value) ? 'answered' : 'refused'
}

function pieceOutcome(value: unknown): PhaseOutcome {
  if (value === null) return 'dropped'
  if (typeof value === 'string' || value instanceof Uint8Array) return 'replaced'
  return isLastPiece(value) ? 'ended' : 'refused'
}
