/** How much may wait for somebody to read it, in bytes; what comes beyond is dropped. */
const MOST_WAITING = 1_048_576

let dropped = 0

/** Writes one line to stderr. Whether it is read, or open at all, matters to nobody else. */
export function toStderr(level: string, line: string): void {
  const { stderr } = process
  if (stderr.destroyed) return
  if (stderr.writableLength > MOST_WAITING) {
    dropped++
    return
  }
  // As console does: it may fail at once or later, and neither is to end the process.
  stderr.once('error', nothing)
  try {
    const stamp = `${new Date().toISOString()} ${level} millrace: `
    const lost = dropped === 0 ? '' : `${stamp}${dropped} lines were dropped, as nobody read stderr\n`
    dropped = 0
    stderr.write(`${lost}${stamp}${line.replace(/[\r\n]+/g, ' ')}\n`, failed)
  } finally {
    stderr.removeListener('error', nothing)
  }
}

/** Called before the stream tells of it. */
function failed(error?: Error | null): void {
  const { stderr } = process
  if (error && stderr.listenerCount('error') === 0) stderr.once('error', nothing)
}

function nothing(): void {}
