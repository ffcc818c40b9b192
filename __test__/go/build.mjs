// Builds the tools that go.mod names into target/go, and prints `{"folder": …}` as JSON. Where that
// cannot be, as there is no Go or no way to the modules, it prints `{"missing": …}`, which says why.
// Anything else that fails is an error. Go's own cache makes it a matter of a second the next time.
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { setPriority } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { withLock } from '../../scripts/lock.mjs'

const LIMIT_MS = 300_000
const here = dirname(fileURLToPath(import.meta.url))
const folder = join(here, '../../target/go')

/** Why there are no tools. */
class Missing extends Error {}

// GOTOOLCHAIN: a newer Go than there is would be downloaded otherwise.
const env = { ...process.env, GOBIN: folder, GOTOOLCHAIN: 'local', GOFLAGS: '-buildvcs=false', GOWORK: 'off' }

/** Runs Go here: how it ended, and what it wrote. */
function go(...args) {
  return new Promise((resolve, reject) => {
    const child = spawn('go', args, { cwd: here, env, timeout: LIMIT_MS, killSignal: 'SIGKILL' })
    let stdout = ''
    let stderr = ''
    child.stdout.on('data', (data) => (stdout += data))
    child.stderr.on('data', (data) => (stderr += data))
    child.on('error', (error) => reject(error.code === 'ENOENT' ? new Missing('Go is not installed') : error))
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }))
    try {
      // Other tests run meanwhile, and some of them look at the clock.
      setPriority(child.pid, 10)
    } catch {} // it was not started, or has ended
  })
}

const failed = (what, { code, signal, stderr }) =>
  new Error(`${what} ended with ${signal ?? `status ${code}`}:\n${stderr}`)

async function build() {
  const [, wanted] = /^go (\d+\.\d+)/m.exec(readFileSync(join(here, 'go.mod'), 'utf8'))
  const version = await go('env', 'GOVERSION')
  if (version.code !== 0) throw failed('go env', version)
  const [, minor] = /^go1\.(\d+)/.exec(version.stdout) ?? []
  if (minor !== undefined && Number(minor) < Number(wanted.split('.')[1]))
    throw new Missing(`Go ${wanted} or later is needed, and this is ${version.stdout.trim()}`)

  const download = await go('mod', 'download')
  if (download.code !== 0) {
    // What was downloaded and is not what go.sum says is no matter of the network.
    if (/checksum mismatch|SECURITY ERROR|missing go\.sum|errors parsing/.test(download.stderr))
      throw failed('go mod download', download)
    const [reason] = download.stderr.trim().split('\n')
    throw new Missing(`the modules of __test__/go/go.mod cannot be downloaded: ${reason}`)
  }
  const install = await go('install', '-ldflags=-s -w', 'tool')
  if (install.code !== 0) throw failed('go install', install)
}

try {
  await withLock(join(folder, 'lock'), () => {}, build)
  console.log(JSON.stringify({ folder }))
} catch (error) {
  if (!(error instanceof Missing)) throw error
  console.log(JSON.stringify({ missing: error.message }))
}
