import { writeSync } from 'node:fs'
import { Socket } from 'node:net'

/** How much may wait for somebody to read it, in bytes; what comes beyond is dropped. */
const MOST_WAITING = 1_048_576
/** How often a pipe that was full is tried again. */
const RETRY_MS = 10
/** A pipe of which nothing is read for so long holds the process no longer. */
const STUCK_MS = 1_000
const STDERR = 2

/** Others, which have much of Node.js, may open it otherwise. */
const isNode = process.versions.bun === undefined && process.versions.deno === undefined

let dropped = 0
let pipe: Pipe | undefined

/** Writes one line to stderr. Whether it is read, or open at all, matters to nobody else. */
export function toStderr(level: string, line: string): void {
  const { stderr } = process
  if (stderr.destroyed) return
  const own = thePipe()
  if ((own?.waiting ?? 0) + stderr.writableLength > MOST_WAITING) {
    dropped++
    return
  }
  const stamp = `${new Date().toISOString()} ${level} millrace: `
  const lost = dropped === 0 ? '' : `${stamp}${dropped} lines were dropped, as nobody read stderr\n`
  dropped = 0
  const text = `${lost}${stamp}${line.replace(/[\r\n]+/g, ' ')}\n`
  if (own === undefined) toStream(text)
  else own.write(text)
}

/** Settles when all that was written has gone out, or nobody has read any of it for a second. */
export function written(): Promise<void> {
  return pipe?.settled() ?? Promise.resolve()
}

/** As console does: it may fail at once or later, and neither is to end the process. */
function toStream(text: string): void {
  const { stderr } = process
  stderr.once('error', nothing)
  try {
    stderr.write(text, failed)
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

/**
 * Stderr as a pipe, past the stream of Node.js: what that has not written holds the process for as long as nobody
 * reads.
 */
class Pipe {
  /** Bytes that wait. */
  waiting = 0
  #chunks: Buffer[] = []
  #timer: NodeJS.Timeout | undefined
  #since = 0
  #whenSettled: (() => void)[] = []

  constructor() {
    process.on('exit', () => this.#go())
  }

  write(text: string): void {
    const chunk = Buffer.from(text)
    this.#chunks.push(chunk)
    this.waiting += chunk.length
    if (this.#timer === undefined) this.#try()
  }

  settled(): Promise<void> {
    if (this.#timer === undefined || this.#isStuck()) return Promise.resolve()
    return new Promise((resolve) => {
      this.#whenSettled.push(resolve)
    })
  }

  #isStuck(): boolean {
    return performance.now() - this.#since > STUCK_MS
  }

  #try(): void {
    const before = this.waiting
    this.#go()
    if (this.waiting < before || this.#timer === undefined) this.#since = performance.now()
    const isStuck = this.#isStuck()
    this.#timer = undefined
    if (this.waiting > 0) {
      this.#timer = setTimeout(() => this.#try(), RETRY_MS)
      if (isStuck) this.#timer.unref()
      else return
    }
    for (const settle of this.#whenSettled.splice(0)) settle()
  }

  /** Writes what there is room for: the pipe does not wait, as Node.js has opened it so. */
  #go(): void {
    // Half a line of somebody else's may have gone out.
    if (process.stderr.writableLength > 0) return
    try {
      while (this.#chunks.length > 0) {
        const [chunk] = this.#chunks
        const count = writeSync(STDERR, chunk!)
        this.waiting -= count
        if (count === chunk!.length) this.#chunks.shift()
        else this.#chunks[0] = chunk!.subarray(count)
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return
      // Nobody is there any more.
      this.#chunks = []
      this.waiting = 0
    }
  }
}

/** Unless it is something else, or somebody listens in. */
function thePipe(): Pipe | undefined {
  const { stderr, platform } = process
  const isPipe = isNode && platform !== 'win32' && stderr instanceof Socket && !stderr.isTTY
  if (!isPipe || Object.hasOwn(stderr, 'write')) return undefined
  pipe ??= new Pipe()
  return pipe
}
