import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { certs, pair } from './tls.js'

/** Programs that others wrote in Go: `__test__/go/go.mod` names them. */
export class GoTools {
  /** Why there are none. */
  readonly missing: string | undefined
  readonly #folder: string

  private constructor(folder = '', missing?: string) {
    this.#folder = folder
    this.missing = missing
  }

  /** Builds them, and says aloud if that cannot be. */
  static async build(): Promise<GoTools> {
    const { stdout } = await promisify(execFile)(process.execPath, ['__test__/go/build.mjs'])
    const { folder, missing } = JSON.parse(stdout) as { folder?: string; missing?: string }
    if (missing !== undefined) console.warn(`Tests with programs in Go are skipped: ${missing}.`)
    return new GoTools(folder, missing)
  }

  /** A name for tests, which says why they are skipped if they are. */
  named(name: string): string {
    return this.missing === undefined ? name : `${name} (skipped: ${this.missing})`
  }

  /** Runs one to its end, `limit` ms at most: how it ended, and all it wrote. */
  run(name: string, args: readonly string[], limit = 60_000): Promise<{ code: unknown; output: string }> {
    return new Promise((resolve) => {
      const options = { env: {}, timeout: limit, killSignal: 'SIGKILL' } as const
      execFile(`${this.#folder}/${name}`, args, options, (error, stdout, stderr) => {
        const code = error === null ? 0 : (error.code ?? error.signal)
        resolve({ code, output: `${stdout}${stderr}` })
      })
    })
  }

  /** Starts grpc-go's server of its interoperability tests, which listens on all of the system's addresses. */
  async interopServer(isTls: boolean): Promise<InteropServer> {
    const { cert, key } = pair('localhost')
    const tls = isTls ? ['-use_tls', '-tls_cert_file', cert, '-tls_key_file', key] : []
    const child = spawn(`${this.#folder}/server`, ['-port', '0', ...tls], {
      env: { GRPC_GO_LOG_SEVERITY_LEVEL: 'info' },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    for await (const line of createInterface(child.stderr)) {
      const [, port] = /interop server listening on .*:(\d+)$/.exec(line) ?? []
      if (port === undefined) continue
      child.stderr.resume()
      return { port: Number(port), child }
    }
    throw new Error('the server of grpc-go ended')
  }

  /** Runs a case of grpc-go's interoperability tests against the server on `port`. */
  interop(testCase: string, port: number, isTls: boolean, args: readonly string[] = []) {
    const tls = isTls ? ['-use_tls', '-use_test_ca', '-ca_file', certs('ca.pem')] : []
    const to = ['-server_host', '127.0.0.1', '-server_port', String(port), '-test_case', testCase]
    return this.run('client', [...to, ...tls, ...args])
  }
}

export interface InteropServer {
  port: number
  child: ChildProcess
}

/** Ends a program that was started. */
export async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGKILL')
  await once(child, 'exit')
}
