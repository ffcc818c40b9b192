import { setTimeout as wait } from 'node:timers/promises'

// As they were when this was loaded: tests put others in their place.
const immediate = setImmediate
const sleepFor = wait

/** Settles when all that is ready now has been done. */
export function nextTurn(): Promise<undefined> {
  return new Promise((resolve) => immediate(() => resolve(undefined)))
}

/** Settles after a time, in milliseconds; never, once the signal has fired. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    sleepFor(ms, undefined, signal === undefined ? {} : { signal }).then(resolve, () => {})
  })
}
