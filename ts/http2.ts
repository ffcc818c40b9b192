import { integer, ms } from './options.js'

/**
 * What can be set on HTTP/2 towards clients. The time-outs and limits that are not here are those of
 * every version of HTTP.
 */
export interface Http2Options {
  /** Streams that a client may have open at once, on one connection. Default: 100. */
  maxConcurrentStreams?: number
  /**
   * Bytes of a request's body that a client may send ahead of its origin. A connection may take this
   * times `maxConcurrentStreams` of memory, so that streams that stall never stop the others; all of
   * them together `maxUnreadBytes`.
   * Default: 262,144.
   */
  streamWindowBytes?: number
  /** The largest frame that is taken, in bytes. Default: 16,384. */
  maxFrameBytes?: number
  /** Bytes of a response that wait for the socket, on each stream. Default: 65,536. */
  sendBufferBytes?: number
  /** How long a connection may be silent before it is pinged, in milliseconds; 0 = never. Default: 30,000. */
  pingIntervalMs?: number
  /** How long the answer to a ping may take before the connection is closed, in milliseconds. Default: 20,000. */
  pingTimeoutMs?: number
  /** Resets by the client that are taken at once, before it is sent away. Default: 200. */
  maxResets?: number
  /** How many more of them each second allows. Default: 33. */
  resetsPerSecond?: number
  /** Streams that may have to be reset for the client's faults, in a connection's life. Default: 1,024. */
  maxFaultResets?: number
  /**
   * Frames that carry nothing (PING, SETTINGS, PRIORITY and the like) that are taken at once; each
   * second allows for a tenth of that more, and each KiB of data for one. Default: 10,000.
   */
  maxControlFrames?: number
  /**
   * Bytes of requests that are held for all clients of the service together: of bodies that their
   * origins have not taken yet, and of heads while they are served. Beyond it, connections that hold
   * more than an equal share of it and more than 16 KiB are not read from, and new requests on them
   * are refused with REFUSED_STREAM; at most twice as much is held. Default: 268,435,456.
   */
  maxUnreadBytes?: number
}

const COUNT = 2 ** 31 - 1

/** The rules of {@link Http2Options}. */
export const http2Rules = {
  maxConcurrentStreams: integer(100, 1, 65_536),
  streamWindowBytes: integer(262_144, 1_024, COUNT),
  maxFrameBytes: integer(16_384, 16_384, 16_777_215),
  sendBufferBytes: integer(65_536, 1_024, COUNT),
  pingIntervalMs: ms(30_000, 'never'),
  pingTimeoutMs: integer(20_000, 1, COUNT),
  maxResets: integer(200, 1, COUNT),
  resetsPerSecond: integer(33, 1, COUNT),
  maxFaultResets: integer(1_024, 1, COUNT),
  maxControlFrames: integer(10_000, 100, COUNT),
  maxUnreadBytes: integer(268_435_456, 65_536, Number.MAX_SAFE_INTEGER),
}
