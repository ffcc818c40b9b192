// Whether a module is the program, and not part of another; and how one ends that fails.
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

/** Runs a program, if its module is that: what it throws is told in a sentence, after its name, and its status is 1. */
export async function runMain(url, main, name) {
  if (!isMain(url)) return
  try {
    await main()
  } catch (error) {
    console.error(name === undefined ? error.message : `${name}: ${error.message}`)
    process.exitCode = 1
  }
}
