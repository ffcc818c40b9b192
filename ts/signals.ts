/** @internal What signals ask of a server. */
export interface Stops {
  /** SIGTERM or SIGQUIT, the first of all signals. */
  graceful(): void
  /** SIGINT, or any but the first. */
  fast(): void
}

/** @internal Listens to the signals that stop a process. @returns what ends that */
export function onSignals(stops: Stops): () => void {
  let asked = false
  const on = (signal: 'SIGTERM' | 'SIGINT' | 'SIGQUIT') => {
    const listener = () => {
      const first = !asked
      asked = true
      if (first && signal !== 'SIGINT') stops.graceful()
      else stops.fast()
    }
    process.on(signal, listener)
    return () => void process.removeListener(signal, listener)
  }
  // Windows has no SIGQUIT.
  const signals =
    process.platform === 'win32'
      ? (['SIGTERM', 'SIGINT'] as const)
      : (['SIGTERM', 'SIGINT', 'SIGQUIT'] as const)
  const forget = signals.map(on)
  return () => {
    for (const each of forget) each()
  }
}
