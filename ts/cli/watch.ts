import { type FSWatcher, watch } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { filesFrom } from '../modules/imports.js'
import { realOf } from '../modules/reason.js'
import { HttpProxy } from '../proxy.js'
import type { Service } from '../service.js'
import { Failure } from './failure.js'
import { told } from './load.js'

/** Editors write a file in several steps. */
const SETTLE_MS = 100

/** Reloads services when files change that their phases are from. */
export class Watching {
  readonly #services: readonly HttpProxy[]
  #watchers: FSWatcher[] = []
  #timer: NodeJS.Timeout | undefined
  #hasEnded = false

  constructor(services: readonly HttpProxy[]) {
    this.#services = services
  }

  begin(say: (line: string) => void): void {
    if (this.#hasEnded) return
    const files = new Set(
      this.#services.flatMap((service) => {
        const file = fileURLToPath(HttpProxy.moduleOf(service)!)
        return [file, ...filesFrom(realOf(file))]
      }),
    )
    // Folders, as many editors put another file in the place of the one; what else changes in them is nothing.
    const folders = new Set([...files].map((file) => dirname(file)))
    const changed = (folder: string, name: string | null) => {
      if (name === null || files.has(join(folder, name))) this.#changed(say)
    }
    this.#watchers = [...folders].flatMap((folder) => this.#watch(folder, (name) => changed(folder, name)))
  }

  #watch(folder: string, changed: (name: string | null) => void): FSWatcher[] {
    try {
      const watcher = watch(folder, (_event, name) => changed(name))
      watcher.on('error', () => watcher.close())
      return [watcher]
    } catch {
      // One that is not there, or not yet.
      return []
    }
  }

  #changed(say: (line: string) => void): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => void this.#reload(say), SETTLE_MS)
  }

  async #reload(say: (line: string) => void): Promise<void> {
    for (const service of this.#services) {
      const file = fileURLToPath(HttpProxy.moduleOf(service)!)
      try {
        await service.reload()
        say(`${service.name}: loaded anew`)
      } catch (error) {
        const why = (await told(file, error)).replace(/\n\s*/g, ' ')
        if (this.#hasEnded) return
        say(`${service.name}: not loaded anew, the one before goes on: ${why}`)
      }
    }
    if (this.#hasEnded) return
    // What is imported may have changed too.
    const before = this.#watchers
    this.begin(say)
    for (const watcher of before) watcher.close()
  }

  end(): void {
    this.#hasEnded = true
    clearTimeout(this.#timer)
    for (const watcher of this.#watchers) watcher.close()
  }
}

/** What of the services can be loaded anew. @throws Failure where nothing can */
export function watchable(services: readonly Service[], given: string): Watching {
  const found = services.filter((service): service is HttpProxy => HttpProxy.moduleOf(service) !== undefined)
  if (found.length > 0) return new Watching(found)
  throw new Failure(
    `--watch: ${given} has nothing that can be loaded anew: it may export phases, or a proxy of a module, new HttpProxy(new URL('./phases.js', import.meta.url))`,
    2,
  )
}
