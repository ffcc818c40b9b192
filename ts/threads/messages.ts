import type { MessagePort } from 'node:worker_threads'
import type { LogRecord } from '../logger.js'
import type { Reason } from '../modules/reason.js'
import type { NativeMatch } from '../native.js'
import type { PeerRecipe } from '../peer.js'

/** What a thread is told when it begins. */
export interface Task {
  /** The module's address. */
  readonly module: string
  /** Which of the threads of its proxy it is, and how many there are. */
  readonly place: ThreadPlace
  /** The number of its `NativeThread`. */
  readonly thread: number
  /** Whether it is to be a batch thread. */
  readonly batch: boolean
  readonly port: MessagePort
  /** Of its `Board`. */
  readonly board: SharedArrayBuffer
}

/** The place of a thread among those that run the same module. */
export interface ThreadPlace {
  /** From 0 on. */
  readonly index: number
  /** How many there are: `jsThreads`. */
  readonly count: number
}

/** What a module was found to have. */
export interface Summary {
  readonly mask: number
  readonly always: number
  readonly filters: readonly {
    readonly phase: number
    readonly path: string
    readonly matcher: NativeMatch
  }[]
  /** The peer that stands in the place of `upstreamPeer`. */
  readonly peer: PeerRecipe | undefined
}

/** A way of the proxy, as its phases need it. */
export interface WayRecipe {
  readonly id: number
  /** Where it goes: the module's own peer, another, or undefined = a phase is asked. */
  readonly peer: 'own' | PeerRecipe | undefined
  readonly callbackTimeoutMs: number
  readonly maxSubrequestDepth: number
}

/** What went wrong with a module. */
export interface Failure extends Reason {
  /** What was thrown, if it can be cloned. */
  readonly cause: unknown
}

/** To a thread. */
export type Order =
  | { readonly kind: 'serve'; readonly ways: readonly WayRecipe[] }
  /** Is its event loop free? */
  | { readonly kind: 'beat' }
  /** It is to say when all of its requests are over; at once: without waiting for `logging` to settle. */
  | { readonly kind: 'end'; readonly isAtOnce: boolean }
  /** The lines have been logged. */
  | { readonly kind: 'logged' }

/** From a thread. */
export type Report =
  | { readonly kind: 'loaded'; readonly summary: Summary }
  | { readonly kind: 'failed'; readonly failure: Failure }
  | { readonly kind: 'serving' }
  /** All of its requests are over, and none will come; so many are in a `logging` that has not settled. */
  | { readonly kind: 'over'; readonly left: number }
  | { readonly kind: 'log'; readonly records: readonly LogRecord[] }
