// What a set of files holds, as one hash. By content: a checkout touches times without changing anything.
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join, sep } from 'node:path'

/** Every file beneath `path` (or `path` itself), relative to `root`, in a fixed order. */
export function filesUnder(root, path, skip = () => false) {
  const found = statSync(join(root, path), { throwIfNoEntry: false })
  if (found === undefined || skip(path)) return []
  if (!found.isDirectory()) return [path.split(sep).join('/')]
  return readdirSync(join(root, path))
    .sort()
    .flatMap((name) => filesUnder(root, join(path, name), skip))
}

/** A hash over names and contents of `files`, and over `extra` (whatever else decides the result). */
export function fingerprint(root, files, extra = []) {
  const hash = createHash('sha256')
  for (const text of extra) hash.update(`${text}\0`)
  for (const file of files) {
    const content = readFileSync(join(root, file))
    hash.update(`${file}\0${content.length}\0`).update(content)
  }
  return hash.digest('hex')
}
