import { UsageError } from '../errors.js'
import { glibcNeededBy } from './elf.js'
import type { Installed } from './load.js'
import { type Mending, mending } from './mend.js'
import { PLATFORMS, type Platform, packageOf, reported } from './platform.js'
import { VERSION } from './version.js'

/** What was tried, and how it failed. */
export type Attempt =
  | { readonly what: string; readonly failed: 'missing' }
  /** Of the package, or of the binary itself. */
  | {
      readonly what: string
      readonly failed: 'version'
      readonly version: string
      readonly beside: boolean
    }
  /** It was loaded, and is not what this version calls. */
  | {
      readonly what: string
      readonly failed: 'foreign'
      readonly lacks: readonly string[]
      readonly beside: boolean
    }
  | { readonly what: string; readonly failed: 'load'; readonly error: unknown; readonly beside: boolean }

/** What an error has to tell of. */
export interface Situation {
  /** What `MILLRACE_BINARY` says. */
  readonly given?: string
  readonly platform: Platform
  readonly installed: readonly Installed[]
  /** Where packages were looked for from. */
  readonly folders: readonly string[]
}

/** One error for all that was tried: what was looked for, what is there, why it failed, and what mends it. */
export function explain(attempts: readonly Attempt[], situation: Situation): UsageError {
  const { given, platform, installed } = situation
  const failed = attempts.find((one) => one.failed === 'load')
  const mismatch = attempts.some((one) => one.failed === 'version' || one.failed === 'foreign')
  const code = failed ? 'BINARY_NOT_LOADED' : mismatch ? 'BINARY_VERSION' : 'BINARY_NOT_FOUND'
  const { cause, command } = advice(attempts, situation)
  const lines = [
    TITLE[code],
    given === undefined
      ? `  looked for: ${wanted(platform)}`
      : `  looked for: the file that MILLRACE_BINARY names, and nothing else, on ${described(platform)}`,
    ...(given === undefined ? [`  installed:  ${list(installed)}`] : []),
    ...attempts.map((one) => `  ${told(one)}`),
    ...(cause === undefined ? [] : [`  cause:      ${cause}`]),
    ...(command === undefined ? [] : [`  to mend it: ${command}`]),
  ]
  return new UsageError(code, lines.join('\n'), failed ? { cause: failed.error } : {})
}

const TITLE = {
  BINARY_NOT_FOUND: `millrace ${VERSION} has no binary for this platform here`,
  BINARY_NOT_LOADED: `the binary of millrace ${VERSION} could not be loaded`,
  BINARY_VERSION: `the binary of millrace ${VERSION} is of another version, or of something else`,
}

function wanted(platform: Platform): string {
  const name = platform.triple === undefined ? 'for which there is no package' : packageOf(platform.triple)
  return `${described(platform)}: ${name}`
}

function described({ os, cpu, libc }: Platform): string {
  return `${os} ${cpu}${libc === undefined ? '' : ` ${libc.family} (known from ${libc.from})`}`
}

function list(installed: readonly Installed[]): string {
  if (installed.length === 0) return 'no package with a binary'
  return installed
    .map(({ name, version, folder }) => `${name} ${version ?? '(damaged)'} in ${folder}`)
    .join(', ')
}

function told(attempt: Attempt): string {
  if (attempt.failed === 'missing') return `missing:    ${attempt.what} ${VERSION}`
  if (attempt.failed === 'version') {
    return `not loaded: ${attempt.what}: it is version ${attempt.version}, and only ${VERSION} fits`
  }
  if (attempt.failed === 'foreign') {
    return `not used:   ${attempt.what}: it is not the binary of millrace ${VERSION}, as it lacks ${attempt.lacks.join(', ')}`
  }
  return `not loaded: ${attempt.what}: ${reasonOf(attempt.error).replaceAll('\n', '\n              ')}`
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function advice(attempts: readonly Attempt[], situation: Situation): Mending {
  const { given, platform, installed, folders } = situation
  const { triple } = platform
  const loads = attempts.filter((one) => one.failed === 'load')
  // What the system's loader said is about the file and the system, whoever put the file there.
  for (const { what, error } of loads) {
    const reason = reasonOf(error)
    const missing = /GLIBC_([\d.]+)' not found/.exec(reason)?.[1]
    if (missing !== undefined) {
      return {
        cause: `this file needs glibc ${glibcNeededBy(what) ?? missing}, and this system has ${reported().glibc ?? 'an older one'}; packages of the registry need 2.28, and one that \`npm run pack:local\` made needs what the machine has that made it`,
      }
    }
    const other = platform.libc?.family === 'musl' ? /ld-linux-|libgcc_s/ : /ld-musl-|libc\.musl-|libc\.so:/
    if (platform.libc !== undefined && other.test(reason)) {
      return {
        cause: `the file is for another C library than this process has, which is ${platform.libc.family}`,
      }
    }
    if (/failed to map segment|Operation not permitted/i.test(reason)) {
      return { cause: 'the folder may be on a file system that is mounted with noexec' }
    }
  }
  if (given !== undefined) return {}
  if (triple === undefined) {
    return {
      cause: `packages are made for ${Object.keys(PLATFORMS).join(', ')}`,
      command: 'build it from source, with Rust: `npm ci && npm run build` in a checkout of millrace',
    }
  }
  if (loads.length > 0 && !loads.some(({ error }) => isDamage(reasonOf(error)))) return {}
  const [first] = attempts
  return mending({
    failed:
      loads.length > 0
        ? 'damaged'
        : first === undefined || first.failed === 'missing'
          ? 'missing'
          : 'version',
    beside: attempts.some((one) => 'beside' in one && one.beside),
    triple,
    others: installed.map(({ name }) => name).filter((name) => name !== packageOf(triple)),
    folders,
  })
}

/** What is said of a package, or by the loaders of Linux (glibc and musl), macOS and Windows of a file, that is cut. */
const isDamage = (reason: string) =>
  /file too short|(file|package) damaged|no such file or directory, (stat|open)|invalid ELF header|ELF file's phentsize|cannot read file data|Exec format error|not a mach-o|truncated mach-o|not a valid Win32|Error loading shared library .*: (Exec format|Invalid)/i.test(
    reason,
  )
