import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'

/** How a command ended. */
export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** A program that runs. */
export interface Started {
  readonly child: ChildProcess
  readonly ended: Promise<Ended>
}

/** A folder of a user's, with a PATH that has Node and a shell but nothing to build with. */
export class Project {
  readonly folder: string
  readonly #env: Record<string, string>

  constructor(base: string, registry: string, files: Record<string, string | object> = {}) {
    this.folder = mkdtempSync(join(realpathSync(base), 'project-'))
    this.#env = {
      PATH: path(base),
      HOME: base,
      npm_config_registry: registry,
      npm_config_cache: join(base, 'npm-cache'),
      npm_config_audit: 'false',
      npm_config_fund: 'false',
      npm_config_update_notifier: 'false',
    }
    this.write({ 'package.json': { name: 'user', version: '1.0.0', private: true }, ...files })
  }

  write(files: Record<string, string | object>): void {
    for (const [name, content] of Object.entries(files)) {
      const file = join(this.folder, name)
      mkdirSync(dirname(file), { recursive: true })
      writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content))
    }
  }

  /** Starts a program. */
  start(command: string, args: readonly string[], env: Record<string, string> = {}): Started {
    const child = spawn(command, args, {
      cwd: this.folder,
      env: { ...this.#env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 60_000,
    })
    let [stdout, stderr] = ['', '']
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text
    })
    return { child, ended: once(child, 'close').then(([code]) => ({ code, stdout, stderr })) }
  }

  /** Runs a program, and does not mind how it ends. */
  try(command: string, args: readonly string[], env?: Record<string, string>): Promise<Ended> {
    return this.start(command, args, env).ended
  }

  /** Runs a program that has to succeed. */
  async run(command: string, args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
    const ended = await this.try(command, args, env)
    if (ended.code !== 0) {
      throw new Error(
        `${command} ${args.join(' ')} ended with ${ended.code}: ${ended.stderr.slice(-2_000)}${ended.stdout}`,
      )
    }
    return ended
  }

  /** Runs this Node. */
  node(...args: string[]): Promise<Ended> {
    return this.run(process.execPath, args)
  }

  /** Runs the npm of this machine. */
  npm(...args: string[]): Promise<Ended> {
    return this.run('npm', args)
  }
}

/** A folder of links to what a machine without a compiler has. */
function path(base: string): string {
  const bin = join(base, 'bin')
  if (existsSync(bin)) return bin
  mkdirSync(bin)
  symlinkSync(process.execPath, join(bin, 'node'))
  for (const name of ['npm', 'npx', 'sh', 'rm']) symlinkSync(realpathSync(which(name)), join(bin, name))
  return bin
}

function which(name: string): string {
  const folders = (process.env.PATH ?? '').split(':')
  const file = folders.map((folder) => join(folder, name)).find((one) => existsSync(one))
  if (file === undefined) throw new Error(`${name} is not on PATH`)
  return file
}

/** A proxy, a request through it, and its end; prints `ok`. As a module and as CommonJS. */
const USE = `
  const origin = createServer((request, response) => response.end(request.headers['x-via'])).listen(0, '127.0.0.1')
  await new Promise((resolve) => origin.once('listening', resolve))
  const peer = new HttpPeer('http://127.0.0.1:' + origin.address().port)
  const phases = {
    async upstreamPeer() { return peer },
    upstreamRequestFilter(session, request) { request.headers.set('x-via', 'millrace') },
  }
  const server = new Server()
  const endpoint = server.addService(new HttpProxy(phases)).addTcp('127.0.0.1:0')
  await server.start()
  const answer = await fetch('http://127.0.0.1:' + endpoint.address.port)
  if (await answer.text() !== 'millrace') throw new Error('status ' + answer.status)
  await server.close()
  origin.close()
  origin.closeAllConnections()
  console.log('ok')
`

export const PROGRAMS = {
  'use.mjs': `import { createServer } from 'node:http'
import { HttpPeer, HttpProxy, Server } from 'millrace'
${USE}`,
  'use.cjs': `const { createServer } = require('node:http')
const { HttpPeer, HttpProxy, Server } = require('millrace')
async function use() {${USE}}
use()`,
  // There is one of each class, however the package is loaded.
  'both.mjs': `import { createRequire } from 'node:module'
import * as one from 'millrace'
const other = createRequire(import.meta.url)('millrace')
const names = Object.keys(one)
console.log(names.length === Object.keys(other).length && names.every((name) => one[name] === other[name]) ? 'one' : 'two')`,
}

export const read = (...path: string[]): string => readFileSync(join(...path), 'utf8')
