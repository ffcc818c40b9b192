import { type Http2Options, http2Rules } from './http2.js'
import { type ListeningOptions, listeningRules, nativeListening } from './listening.js'
import { type Checked, flag, integer, ms, settings } from './options.js'

/** How a service that speaks HTTP runs, and what it allows its clients. Times are in milliseconds; 0 is off. */
export interface DownstreamOptions extends ListeningOptions {
  /** For the whole head of every request, from its first byte. Default: 10,000. */
  requestHeaderTimeoutMs?: number
  /** For an idle connection between requests. Default: 75,000. */
  keepAliveTimeoutMs?: number
  /** Between two pieces of a request's body. Default: 60,000. */
  bodyReadTimeoutMs?: number
  /** Between two pieces of a response that the client takes. Default: 60,000. */
  writeTimeoutMs?: number
  /** The slowest rate of a body, in bytes per second, after 10 s, in both directions; 0 = any. Default: 100. */
  minBytesPerSecond?: number
  /** The largest head, in bytes. Default: 65,536. */
  maxHeaderBytes?: number
  /** The most fields of a head. Default: 128. */
  maxHeaders?: number
  /** The largest body of a request, in bytes. Default: no limit. */
  maxRequestBodyBytes?: number
  /** For a whole request, with all its tries and to the end of its response. Default: 0, off. */
  requestTimeoutMs?: number
  /** How many requests a connection may carry; 0 = no limit. Default: 0. */
  maxRequestsPerConnection?: number
  /** For each phase, or the handler, from when JavaScript could start it. 0 = off, for debuggers. Default: 10,000. */
  callbackTimeoutMs?: number
  /** Requests that may wait for JavaScript, in each of its threads; further ones get 503. Default: 8,192. */
  maxQueued?: number
  /** Whether clients may speak HTTP/2 in the clear, by prior knowledge, on the same port. Default: true. */
  h2c?: boolean
  /** What concerns HTTP/2 towards clients. Default: as each says. */
  http2?: Http2Options
  /** Whether a client may end its side of the connection and still get its answer. Default: false. */
  halfClose?: boolean
}

const BYTES = 2 ** 31 - 1

/** The rules of {@link DownstreamOptions}. */
export const downstreamRules = {
  ...listeningRules,
  requestHeaderTimeoutMs: ms(10_000),
  keepAliveTimeoutMs: ms(75_000),
  bodyReadTimeoutMs: ms(60_000),
  writeTimeoutMs: ms(60_000),
  minBytesPerSecond: integer(100, 0, BYTES),
  maxHeaderBytes: integer(65_536, 1_024, 512 * 1024),
  maxHeaders: integer(128, 1, 10_000),
  maxRequestBodyBytes: integer<number | undefined>(undefined, 0, Number.MAX_SAFE_INTEGER),
  requestTimeoutMs: ms(0),
  maxRequestsPerConnection: integer(0, 0, BYTES),
  callbackTimeoutMs: ms(10_000),
  maxQueued: integer(8_192, 1, 1_048_576),
  h2c: flag(true),
  http2: settings(http2Rules),
  halfClose: flag(false),
}

/** The same as the addon takes them. */
export function nativeDownstream<C extends Checked<typeof downstreamRules>>(checked: C) {
  return {
    ...nativeListening(checked),
    maxRequestBodyBytes: checked.maxRequestBodyBytes ?? -1,
  }
}
