import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, sep } from 'node:path'
import { packageOf } from './platform.js'
import { VERSION } from './version.js'

/** What may have caused it, and the command that mends it. */
export interface Mending {
  readonly cause?: string
  readonly command?: string
}

type Manager = 'npm' | 'pnpm' | 'yarn' | 'bun'

/** What is known of the installation. */
interface Case {
  readonly failed: 'missing' | 'version' | 'damaged' | 'load'
  readonly triple: string
  /** Packages of other platforms that are installed. */
  readonly others: readonly string[]
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

/** Finds out why the package with the binary is not there, or not as it should be. */
export function mending({ failed, triple, others, folders }: Case): Mending {
  const project = projectOf(folders)
  if (project.fromSource)
    return { cause: 'this is a checkout that is not built', command: at('npm run build') }
  const { manager, lock } = project
  const name = packageOf(triple)
  const again = (...more: string[]) => at([remove(['node_modules', ...more]), INSTALL[manager]].join(' && '))

  if (failed === 'damaged') {
    return { cause: 'the file is damaged, or is of another platform', command: again() }
  }
  if (failed === 'version') {
    return {
      cause: 'node_modules, or the lock file, has parts of two versions of millrace, which come out together',
      command: at([remove(['node_modules']), UPDATE[manager](`millrace@${VERSION}`)].join(' && ')),
    }
  }
  // bun.lockb is no text, so what it lacks cannot be told.
  const text = lock === undefined || lock.endsWith('.lockb') ? undefined : read(lock)
  if (text?.includes('millrace') && !text.includes(name)) {
    return {
      cause: `${lock} does not have ${name}: it was probably made on another platform, from its node_modules`,
      command: again(lock!.slice(dirname(lock!).length + 1)),
    }
  }
  if (others.length > 0) {
    return {
      cause: `the packages were installed for another platform (${others.join(', ')}), and node_modules, or the setting of platforms, was taken over from there`,
      command: again(),
    }
  }
  return {
    cause: `optional dependencies were probably left out when installing (${omission(project.folder)})`,
    command: again(),
  }

  function at(command: string): string {
    return project.folder === process.cwd() ? command : `cd ${quoted(project.folder)} && ${command}`
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
  readonly folder: string
  readonly manager: Manager
  readonly lock: string | undefined
  readonly fromSource: boolean
}

/** The project whose lock file decides what is installed here. */
function projectOf(folders: readonly string[]): Project {
  const inside = `${sep}node_modules${sep}`
  const owner = folders.find((folder) => folder.includes(inside))
  // Where it is certain no other folder is looked at: the command removes something there.
  if (owner !== undefined) return projectIn(owner.slice(0, owner.indexOf(inside)))
  const checkout = folders.flatMap(upwards).find(isCheckout)
  if (checkout !== undefined) return { ...projectIn(checkout), fromSource: true }
  const project = [...folders, process.cwd()].flatMap(upwards).find(isProject)
  return projectIn(project ?? process.cwd())
}

/** A folder and those above it. */
function upwards(folder: string): string[] {
  const above = dirname(folder)
  return above === folder ? [folder] : [folder, ...upwards(above)]
}

const isCheckout = (folder: string) =>
  existsSync(join(folder, 'Cargo.toml')) && existsSync(join(folder, 'ts', 'addon'))

const isProject = (folder: string) => existsSync(join(folder, 'package.json')) || lockIn(folder) !== undefined

function projectIn(folder: string): Project {
  const [file, manager = callingManager()] = lockIn(folder) ?? []
  const lock = file === undefined ? undefined : join(folder, file)
  return { folder, manager, lock, fromSource: false }
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
function omission(folder: string): string {
  const file = join(folder, '.npmrc')
  if (/^\s*(omit(\[\])?\s*=.*optional|optional\s*=\s*false)/m.test(read(file) ?? '')) return `${file} says so`
  if (/optional/.test(process.env.npm_config_omit ?? '')) return 'npm_config_omit says so'
  return '`--omit=optional`, `--no-optional`, or `omit=optional` in an .npmrc'
}

function remove(names: readonly string[]): string {
  if (process.platform !== 'win32') return `rm -rf ${names.join(' ')}`
  return names.map((name) => (name.includes('.') ? `del ${name}` : `rmdir /s /q ${name}`)).join(' && ')
}

const quoted = (path: string) => (/^[\w./\\:@-]+$/.test(path) ? path : JSON.stringify(path))

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}
