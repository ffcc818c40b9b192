/** What may be wrong with the path of a Unix socket: it has to fit the address of one (`sun_path`). */

/** The most bytes of a path on this system. */
export const maxUnixPath = (): number => (process.platform === 'linux' ? 107 : 103)

/** Whether a path, or a name after its `@`, fits. */
export function fitsUnix(path: string): boolean {
  return Buffer.byteLength(path.startsWith('@') ? path.slice(1) : path) <= maxUnixPath()
}

/** What is allowed of its length, in words. */
export const unixLength = (): string => `at most ${maxUnixPath()} bytes, as the address of a Unix socket`
