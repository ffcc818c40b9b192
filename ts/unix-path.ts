/** The most bytes of a path on this system, by the address of a Unix socket (`sun_path`). */
export const maxUnixPath = (): number => (process.platform === 'linux' ? 107 : 103)

const ABSOLUTE = { path: 'an absolute path', pathOrName: 'an absolute path, or on Linux @name' }

/**
 * What would be allowed where this is not what takes one: an absolute path, as a relative one is another file
 * in another folder, or the name of a socket that has no file.
 */
export function unixPathProblem(path: string, taken: keyof typeof ABSOLUTE): string | undefined {
  const isName = taken === 'pathOrName' && path.startsWith('@')
  const place = isName ? path.slice(1) : path
  if (isName ? place === '' : !place.startsWith('/') || place === '/') return ABSOLUTE[taken]
  if (/[\0\n]/.test(place)) return `${ABSOLUTE[taken]}, without NUL or a line break`
  if (Buffer.byteLength(place) <= maxUnixPath()) return undefined
  return `a ${isName ? 'name' : 'path'} of at most ${maxUnixPath()} bytes, as the address of a Unix socket`
}
