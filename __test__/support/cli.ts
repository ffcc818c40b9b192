// The command `millrace`, as a process.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { onTestFinished } from 'vitest'

const COMMAND = resolve('bin/millrace.js')
const FOLDERS = resolve('target/cli')

/** What came of a command that has ended. */
export interface Ended {
  code: number | null
  out: string
  err: string
}

/** A command that runs. */
export interface Started {
  readonly child: ChildProcess
  /** What it has printed so far. */
  readonly printed: { out: string; err: string }
  /** The addresses that it says it listens on, in order; rejects where it ends without. */
  urls(count?: number): Promise<string[]>
  readonly ended: Promise<Ended>
}

/** A folder of programs that can import millrace, removed with the test. */
export class Folder {
  readonly path: string

  constructor(files: Record<string, string>) {
    mkdirSync(FOLDERS, { recursive: true })
    this.path = mkdtempSync(join(FOLDERS, 'test-'))
    this.write(files)
    onTestFinished(() => rmSync(this.path, { recursive: true, force: true }))
  }

  write(files: Record<string, string>): void {
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(this.path, name)), { recursive: true })
      writeFileSync(join(this.path, name), text)
    }
  }

  /** Starts the command. */
  start(args: readonly string[], env: Record<string, string> = {}): Started {
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('MILLRACE_'))
    const child = spawn(process.execPath, [COMMAND, ...args], {
      cwd: this.path,
      env: { ...Object.fromEntries(inherited), NODE_NO_WARNINGS: '1', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    onTestFinished(() => void child.kill('SIGKILL'))
    const printed = { out: '', err: '' }
    child.stdout.setEncoding('utf8').on('data', (text) => {
      printed.out += text
    })
    child.stderr.setEncoding('utf8').on('data', (text) => {
      printed.err += text
    })
    const ended = once(child, 'close').then(([code]): Ended => ({ code, ...printed }))
    const urls = async (count = 1) => {
      for (;;) {
        const found = [...printed.out.matchAll(/listening on (\S+)\n/g)].map(([, url]) => url!)
        if (found.length >= count) return found
        const more = await Promise.race([once(child.stdout, 'data'), ended])
        if ('code' in more) throw new Error(`it ended with ${more.code}: ${more.err}`)
      }
    }
    return { child, printed, urls, ended }
  }

  /** Runs the command to its end. */
  run(args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
    return this.start(args, env).ended
  }
}

/** Phases that answer by themselves: with their path, or with what `header` says. */
export const ANSWERING = `import { definePhases, HttpPeer } from 'millrace'
export default definePhases({
  requestFilter: ({ request }) => ({ status: 200, body: 'got ' + request.path }),
  upstreamPeer: new HttpPeer('http://127.0.0.1:1'),
})
`
