import { existsSync } from 'node:fs'
// The whole of it: webpack takes an imported `createRequire` for its own.
import Module from 'node:module'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { requireWhole } from './elf.js'
import { type Attempt, explain } from './explain.js'
import { EXPORTS } from './exports.js'
import { manifest, read } from './files.js'
import { here } from './here.js'
import { PLATFORMS, packageOf, thisPlatform } from './platform.js'
import { VERSION } from './version.js'

/** A package with a binary, as it is installed. */
export interface Installed {
  readonly name: string
  /** Undefined where its package.json does not say it: the package is damaged. */
  readonly version: string | undefined
  readonly folder: string
}

/**
 * The binary: the file that `MILLRACE_BINARY` names, or one beside the code, as a build from source or a bundle
 * has it, or that of the package for this platform, in this order.
 * @throws UsageError BINARY_NOT_FOUND, BINARY_NOT_LOADED, BINARY_VERSION
 */
export function loadAddon(): unknown {
  const given = process.env.MILLRACE_BINARY
  const attempts: Attempt[] = []
  const load = (file: string, beside = false) => {
    try {
      requireWhole(file)
      const addon = open(file)
      const version = versionOf(addon)
      const lacks = EXPORTS.filter((name) => !(name in addon))
      if (version !== undefined && version !== VERSION)
        attempts.push({ what: file, failed: 'version', version, beside })
      else if (lacks.length > 0) attempts.push({ what: file, failed: 'foreign', lacks, beside })
      else return addon
    } catch (error) {
      attempts.push({ what: file, failed: 'load', error, beside })
    }
    return undefined
  }
  if (given) {
    const addon = load(resolve(given))
    if (addon !== undefined) return addon
    throw explain(attempts, { given, platform: thisPlatform(), installed: [], folders: [] })
  }

  const platform = thisPlatform()
  const bases = basesOf([...here, process.argv[1]])
  const { triple } = platform
  if (triple !== undefined) {
    const beside = new Set([...bases.flatMap(packageFolder), ...bases.map(dirname)])
    for (const folder of beside) {
      const file = join(folder, `millrace.${triple}.node`)
      const addon = existsSync(file) ? load(file, true) : undefined
      if (addon !== undefined) return addon
    }
    const name = packageOf(triple)
    const found = installedFrom(bases, name)
    if (found.length === 0) attempts.push({ what: name, failed: 'missing' })
    for (const { version, folder } of found) {
      if (version === undefined) {
        attempts.push({ what: folder, failed: 'load', error: damageOf(folder), beside: false })
        continue
      }
      const addon =
        version === VERSION
          ? load(join(folder, `millrace.${triple}.node`))
          : void attempts.push({ what: folder, failed: 'version', version, beside: false })
      if (addon !== undefined) return addon
    }
  }
  const installed = Object.keys(PLATFORMS).flatMap((one) => installedFrom(bases, packageOf(one)))
  throw explain(attempts, {
    platform,
    installed,
    folders: bases.filter((base) => existsSync(base)).map(dirname),
  })
}

/** Loads a library, whatever its name: `require` runs as JavaScript what is not called `.node`. */
function open(file: string): object {
  if (file.endsWith('.node')) return Object(Module.createRequire(file)(file))
  const module = { exports: {} }
  process.dlopen(module, file)
  return Object(module.exports)
}

/** The version of a binary of millrace; undefined for one of something else, or from before binaries said it. */
function versionOf(addon: object): string | undefined {
  const { builtAs } = addon as { builtAs?: unknown }
  const said: unknown = typeof builtAs === 'function' ? builtAs() : undefined
  return typeof said === 'string' ? /^millrace (.+)$/.exec(said)?.[1] : undefined
}

/** The files to look for packages from: this one, and the program's, which a bundle may be. */
function basesOf(places: readonly (string | undefined)[]): string[] {
  const files = places.map((place) => (place?.startsWith('file:') ? fileURLToPath(place) : place))
  return [...new Set(files)].filter((file): file is string => file !== undefined && isAbsolute(file))
}

/** The folder of this package, seen from a file: of one of its own, or of a bundle that it went into. */
function packageFolder(base: string): string[] {
  for (let folder = dirname(base); folder !== dirname(folder); folder = dirname(folder)) {
    // dist/cjs has a package.json too, which has no name.
    const name = manifest(folder)?.name
    if (name === 'millrace') return [folder]
    if (name !== undefined) break
  }
  try {
    return [dirname(Module.createRequire(base).resolve('millrace/package.json'))]
  } catch {
    return []
  }
}

function installedFrom(bases: readonly string[], name: string): Installed[] {
  const found = new Map<string, Installed>()
  for (const base of bases) {
    const folder = folderOf(base, name)
    if (folder === undefined) continue
    const version = manifest(folder)?.version
    found.set(folder, { name, version: typeof version === 'string' ? version : undefined, folder })
  }
  return [...found.values()]
}

/** Where a package is, seen from a file. */
function folderOf(base: string, name: string): string | undefined {
  const { resolve } = Module.createRequire(base)
  try {
    return dirname(resolve(`${name}/package.json`))
  } catch {
    // Not installed for that one; or its package.json is nothing that Node could read.
    return resolve
      .paths(name)
      ?.map((folder) => join(folder, name))
      .find((folder) => existsSync(folder))
  }
}

/** What is wrong with a package that does not say its version. */
function damageOf(folder: string): Error {
  const text = read(join(folder, 'package.json'))
  const what = text === undefined ? 'cannot be read' : text.trim() === '' ? 'is empty' : 'is damaged'
  return new Error(`package damaged: its package.json ${what}`)
}
