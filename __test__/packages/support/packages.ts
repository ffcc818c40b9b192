import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { PLATFORMS, thisPlatform } from '../../../ts/addon/platform.js'

/** The platform of this machine: its packages hold what was built here, those of others a stand-in. */
export const here = thisPlatform().triple!

export const version: string = JSON.parse(readFileSync('package.json', 'utf8')).version

/** Packs all packages into `folder`, as they are published. */
export function pack(folder: string): void {
  const binaries = join(folder, 'binaries')
  mkdirSync(binaries, { recursive: true })
  for (const triple of Object.keys(PLATFORMS)) {
    const file = `millrace.${triple}.node`
    if (triple === here) cpSync(file, join(binaries, file))
    else writeFileSync(join(binaries, file), 'not a library')
  }
  const out = join(folder, 'packages')
  const args = ['scripts/pack.mjs', '--binaries', binaries, '--out', out]
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(stderr)
}

const TOOLS = resolve('target/package-tools')

/**
 * Installs the tools of `tools/package.json` from npm, once. Says why it could not; where CI is set they have to be
 * there.
 */
export function tools(): string | undefined {
  const lock = readFileSync('__test__/packages/tools/package-lock.json', 'utf8')
  const done = join(TOOLS, 'installed')
  if (existsSync(done) && readFileSync(done, 'utf8') === lock) return undefined
  mkdirSync(TOOLS, { recursive: true })
  cpSync('__test__/packages/tools', TOOLS, { recursive: true })
  const { status, stderr } = spawnSync('npm', ['ci', '--no-audit', '--no-fund'], {
    cwd: TOOLS,
    encoding: 'utf8',
    shell: process.platform === 'win32',
  })
  if (status === 0) {
    writeFileSync(done, lock)
    return undefined
  }
  if (process.env.CI) throw new Error(`the tools could not be installed: ${stderr}`)
  return stderr
}

/** A file of a tool. */
export const tool = (...path: string[]) => join(TOOLS, 'node_modules', ...path)

/** The Node of a version, where there is one for this platform. */
export function nodeOf(wanted: string): string | undefined {
  const file = tool(`node-${wanted}`, 'bin', 'node')
  return existsSync(file) ? file : undefined
}

/** The packages with binaries in a `node_modules`. */
export function binariesIn(project: string): string[] {
  const scope = join(project, 'node_modules', '@millrace')
  return existsSync(scope) ? readdirSync(scope).sort() : []
}
