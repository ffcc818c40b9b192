const { then } = Promise.prototype

/** Whether a value has to be waited for. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false
  return typeof (value as { then?: unknown }).then === 'function'
}

/** Nobody waits for it: if it is a promise, that it rejects must not end the process. */
export function disown(value: unknown): void {
  if (isThenable(value)) Promise.resolve(value).then(undefined, () => undefined)
}

/**
 * Tells what became of a promise, or of what looks like one; never at once. What `tell` throws goes to
 * `fault`: as a rejection that nobody handles it would end the process.
 */
export function whenSettled(
  promise: object,
  tell: (failed: boolean, value: unknown) => void,
  fault: (error: unknown) => void,
): void {
  const guarded = (failed: boolean, value: unknown) => {
    try {
      tell(failed, value)
    } catch (error) {
      fault(error)
    }
  }
  // Not `promise.then`, which may be anything: this one never calls back at once.
  then.call(
    promise instanceof Promise ? promise : Promise.resolve(promise),
    (value) => guarded(false, value),
    (error) => guarded(true, error),
  )
}
