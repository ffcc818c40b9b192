import { existsSync } from 'node:fs'
import { dirname, join, sep } from 'node:path'
import { manifest, read } from './files.js'
import { PLATFORMS, packageOf } from './platform.js'
import { VERSION } from './version.js'

/** What may have caused it, and the command that mends it. */
export interface Mending {
  readonly cause?: string | undefined
  readonly command?: string | undefined
}

type Manager = 'npm' | 'pnpm' | 'yarn' | 'bun'

/** What is known of the installation. */
interface Case {
  readonly failed: 'missing' | 'version' | 'damaged'
  /** It is about the file beside the code, which no package manager put there. */
  readonly beside: boolean
  readonly triple: string
  /** Packages of other platforms that are installed. */
  readonly others: readonly string[]
  /** Where packages were looked for from, the folder of this code first. */
  readonly folders: readonly string[]
}

const LOCKS: readonly [file: string, manager: Manager][] = [
  ['pnpm-lock.yaml', 'pnpm'],
  ['yarn.lock', 'yarn'],
  ['bun.lock', 'bun'],
  ['bun.lockb', 'bun'],
  ['package-lock.json', 'npm'],
  ['npm-shrinkwrap.json', 'npm'],
]

/** Finds out why the binary is not there, or not as it should be. No command where none is sure to mend that. */
export function mending({ failed, beside, triple, others, folders }: Case): Mending {
  const { kind, folder, manager, lock } = projectOf(folders)
  if (kind === 'checkout')
    return { cause: 'this is a checkout that is not built', command: at('npm run build') }
  const name = packageOf(triple)
  if (kind === 'bundle' && (beside || folder === undefined)) {
    const why = { missing: 'is not there', version: 'does not fit', damaged: 'is damaged' }[failed]
    return {
      cause: `this is a bundle, and the binary that it needs beside it ${why}`,
      command: `copy millrace.${triple}.node, out of ${name} ${VERSION}, into ${quoted(folders[0] ?? process.cwd())}`,
    }
  }
  // bun.lockb is no text, so what it lacks cannot be told.
  const text = lock === undefined || lock.endsWith('.lockb') ? undefined : read(lock)

  if (failed === 'damaged') {
    const cause =
      'the package or its file is damaged, the file not there although its package is, or of another platform'
    return { cause, command: again() }
  }
  if (failed === 'version') {
    return {
      cause: 'node_modules, or the lock file, has parts of two versions of millrace, which come out together',
      command: locksVersion(text, name) ? again() : update(),
    }
  }
  if (text?.includes('millrace') && !text.includes(name)) {
    return {
      cause: `${lock} does not have ${name}: it was probably made on another platform, from its node_modules`,
      command: afresh(lock!.slice(dirname(lock!).length + 1)),
    }
  }
  if (others.length > 0) {
    return {
      cause: `the packages were installed for another platform (${others.join(', ')}), and node_modules, or the setting of platforms, was taken over from there`,
      command: again(),
    }
  }
  return {
    cause: `optional dependencies were probably left out when installing (${omission(folder)})`,
    command: manager === 'npm' ? at(INSTALL.npm) : afresh(),
  }

  function at(command: string): string | undefined {
    if (folder === undefined) return undefined
    return folder === process.cwd() ? command : `cd ${quoted(folder)} && ${command}`
  }

  /** Installs what the lock file says, all of it. */
  function again(): string | undefined {
    // It refuses a lock file that lacks a package, as one does that was made of tarballs.
    const whole = Object.keys(PLATFORMS).every((one) => text?.includes(`node_modules/${packageOf(one)}"`))
    return manager === 'npm' && whole ? at('npm ci --include=optional') : afresh()
  }

  function afresh(...more: string[]): string | undefined {
    return at(`${remove(['node_modules', ...more])} && ${INSTALL[manager]}`)
  }

  function update(): string | undefined {
    const wanted = folder === undefined ? undefined : wantedBy(folder)
    // Only what comes from a registry has a version to ask for there.
    if (wanted === undefined || /[/\\:]/.test(wanted)) return undefined
    return at(`${remove(['node_modules'])} && ${UPDATE[manager](`millrace@${VERSION}`)}`)
  }
}

/** Whether a lock file has the package in the version that fits, and in no other. */
function locksVersion(text: string | undefined, name: string): boolean {
  if (text === undefined) return false
  try {
    const packages: [string, { version?: string }][] = Object.entries(JSON.parse(text).packages)
    const ours = packages.filter(([path]) => path.endsWith(`node_modules/${name}`))
    return ours.length > 0 && ours.every(([, { version }]) => version === VERSION)
  } catch {
    return [`${name}@${VERSION}`, `${name}@npm:${VERSION}`].some((entry) => text.includes(entry))
  }
}

const INSTALL: Record<Manager, string> = {
  npm: 'npm install --include=optional',
  pnpm: 'pnpm install --config.optional=true',
  yarn: 'yarn install',
  bun: 'bun install',
}

const UPDATE: Record<Manager, (what: string) => string> = {
  npm: (what) => `npm install ${what}`,
  pnpm: (what) => `pnpm add ${what}`,
  yarn: (what) => `yarn add ${what}`,
  bun: (what) => `bun add ${what}`,
}

interface Project {
  /** What this code is part of. */
  readonly kind: 'package' | 'checkout' | 'bundle'
  /** Where a command may run: a folder whose package.json leads to millrace, or the checkout. */
  readonly folder?: string
  readonly manager: Manager
  readonly lock?: string
}

/** The project that decides what is installed here. The folder that the program was started in is none. */
function projectOf(folders: readonly string[]): Project {
  const inside = `${sep}node_modules${sep}`
  const [code = process.cwd()] = folders
  // Where it is certain no other folder is looked at: the command may remove something there.
  if (code.includes(inside)) return projectIn('package', [code.slice(0, code.indexOf(inside))])
  const checkout = upwards(code).find(isCheckout)
  if (checkout !== undefined) return { kind: 'checkout', folder: checkout, manager: 'npm' }
  const own = upwards(code).some((folder) => manifest(folder)?.name === 'millrace')
  return projectIn(own ? 'package' : 'bundle', folders.flatMap(upwards))
}

/** A folder and those above it. */
function upwards(folder: string): string[] {
  const above = dirname(folder)
  return above === folder ? [folder] : [folder, ...upwards(above)]
}

const isCheckout = (folder: string) =>
  existsSync(join(folder, 'Cargo.toml')) && existsSync(join(folder, 'ts', 'addon'))

function projectIn(kind: Project['kind'], folders: readonly string[]): Project {
  const folder = folders.find(leadsHere)
  const [file, manager = callingManager()] = (folder === undefined ? undefined : lockIn(folder)) ?? []
  if (folder === undefined) return { kind, manager }
  return file === undefined ? { kind, folder, manager } : { kind, folder, manager, lock: join(folder, file) }
}

/** Whether a folder is a project that has millrace installed: not so that of global packages, or an unrelated one. */
function leadsHere(folder: string): boolean {
  if (manifest(folder) === undefined) return false
  if (wantedBy(folder) !== undefined) return true
  const [lock] = lockIn(folder) ?? []
  return lock !== undefined && /(^|[\s"'/])millrace["'@:]/m.test(read(join(folder, lock)) ?? '')
}

/** What a project asks for of millrace itself. */
function wantedBy(folder: string): string | undefined {
  const found = manifest(folder) ?? {}
  const kinds = ['dependencies', 'devDependencies', 'optionalDependencies'] as const
  const wanted = kinds.map((kind) => found[kind]?.millrace).find((one) => one !== undefined)
  return wanted === undefined ? undefined : String(wanted)
}

function lockIn(folder: string): (typeof LOCKS)[number] | undefined {
  return LOCKS.find(([file]) => existsSync(join(folder, file)))
}

/** The package manager that runs this program, if one does. */
function callingManager(): Manager {
  const agent = /^(npm|pnpm|yarn|bun)\//.exec(process.env.npm_config_user_agent ?? '')?.[1]
  return (agent ?? 'npm') as Manager
}

/** What says so, if it can be seen. */
function omission(folder: string | undefined): string {
  const file = join(folder ?? '', '.npmrc')
  if (folder !== undefined && /^\s*(omit(\[\])?\s*=.*optional|optional\s*=\s*false)/m.test(read(file) ?? ''))
    return `${file} says so`
  if (/optional/.test(process.env.npm_config_omit ?? '')) return 'npm_config_omit says so'
  return '`--omit=optional`, `--no-optional`, or `omit=optional` in an .npmrc'
}

function remove(names: readonly string[]): string {
  if (process.platform !== 'win32') return `rm -rf ${names.join(' ')}`
  return names.map((name) => (name.includes('.') ? `del ${name}` : `rmdir /s /q ${name}`)).join(' && ')
}

/** As one word of a shell, which expands nothing in it. */
function quoted(path: string): string {
  if (/^[\w./\\:@-]+$/.test(path)) return path
  return process.platform === 'win32' ? `"${path}"` : `'${path.replaceAll("'", "'\\''")}'`
}
