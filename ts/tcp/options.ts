import { availableParallelism } from 'node:os'
import type { NativeTcpOptions } from '../native.js'
import { type Checked, flag, integer, ms } from '../options.js'

/** How a service of connections runs. Times are in milliseconds; 0 is off. */
export interface TcpServiceOptions {
  /** Threads of its runtime, 1–1,024. Default: the cores available. */
  threads?: number
  /** Whether its threads share their work, or each keeps its own connections. Default: true. */
  workStealing?: boolean
  /** Client connections at once; further ones are closed. Default: 65,536. */
  maxConnections?: number
  /** How long neither side of a connection may send anything; then it is reset. Default: 600,000. */
  idleTimeoutMs?: number
}

/** The rules of {@link TcpServiceOptions}. */
export const tcpServiceRules = {
  threads: integer<number | undefined>(undefined, 1, 1024),
  workStealing: flag(true),
  maxConnections: integer(65_536, 1, 2 ** 31 - 1),
  idleTimeoutMs: ms(600_000),
}

/** The same as the addon takes them. */
export function nativeTcp(checked: Checked<typeof tcpServiceRules> & { name: string }): NativeTcpOptions {
  const { name, workStealing, maxConnections, idleTimeoutMs } = checked
  const threads = checked.threads ?? availableParallelism()
  return { name, threads, workStealing, maxConnections, idleTimeoutMs }
}
