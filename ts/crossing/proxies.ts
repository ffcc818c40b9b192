import type { ProxyEntry } from './state.js'

/** The phases that requests may come for, by their numbers. */
export class Proxies {
  /** Called when the last of them have had their last request. */
  whenRetired: (() => void) | undefined
  readonly #entries = new Map<number, ProxyEntry>()
  /** How often each has been added without being retired since: a server may be started again before that is told. */
  readonly #added = new Map<number, number>()

  has(id: number): boolean {
    return this.#entries.has(id)
  }

  get(id: number): ProxyEntry | undefined {
    return this.#entries.get(id)
  }

  add(entry: ProxyEntry): void {
    const { id } = entry
    this.#entries.set(id, entry)
    this.#added.set(id, (this.#added.get(id) ?? 0) + 1)
  }

  /** The server of a proxy has stopped: forgets it, at once or when the last of its requests have ended. */
  retire(entry: ProxyEntry, afterMs: number): void {
    const retire = () => {
      if (entry.sessions === 0) this.#entries.delete(entry.id)
      else setTimeout(retire, afterMs).unref()
    }
    if (afterMs === 0) retire()
    else setTimeout(retire, afterMs).unref()
  }

  /** No request will come for these phases any more; some may still be in an async `logging`. */
  retired(id: number): void {
    const left = (this.#added.get(id) ?? 1) - 1
    if (left > 0) {
      this.#added.set(id, left)
      return
    }
    this.#added.delete(id)
    this.#entries.delete(id)
    if (this.#entries.size === 0) this.whenRetired?.()
  }
}
