import { type ListeningOptions, listeningRules } from '../listening.js'
import { ms } from '../options.js'

/** How a service of connections runs. Times are in milliseconds; 0 is off. */
export interface TcpServiceOptions extends ListeningOptions {
  /** How long neither side of a connection may send anything; then it is reset. Default: 600,000. */
  idleTimeoutMs?: number
}

/** The rules of {@link TcpServiceOptions}. */
export const tcpServiceRules = {
  ...listeningRules,
  idleTimeoutMs: ms(600_000),
}
