import { type ChildProcess, spawn } from 'node:child_process'
import { onTestFinished } from 'vitest'

const root = new URL('../../', import.meta.url)

/** A program of its own. */
export interface Program {
  child: ChildProcess
  /** Settles with the next line it prints; rejects if it ends before. */
  line(): Promise<string>
  /** How it ended, and what it wrote to stderr. */
  ended: Promise<{ code: number | null; signal: string | null; stderr: string }>
}

/**
 * Runs `source` as a module with what millrace exports in scope. It is killed with the test; one
 * that does not end by itself in `limit` ms is an error. `options` are of Node.js.
 */
export function program(source: string, limit = 15_000, options: readonly string[] = []): Program {
  const dist = new URL('dist/index.js', root).href
  const prelude = `import { BackgroundService, Server, HttpProxy, HttpPeer, definePhases } from ${JSON.stringify(dist)}\n`
  const child = spawn(process.execPath, [...options, '--input-type=module', '-e', prelude + source], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const lines: string[] = []
  let rest = ''
  let stderr = ''
  let over = false
  let wake = () => {}
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    const parts = (rest + text).split('\n')
    rest = parts.pop() ?? ''
    lines.push(...parts)
    wake()
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  const ended = new Promise<{ code: number | null; signal: string | null; stderr: string }>(
    (resolve, reject) => {
      const timer = setTimeout(() => {
        child.kill('SIGKILL')
        reject(new Error(`did not end in ${limit} ms; stderr: ${stderr}`))
      }, limit)
      child.on('close', (code, signal) => {
        clearTimeout(timer)
        over = true
        wake()
        resolve({ code, signal, stderr })
      })
    },
  )
  ended.catch(() => {})
  onTestFinished(() => void child.kill('SIGKILL'))
  const line = async () => {
    while (lines.length === 0) {
      if (over) throw new Error(`ended without another line; stderr: ${stderr}`)
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
    return lines.shift()!
  }
  return { child, line, ended }
}
