import type { OptionProblem } from './errors.js'
import { flag, ms, type Rule, text } from './options.js'
import { has, unsupported } from './platform.js'

/** How one process takes over from another. */
export interface UpgradeOptions {
  /**
   * The path of a socket by which a new process can take over from this one without losing a request.
   * Not on Windows. Its file can be used by this user and root only. Default: none.
   */
  upgradeSocket?: string
  /**
   * Takes over, at the start, from the process at `upgradeSocket`: gets its listening sockets, and has
   * it close once this server serves. With nobody there it is a plain start and a warning.
   * Default: false.
   */
  upgrade?: boolean
  /**
   * How long a new process may take to start once it has the sockets, and how long SIGQUIT waits for
   * one to come, in milliseconds. Then this server goes on as ever. Default: 60,000.
   */
  upgradeTimeoutMs?: number
}

/** @internal The same, complete; without a socket its path is empty. */
export type Upgrade = Required<UpgradeOptions>

/** What fits the address of a Unix socket on every system that has them. */
const MAX_PATH = 103

/** @internal The rules of {@link UpgradeOptions}. */
export const upgradeRules = {
  upgradeSocket: socket(undefined),
  upgrade: flag<boolean>(false),
  upgradeTimeoutMs: ms(60_000, 'at once'),
}

function socket(fallback: string | undefined): Rule<string | undefined> {
  const allowed = `an absolute path of at most ${MAX_PATH} bytes`
  const fits = (path: string) => /^\/[^\0]+$/.test(path) && Buffer.byteLength(path) <= MAX_PATH
  const plain = text(fallback, allowed, fits)
  return {
    ...plain,
    schema: { ...plain.schema, pattern: '^/.' },
    check(value, path, problems) {
      if (!has('upgradeSocket')) problems.push(unsupported(path, value, 'no socket'))
      return plain.check(value, path, problems)
    },
  }
}

/** @internal What is wrong with options that are well by themselves. */
export function upgradeProblems(upgrade: boolean, socket: string | undefined): OptionProblem[] {
  if (!upgrade || socket !== undefined) return []
  return [{ path: 'upgrade', found: true, allowed: 'true together with upgradeSocket' }]
}
