import type { OptionProblem } from './errors.js'
import type { NativeOriginOptions } from './native.js'
import { checkInto, integer, ms, serviceName } from './options.js'
import { overridden } from './overrides.js'
import { type Host, Service } from './service.js'

/** How the demo's origin runs. */
export interface DemoOriginOptions {
  /** For the names of its threads and for the log. Default: `demo-origin`. */
  name?: string
  /** Threads of its runtime, 1–1,024. Default: 1. */
  threads?: number
  /** Client connections at once; further ones are closed. Default: 1,024. */
  maxConnections?: number
  /** Between two lines of `/stream`, in milliseconds. Default: 200. */
  pauseMs?: number
}

const rules = {
  name: serviceName('demo-origin'),
  threads: integer(1, 1, 1024),
  maxConnections: integer(1_024, 1, 2 ** 31 - 1),
  pauseMs: ms(200, 'none'),
}

/** @internal The rules of {@link DemoOriginOptions}. */
export { rules as demoOriginRules }

/**
 * A small origin, for demos and tests of proxies: something that answers, with nothing to set up.
 * It is no web server for anybody else. `GET /` is a page, `GET /stream` comes line by line,
 * `POST /echo` sends the body back while it arrives, `GET /ws` is a WebSocket that sends each message
 * back, `GET /missing` is a 404, and any other GET shows method, target and headers as they arrived.
 */
export class DemoOrigin extends Service {
  readonly #options: NativeOriginOptions

  /** @throws UsageError INVALID_OPTIONS */
  constructor(options: DemoOriginOptions = {}) {
    super()
    const problems: OptionProblem[] = []
    const given = overridden.service(options, 'demo-origin')
    this.#options = checkInto(rules, given, problems)
    if (problems.length > 0) throw overridden.refusal('DemoOrigin', problems, given)
  }

  /** The service's name. */
  override get name(): string {
    return this.#options.name
  }

  /** @internal */
  protected override readonly speaks = 'http/1.1'

  /** @internal */
  override addTo({ native }: Host): number {
    return native.addDemoOrigin(this.#options)
  }
}
