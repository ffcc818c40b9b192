// How the addon lays out what it asks for: so many integers for each item, and behind the most items of one call
// how many requests have ended, and which, behind how many items.
import { Hook, Phase } from '../phases.js'

/** What an item asks for. */
export const Kind = { run: 0, end: 1, abort: 2, closed: 3, body: 4, read: 5, retired: 6, stream: 7 } as const
/** Integers of an item. */
export const ITEM = 16
/** Where it stands how many requests have ended. */
export const ENDED = 256 * ITEM
/** Numbers of an item beside its integers. */
export const NUMBERS = 8
/** Why a crossing is void, beside the client's leaving: a phase took too long, the request did, the server ended it. */
export const TOO_SLOW = 2
export const EXPIRED = 3
export const CUT = 4
/** The time of a try is up; there may be another. */
export const TRY_EXPIRED = 5

/** The phases whose head is not that of the response. */
export const OTHER_HEADS =
  (1 << Phase.interimResponseFilter) |
  (1 << Phase.upstreamResponseTrailerFilter) |
  (1 << Phase.responseTrailerFilter)
/** What is asked when a request has failed. */
export const ERROR_LOG = (1 << Hook.suppressErrorLog) | (1 << Hook.requestSummary)
