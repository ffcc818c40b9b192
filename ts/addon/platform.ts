import { interpreterOf } from './elf.js'
import { read } from './files.js'

/** What the C library of this process is, and how that was found. */
export interface Libc {
  readonly family: 'glibc' | 'musl'
  /** Where it was read, in words. */
  readonly from: string
}

/** What a binary has to fit. */
export interface Platform {
  readonly os: string
  readonly cpu: string
  /** On Linux only. */
  readonly libc: Libc | undefined
  /** The name of its package without the scope; undefined if there is none for this platform. */
  readonly triple: string | undefined
}

/** Every platform there is a package for, with what its package.json says of it. */
export const PLATFORMS = {
  'linux-x64-gnu': { os: 'linux', cpu: 'x64', libc: 'glibc' },
  'linux-x64-musl': { os: 'linux', cpu: 'x64', libc: 'musl' },
  'linux-arm64-gnu': { os: 'linux', cpu: 'arm64', libc: 'glibc' },
  'linux-arm64-musl': { os: 'linux', cpu: 'arm64', libc: 'musl' },
  'darwin-x64': { os: 'darwin', cpu: 'x64', libc: undefined },
  'darwin-arm64': { os: 'darwin', cpu: 'arm64', libc: undefined },
  'win32-x64-msvc': { os: 'win32', cpu: 'x64', libc: undefined },
} as const

/** The package of a platform. Scoped: nobody else can publish one that looks like another of them. */
export const packageOf = (triple: string): string => `@millrace/${triple}`

/** The platform of this process. */
export function thisPlatform(): Platform {
  const { platform: os, arch: cpu } = process
  const libc = os === 'linux' ? thisLibc() : undefined
  const triple = Object.entries(PLATFORMS).find(
    ([, one]) => one.os === os && one.cpu === cpu && one.libc === libc?.family,
  )?.[0]
  return { os, cpu, libc, triple }
}

/**
 * The C library that this process runs on, which need not be the system's own. What the program file itself
 * asks for comes first, as it costs least and cannot be wrong; a static program asks for none.
 */
function thisLibc(): Libc {
  const interpreter = attempt(() => interpreterOf(process.execPath))
  const named = familyIn(interpreter ?? '', 'ld-linux')
  if (named) return { family: named, from: `${process.execPath}, which asks for ${interpreter}` }
  const { glibc, objects } = reported()
  if (glibc !== undefined) return { family: 'glibc', from: "process.report's glibcVersionRuntime" }
  const musl = objects.find((file) => /ld-musl-|libc\.musl-/.test(file))
  if (musl !== undefined) return { family: 'musl', from: `process.report, which has ${musl}` }
  for (const file of ['/usr/bin/ldd', '/etc/os-release']) {
    const text = read(file, 'latin1') ?? ''
    const family = /^ID(_LIKE)?=.*alpine/m.test(text)
      ? 'musl'
      : familyIn(text, 'GNU C Library|GNU libc|GLIBC')
    if (family) return { family, from: file }
  }
  return { family: 'glibc', from: 'a guess, as nothing says which' }
}

function familyIn(text: string, glibc: string): Libc['family'] | undefined {
  if (text.includes('musl')) return 'musl'
  return new RegExp(glibc).test(text) ? 'glibc' : undefined
}

/** The version of glibc that this process has, if it has one, and the libraries it has loaded. Slow: milliseconds. */
export function reported(): { glibc: string | undefined; objects: readonly string[] } {
  // Not every runtime has it, and the types lack one member.
  const report = process.report as (NodeJS.ProcessReport & { excludeNetwork?: boolean }) | undefined
  const before = report?.excludeNetwork
  try {
    if (report) report.excludeNetwork = true // or names of open connections would be looked up
    const found = (report?.getReport() ?? {}) as Report
    return { glibc: found.header?.glibcVersionRuntime, objects: found.sharedObjects ?? [] }
  } catch {
    return { glibc: undefined, objects: [] }
  } finally {
    if (report && before !== undefined) report.excludeNetwork = before
  }
}

interface Report {
  header?: { glibcVersionRuntime?: string }
  sharedObjects?: string[]
}

function attempt<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}
