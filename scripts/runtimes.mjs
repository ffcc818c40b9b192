// The JavaScript runtimes that millrace is tested on, and where to get them: from their npm packages, each
// into a folder of its own under target/runtimes. They are no devDependencies, as they are 600 MB together.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The oldest Node.js of each line that `engines` allows, and the latest of each, in order. */
export const NODE_VERSIONS = ['20.19.0', '20.20.2', '22.12.0', '22.23.3', '24.21.0', '26.10.0']
export const BUN_VERSION = '1.4.5'
export const DENO_VERSION = '2.9.6'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** Whether the C library is musl's: there Node.js and Deno have no package. */
export function isMusl() {
  if (process.platform !== 'linux') return false
  return process.report?.getReport?.()?.header?.glibcVersionRuntime === undefined
}

/** The npm package with the binary of a runtime for a system, and the binary in it; nothing if there is none. */
export function packageOf(name, { platform = process.platform, arch = process.arch, musl = isMusl() } = {}) {
  const bin = platform === 'win32' ? `${name}.exe` : name
  if (name === 'node') {
    if (musl) return undefined
    return { package: `node-${platform === 'win32' ? 'win' : platform}-${arch}`, file: `bin/${bin}` }
  }
  if (name === 'bun') {
    const os = platform === 'win32' ? 'windows' : platform
    const cpu = arch === 'arm64' ? 'aarch64' : arch
    return { package: `@oven/bun-${os}-${cpu}${musl ? '-musl' : ''}`, file: `bin/${bin}` }
  }
  if (musl) return undefined
  return { package: `@deno/${platform}-${arch}${platform === 'linux' ? '-glibc' : ''}`, file: bin }
}

/** Where a runtime is, or nothing where it has not been fetched. */
export function installed(name, version) {
  const found = packageOf(name)
  if (found === undefined) return undefined
  const file = join(folderOf(name, version), 'node_modules', found.package, found.file)
  return existsSync(file) ? file : undefined
}

/** Fetches a runtime unless it is there. Its binary, or `{ reason }` why there is none. */
export function fetchRuntime(name, version) {
  const there = installed(name, version)
  if (there !== undefined) return { file: there }
  const found = packageOf(name)
  if (found === undefined) return { reason: `${name} has no npm package for this system` }
  const folder = folderOf(name, version)
  // Beside its place until it is whole, so that half of one is never found.
  const making = `${folder}.${process.pid}`
  mkdirSync(making, { recursive: true })
  const args = ['install', `${found.package}@${version}`, '--prefix', making]
  args.push('--ignore-scripts', '--no-save', '--no-audit', '--no-fund', '--loglevel=error')
  const windows = process.platform === 'win32'
  const { status, error, stderr } = spawnSync(windows ? 'npm.cmd' : 'npm', args, {
    encoding: 'utf8',
    shell: windows,
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  if (status !== 0) {
    rmSync(making, { recursive: true, force: true })
    const why = error?.message ?? stderr.trim().split('\n')[0]
    return { reason: `${name} ${version} could not be fetched: ${why}` }
  }
  try {
    renameSync(making, folder)
  } catch {
    rmSync(making, { recursive: true, force: true }) // another process was faster
  }
  const file = installed(name, version)
  return file === undefined ? { reason: `${found.package} ${version} has no ${found.file}` } : { file }
}

const folderOf = (name, version) => join(root, 'target', 'runtimes', `${name}-${version}`)
