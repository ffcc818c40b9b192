// Publishes packed packages, with a statement of where they were built: those of the platforms first, and the
// root when all of them are there, so that nobody can install a root whose binary does not exist yet.
//
//   node scripts/release/publish.mjs FOLDER [--dry-run]
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { isMain } from '../main.mjs'
import { PLATFORMS } from './matrix.mjs'
import { filesOf } from './version.mjs'

/** The tarballs of a folder: each of a platform, and the root's. npm writes `@millrace/x` as `millrace-x`. */
export function tarballs(names) {
  const packages = []
  let own
  for (const name of names.filter((one) => one.endsWith('.tgz'))) {
    const platform = Object.keys(PLATFORMS).find((one) => name.startsWith(`millrace-${one}-`))
    if (platform !== undefined) packages.push({ platform, name })
    else if (/^millrace-\d/.test(name)) own = name
  }
  return { packages, own }
}

/** The tarballs of a version in the order in which they are published. @throws Error if one is missing or of another version */
export function order(names, version) {
  const { packages, own } = tarballs(names)
  const all = [...packages.map(({ name }) => name).sort(), ...(own === undefined ? [] : [own])]
  const missing = Object.keys(PLATFORMS).filter((one) => packages.every(({ platform }) => platform !== one))
  if (own === undefined) missing.push('millrace')
  if (missing.length > 0) throw new Error(`no tarball of ${missing.join(', ')}`)
  if (packages.length > Object.keys(PLATFORMS).length) throw new Error(`a platform has two tarballs: ${all}`)
  const other = all.filter((name) => !name.endsWith(`-${version}.tgz`))
  if (other.length > 0) throw new Error(`not of version ${version}: ${other.join(', ')}`)
  return all
}

/** The package of a tarball. */
export function packageOf(name) {
  const platform = Object.keys(PLATFORMS).find((one) => name.startsWith(`millrace-${one}-`))
  return platform === undefined ? 'millrace' : `@millrace/${platform}`
}

function isPublished(name, version) {
  const { status, stdout } = spawnSync('npm', ['view', `${name}@${version}`, 'version'], { encoding: 'utf8' })
  return status === 0 && stdout.trim() === version
}

/** A version with a hyphen is for those who ask for it. */
export const tagOf = (version) => (version.includes('-') ? 'next' : 'latest')

function main() {
  const { values, positionals } = parseArgs({
    options: { 'dry-run': { type: 'boolean' } },
    allowPositionals: true,
  })
  const folder = resolve(positionals[0] ?? 'target/packages')
  const { version } = filesOf(join(import.meta.dirname, '../..')).manifest
  for (const name of order(readdirSync(folder), version)) {
    // A release that broke off half-way goes on where it did.
    if (!values['dry-run'] && isPublished(packageOf(name), version)) {
      console.log(`${packageOf(name)} ${version} is there already`)
      continue
    }
    const args = ['publish', join(folder, name), '--access', 'public', '--tag', tagOf(version)]
    args.push(values['dry-run'] ? '--dry-run' : '--provenance')
    console.log(`npm ${args.join(' ')}`)
    const { status } = spawnSync('npm', args, { stdio: 'inherit' })
    if (status !== 0) throw new Error(`${name} was not published; what comes after it has not been tried`)
  }
}

if (isMain(import.meta.url)) {
  try {
    main()
  } catch (error) {
    console.error(`publish: ${error.message}`)
    process.exitCode = 1
  }
}
