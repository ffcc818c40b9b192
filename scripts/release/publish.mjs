// Publishes packed packages, with a statement of where they were built: those of the platforms first, and the
// root when all of them are there, so that nobody can install a root whose binary does not exist yet.
//
//   node scripts/release/publish.mjs FOLDER [--dry-run]
//
// GITHUB_REPOSITORY has to be what it was when they were packed. A dry run refuses what the real one would.
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { gunzipSync } from 'node:zlib'
import { runMain } from '../main.mjs'
import { PLATFORMS } from './matrix.mjs'
import { complaint } from './repository.mjs'
import { filesOf } from './version.mjs'

/**
 * The tarballs of a folder: each of a platform, and the root's. npm writes `@millrace/x` as `millrace-x`.
 * @throws Error if there are two of one: nobody would know which is meant
 */
export function tarballs(names) {
  const found = new Map()
  for (const name of names.filter((one) => one.endsWith('.tgz'))) {
    const key = packageOf(name)
    if (key === 'millrace' && !/^millrace-\d/.test(name)) continue
    if (found.has(key)) throw new Error(`there are two tarballs of ${key}: ${found.get(key)}, ${name}`)
    found.set(key, name)
  }
  const packages = Object.keys(PLATFORMS).flatMap((platform) => {
    const name = found.get(`@millrace/${platform}`)
    return name === undefined ? [] : [{ platform, name }]
  })
  return { packages, own: found.get('millrace') }
}

/** The tarballs of a version in the order in which they are published. @throws Error if one is missing or of another version */
export function order(names, version) {
  const { packages, own } = tarballs(names)
  const all = [...packages.map(({ name }) => name).sort(), ...(own === undefined ? [] : [own])]
  const missing = Object.keys(PLATFORMS).filter((one) => packages.every(({ platform }) => platform !== one))
  if (own === undefined) missing.push('millrace')
  if (missing.length > 0) throw new Error(`no tarball of ${missing.join(', ')}`)
  const other = all.filter((name) => !name.endsWith(`-${version}.tgz`))
  if (other.length > 0) throw new Error(`not of version ${version}: ${other.join(', ')}`)
  return all
}

/** The package of a tarball. */
export function packageOf(name) {
  const platform = Object.keys(PLATFORMS).find((one) => name.startsWith(`millrace-${one}-`))
  return platform === undefined ? 'millrace' : `@millrace/${platform}`
}

/** The `package.json` of a tarball, which npm puts first. @throws Error if there is none */
export function manifestOf(file) {
  const bytes = gunzipSync(readFileSync(file))
  const text = (from, to) => bytes.toString('utf8', from, to).replace(/\0.*$/s, '')
  for (let at = 0; at + 512 <= bytes.length && bytes[at] !== 0; ) {
    const size = Number.parseInt(text(at + 124, at + 136), 8)
    if (Number.isNaN(size)) break
    if (text(at, at + 100) === 'package/package.json')
      return JSON.parse(bytes.toString('utf8', at + 512, at + 512 + size))
    at += 512 * (1 + Math.ceil(size / 512))
  }
  throw new Error(`${file} has no package.json`)
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
  const names = order(readdirSync(folder), version)
  const wrong = names.map((name) => complaint(manifestOf(join(folder, name)), process.env)).filter(Boolean)
  if (wrong.length > 0) throw new Error(wrong.join('\n'))
  for (const name of names) {
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

await runMain(import.meta.url, main, 'publish')
