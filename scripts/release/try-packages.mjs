// Installs packed packages into an empty folder, without the network, a compiler or this checkout's
// dependencies, and runs scripts/compatibility/program.mjs there with the Node.js that runs this:
//
//   node scripts/release/try-packages.mjs FOLDER    with the tarballs, and first-proxy.js of target/examples
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { runMain } from '../main.mjs'
import { isMusl } from '../runtimes.mjs'
import { tarballs } from './publish.mjs'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

/** The tarballs that are for a machine: the root's and that of its platform. @throws Error if one is missing */
export function fitting(names, { platform, arch, musl }) {
  const { packages, own } = tarballs(names)
  const suffix = { linux: musl ? '-musl' : '-gnu', win32: '-msvc' }[platform] ?? ''
  const wanted = `${platform}-${arch}${suffix}`
  const fits = packages.find((one) => one.platform === wanted)
  if (own === undefined || fits === undefined)
    throw new Error(
      `there is no tarball of ${own === undefined ? 'millrace' : wanted} among ${names.join(', ')}`,
    )
  return [fits.name, own]
}

function main() {
  const from = resolve(process.argv[2] ?? 'target/packages')
  const names = fitting(readdirSync(from), {
    platform: process.platform,
    arch: process.arch,
    musl: isMusl(),
  })
  const folder = mkdtempSync(join(tmpdir(), 'millrace-'))
  try {
    writeFileSync(join(folder, 'package.json'), '{ "private": true, "type": "module" }')
    const windows = process.platform === 'win32'
    const args = ['install', '--offline', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
    const files = names.map((name) => join(from, name))
    run(folder, windows ? 'npm.cmd' : 'npm', [...args, ...files], { shell: windows })
    for (const name of ['program.mjs', 'helpers.mjs', 'worker.mjs'])
      cpSync(join(root, 'scripts/compatibility', name), join(folder, name))
    mkdirSync(join(folder, 'examples'))
    cpSync(join(from, 'first-proxy.js'), join(folder, 'examples', 'first-proxy.js'))
    run(folder, process.execPath, ['program.mjs', '--examples', 'examples'])
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function run(cwd, command, args, options = {}) {
  const { status, error } = spawnSync(command, args, { cwd, stdio: 'inherit', ...options })
  if (status !== 0) throw new Error(`${command} ${args[0]}: ${error?.message ?? `status ${status}`}`)
}

await runMain(import.meta.url, main, 'try-packages')
