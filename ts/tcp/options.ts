import { availableParallelism } from 'node:os'
import { cpuList, nativeCpus } from '../downstream.js'
import type { NativeTcpOptions } from '../native.js'
import { type Checked, flag, integer, ms } from '../options.js'

/** How a service of connections runs. Times are in milliseconds; 0 is off. */
export interface TcpServiceOptions {
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
  /** How long neither side of a connection may send anything; then it is reset. Default: 600,000. */
  idleTimeoutMs?: number
}

/** The rules of {@link TcpServiceOptions}. */
export const tcpServiceRules = {
  threads: integer<number | undefined>(undefined, 1, 1024),
  workStealing: flag(true),
  cpus: cpuList(undefined),
  maxConnections: integer(65_536, 1, 2 ** 31 - 1),
  maxConnectionsPerClient: integer(0, 0, 2 ** 31 - 1),
  ipv6ClientPrefix: integer(64, 1, 128),
  idleTimeoutMs: ms(600_000),
}

/** The same as the addon takes them. */
export function nativeTcp(checked: Checked<typeof tcpServiceRules> & { name: string }): NativeTcpOptions {
  const { name, workStealing, cpus, idleTimeoutMs } = checked
  const { maxConnections, maxConnectionsPerClient, ipv6ClientPrefix } = checked
  return {
    name,
    threads: checked.threads ?? availableParallelism(),
    workStealing,
    ...nativeCpus(cpus),
    maxConnections,
    maxConnectionsPerClient,
    ipv6ClientPrefix,
    idleTimeoutMs,
  }
}
