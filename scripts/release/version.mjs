// The version that is to be released: that of the newest heading of CHANGELOG.md, if all files agree on it.
//
//   node scripts/release/version.mjs             prints it; nothing where no version has a heading
//   node scripts/release/version.mjs --notes     prints what changed in it
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { runMain } from '../main.mjs'
import { newest, notesOf } from './changelog.mjs'

/** Where the version is written: each place and what it says. */
export function stated({ manifest, lock, cargo, cargoLock, loader }) {
  const [, workspace] = /^\[workspace\.package\]$([^[]*)/m.exec(cargo) ?? []
  const places = {
    'package.json': manifest.version,
    'package-lock.json': lock.version,
    'package-lock.json, packages': lock.packages?.['']?.version,
    'Cargo.toml, workspace.package': /^version = "(.+)"$/m.exec(workspace ?? '')?.[1],
    'Cargo.lock, millrace': /^name = "millrace"\nversion = "(.+)"$/m.exec(cargoLock)?.[1],
    'ts/addon/version.ts': /^export const VERSION = '(.+)'$/m.exec(loader)?.[1],
  }
  for (const [name, version] of Object.entries(manifest.optionalDependencies ?? {}))
    if (/^@?millrace[-/]/.test(name)) places[`package.json, ${name}`] = version
  return places
}

/** What keeps a version from being released, each a sentence. */
export function complaints(version, files) {
  return Object.entries(stated(files))
    .filter(([, found]) => found !== version)
    .map(([place, found]) => `${place} says ${found ?? 'nothing'}, and CHANGELOG.md ${version}`)
}

/** The files of a checkout. */
export function filesOf(root) {
  const read = (name) => readFileSync(join(root, name), 'utf8')
  return {
    changelog: read('CHANGELOG.md'),
    manifest: JSON.parse(read('package.json')),
    lock: JSON.parse(read('package-lock.json')),
    cargo: read('Cargo.toml'),
    cargoLock: read('Cargo.lock'),
    loader: read('ts/addon/version.ts'),
  }
}

function main() {
  const { values } = parseArgs({ options: { notes: { type: 'boolean' } } })
  const files = filesOf(dirname(dirname(dirname(fileURLToPath(import.meta.url)))))
  const section = newest(files.changelog)
  if (section === undefined) return
  const wrong = complaints(section.version, files)
  if (wrong.length > 0) throw new Error(wrong.join('\n'))
  // Also where they are not asked for: what is published has to have a release afterwards.
  const notes = notesOf(files.changelog, section.version)
  console.log(values.notes ? notes : section.version)
}

await runMain(import.meta.url, main)
