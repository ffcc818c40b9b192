import type { OptionProblem } from './errors.js'

/** The systems that have what not every system has. */
const SYSTEMS = {
  /** SCHED_BATCH. */
  batchThreads: (system: string) => system === 'linux',
  /** SO_REUSEPORT that shares connections out. macOS has one that gives all of them to one socket. */
  reusePort: (system: string) => system === 'linux',
  /** TCP_FASTOPEN with a queue. Others have one that is on or off, and that clients must be told of in other ways. */
  fastOpen: (system: string) => system === 'linux',
  /** Unix sockets with a name in the place of a file. */
  abstractSockets: (system: string) => system === 'linux',
  /** Threads that can be told which processors to run on. */
  affinity: (system: string) => system === 'linux',
  /** Streams over Unix sockets. Windows has some, which neither Node.js nor the runtime in Rust speaks. */
  unixSockets: (system: string) => system !== 'win32',
}

/** What not every system has. */
export type Feature = keyof typeof SYSTEMS

/** Every {@link Feature}. */
export const FEATURES = Object.keys(SYSTEMS) as Feature[]

/** Whether a system, named as `process.platform` names it, has a feature. */
export function has(feature: Feature, system: string = process.platform): boolean {
  return SYSTEMS[feature](system)
}

/** The problem of an option that needs what this system has not. */
export function unsupported(path: string, found: unknown, allowed: string): OptionProblem {
  const { platform } = process
  return { path, found, allowed: `${allowed} on ${platform}`, platform }
}
