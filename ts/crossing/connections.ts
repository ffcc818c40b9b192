/** The connection of a client, as sessions show it. */
export class Connection {
  readonly id: string
  requests = 0
  readonly data = new Map<unknown, unknown>()
  readonly #keepAliveMs: number
  /** Its requests that have not ended. */
  #live = 0
  #idleSince = 0

  constructor(id: string, keepAliveMs: number) {
    this.id = id
    this.#keepAliveMs = keepAliveMs
  }

  /** @internal A request of it begins. */
  static enter(connection: Connection, requests: number): void {
    connection.#live++
    connection.requests = Math.max(connection.requests, requests)
  }

  /** @internal A request of it has ended. */
  static exit(connection: Connection): void {
    connection.#live--
    connection.#idleSince = Date.now()
  }

  /** @internal Whether it has been idle for longer than the addon keeps one. */
  static isGone(connection: Connection): boolean {
    if (connection.#live > 0 || connection.#keepAliveMs === 0) return false
    return Date.now() - connection.#idleSince > connection.#keepAliveMs + SWEEP_MS
  }
}

/** Time between two looks at idle connections, and what is added to their keep-alive time. */
const SWEEP_MS = 30_000

/**
 * The connections that phases have asked for. One goes when its last request ends, or, as nothing
 * tells of a connection that closes while it is idle, when it has been idle for too long to be open.
 */
export class Connections {
  readonly #byId = new Map<string, Connection>()
  #sweep: NodeJS.Timeout | undefined

  get size(): number {
    return this.#byId.size
  }

  has(id: string): boolean {
    return this.#byId.has(id)
  }

  /** The connection of a request; to be released when it ends. */
  open(id: string, requests: number, keepAliveMs: number): Connection {
    const connection = this.#byId.get(id) ?? new Connection(id, keepAliveMs)
    this.#byId.set(id, connection)
    Connection.enter(connection, requests)
    this.#sweep ??= setInterval(() => this.sweep(), SWEEP_MS).unref()
    return connection
  }

  release(connection: Connection, isLast: boolean): void {
    Connection.exit(connection)
    if (isLast) this.#drop(connection.id)
  }

  /** Forgets those that must be closed by now. */
  sweep(): void {
    for (const [id, connection] of this.#byId) if (Connection.isGone(connection)) this.#drop(id)
  }

  #drop(id: string): void {
    this.#byId.delete(id)
    if (this.#byId.size > 0) return
    clearInterval(this.#sweep)
    this.#sweep = undefined
  }
}
