// Whether a module is the program, and not part of another; what it says of itself; and how one ends that fails.
import { readFileSync, realpathSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

/** Of `import.meta.url`. By real paths: Node resolves links in the URL of a module, and leaves them in `argv`. */
export function isMain(url) {
  try {
    return realpathSync(process.argv[1]) === realpathSync(fileURLToPath(url))
  } catch {
    return false // no file is run: `node --eval`
  }
}

/** With `--help`, prints what the file of a program begins with, which says what it is for, and ends. */
export function help(url) {
  if (!process.argv.slice(2).some((one) => one === '--help' || one === '-h')) return
  const [comment] = /^(?:\/\/.*\n)*/.exec(readFileSync(fileURLToPath(url), 'utf8'))
  process.stdout.write(comment.replace(/^\/\/ ?/gm, ''))
  process.exit(0)
}

/** What a program that does its work where it stands was asked for; ends it, with a sentence, for what there is not. */
export function flagsOf(url, name, options) {
  help(url)
  try {
    return parseArgs({ options }).values
  } catch (error) {
    console.error(`${name}: ${error.message}`)
    process.exit(1)
  }
}

/** Runs a program, if its module is that: what it throws is told in a sentence, after its name, and its status is 1. */
export async function runMain(url, main, name) {
  if (!isMain(url)) return
  help(url)
  try {
    await main()
  } catch (error) {
    console.error(name === undefined ? error.message : `${name}: ${error.message}`)
    process.exitCode = 1
  }
}
