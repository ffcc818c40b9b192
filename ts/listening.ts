import { availableParallelism } from 'node:os'
import { type Checked, flag, integer, listOf, only, type Rule, value } from './options.js'

/** On what a service serves its clients, and how many of them at once. */
export interface ListeningOptions {
  /** Threads of its runtime, 1–1,024. Default: the cores available. */
  threads?: number
  /** Whether its threads share their work, or each keeps its own connections. Default: true. */
  workStealing?: boolean
  /**
   * Linux: which processors its threads run on, each thread on one: the first on the first of a list and so on,
   * or `spread` over all of them. Default: those that the system chooses.
   */
  cpus?: readonly number[] | 'spread'
  /** Client connections at once; further ones are closed. Default: 65,536. */
  maxConnections?: number
  /** Connections that one client may have at once; further ones are closed. 0 = no limit. Default: 0. */
  maxConnectionsPerClient?: number
  /**
   * How many bits of an IPv6 address tell one client from another for that, 1–128: a client has a whole
   * network of addresses. Default: 64.
   */
  ipv6ClientPrefix?: number
}

const COUNT = 2 ** 31 - 1

/** The rules of {@link ListeningOptions}. */
export const listeningRules = {
  threads: integer<number | undefined>(undefined, 1, 1024),
  workStealing: flag(true),
  cpus: cpuList(undefined),
  maxConnections: integer(65_536, 1, COUNT),
  maxConnectionsPerClient: integer(0, 0, COUNT),
  ipv6ClientPrefix: integer(64, 1, 128),
}

/** Numbers of processors, at least one. */
function cpuList(fallback: undefined): Rule<readonly number[] | 'spread' | undefined> {
  const isCpu = (found: unknown) =>
    Number.isInteger(found) && (found as number) >= 0 && (found as number) < 1024
  const allowed = "'spread', or a list of processors, each an integer from 0 to 1023"
  const all = listOf<readonly number[]>([], 'an integer from 0 to 1023', isCpu)
  const none: readonly number[] | 'spread' | undefined = fallback
  const isEither = (found: unknown) => found === 'spread' || (Array.isArray(found) && found.length > 0)
  const plain = value(none, allowed, isEither, {
    anyOf: [
      { enum: ['spread'] },
      { type: 'array', minItems: 1, items: { type: 'integer', minimum: 0, maximum: 1023 } },
    ],
  })
  return only('affinity', {
    ...plain,
    check: (found, path, problems) =>
      (Array.isArray(found) && found.length > 0 ? all : plain).check(found, path, problems),
  })
}

/** The same as the addon takes them; of processors: none = wherever the system likes, an empty list = spread. */
export function nativeListening<C extends Checked<typeof listeningRules>>({ cpus, threads, ...rest }: C) {
  return {
    ...rest,
    threads: threads ?? availableParallelism(),
    ...(cpus === undefined ? {} : { cpus: cpus === 'spread' ? [] : [...cpus] }),
  }
}
