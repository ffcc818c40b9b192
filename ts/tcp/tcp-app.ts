import type { Environment } from '../crossing/environment.js'
import { describe } from '../crossing/failure.js'
import { isThenable, whenSettled } from '../crossing/promise.js'
import type { OptionProblem } from '../errors.js'
import { nativeListening } from '../listening.js'
import { type AnyLog, makeLog, serviceLog } from '../logger.js'
import type { NativeStream, NativeTcpOptions } from '../native.js'
import { type Checked, checkInto, flag, integer, serviceName } from '../options.js'
import { overridden } from '../overrides.js'
import { type Host, Service } from '../service.js'
import { TcpConnection } from './connection.js'
import { type TcpServiceOptions, tcpServiceRules } from './options.js'

/**
 * What serves the connections of an app. What it throws, or what its promise rejects with, resets its
 * connection, with a line in the log, and no other. The connection goes on when it has returned; what it returns, or
 * its promise gives, means nothing.
 */
export type ConnectionHandler = (connection: TcpConnection) => unknown

/** How an app of connections runs. Times are in milliseconds; 0 is off. */
export interface TcpAppOptions extends TcpServiceOptions {
  /** For the names of its threads and for the log. Default: `tcp-app`. */
  name?: string
  /**
   * Whether our side of a connection stays open when the client has ended its own, as `allowHalfOpen` of Node.js.
   * Off, it is ended when all has been read. Default: false.
   */
  halfClose?: boolean
  /** What may wait for JavaScript; further connections are reset, counted as `refused` and logged. Default: 8,192. */
  maxQueued?: number
}

/** @internal The rules of {@link TcpAppOptions}. */
export const tcpAppRules = {
  ...tcpServiceRules,
  name: serviceName('tcp-app'),
  halfClose: flag(false),
  maxQueued: integer(8_192, 1, 1_048_576),
}

let apps = 0

/**
 * A service whose connections are streams of Node.js, over TLS or in the clear: `new TcpApp((connection) =>
 * connection.pipe(connection))`.
 */
export class TcpApp extends Service {
  readonly #id = ++apps
  readonly #handler: ConnectionHandler
  readonly #checked: Checked<typeof tcpAppRules>
  readonly #native: NativeTcpOptions
  #log: AnyLog = makeLog(false)

  /** @throws UsageError INVALID_OPTIONS */
  constructor(handler: ConnectionHandler, options: TcpAppOptions = {}) {
    super()
    const problems: OptionProblem[] = []
    const given = overridden.service(options, 'tcp-app')
    this.#checked = checkInto(tcpAppRules, given, problems)
    if (typeof handler !== 'function')
      problems.push({ path: 'handler', found: handler, allowed: 'a function of a connection' })
    if (problems.length > 0) throw overridden.refusal('TcpApp', problems, given)
    this.#handler = handler
    this.#native = nativeListening(this.#checked)
  }

  /** The service's name. */
  override get name(): string {
    return this.#native.name
  }

  /** @internal */
  protected override readonly speaks = 'anything'

  /** @internal */
  protected override readonly scheme = 'tcp'

  /** @internal */
  override addTo({ native, environment, log }: Host): number {
    this.#log = serviceLog(log, this.name)
    environment.crossing.streams.add(this.#id, (stream, text) => this.#accept(stream, text))
    return native.addTcpApp(environment.native, this.#id, this.#checked.maxQueued, this.#native)
  }

  /** @internal */
  override stopped({ crossing }: Environment): void {
    crossing.streams.remove(this.#id)
  }

  #accept(stream: NativeStream, text: string): void {
    const connection = new TcpConnection(stream, text, this.#checked.halfClose)
    const failed = (error: unknown) => {
      const { id, client } = connection
      // As the addon writes them.
      const host = client.host.includes(':') ? `[${client.host}]` : client.host
      const fields = { connection: id, client: `${host}:${client.port}` }
      this.#log.error(`${this.name}: handler: ${describe(error)}`, fields)
      connection.destroy(error instanceof Error ? error : new Error('the handler failed', { cause: error }))
    }
    try {
      const given: unknown = this.#handler(connection)
      if (!isThenable(given)) return
      whenSettled(
        given as object,
        (isFailure, error) => {
          // That its connection has failed is no fault of the handler's.
          if (isFailure && error !== connection.errored) failed(error)
        },
        failed,
      )
    } catch (error) {
      failed(error)
    }
  }
}
