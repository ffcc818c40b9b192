// Whether a module is the program, and not part of another.
import { realpathSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** Of `import.meta.url`. By real paths: Node resolves links in the URL of a module, and leaves them in `argv`. */
export function isMain(url) {
  try {
    return realpathSync(process.argv[1]) === realpathSync(fileURLToPath(url))
  } catch {
    return false // no file is run: `node --eval`
  }
}
