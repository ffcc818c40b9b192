// Prints how large the addon is, and how long `import 'millrace'` takes on top of Node; fails where the first is
// beyond its bound, or the second far beyond it.
//
//   node scripts/size.mjs [FILE.node]
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { help } from './main.mjs'
import { needs, sectionsOf } from './symbols.mjs'

/**
 * 10 MiB. It was 7.05 MB with HTTP/1.1, HTTP/2, TLS and all of the proxy (3.1 MB as npm packs it), and 9.01 MB with
 * what a server has beside it: apps, connections without HTTP, the PROXY protocol, hand-over to another process, phases
 * in several threads. Each installation and image pays for it. A change that needs more says in its message what
 * for, and raises this.
 */
const BOUND = 10 * 1024 * 1024
/** What is promised, and what fails here: other work on a machine must not fail a change. */
const [IMPORT_MS, FAIL_MS] = [30, 120]
const RUNS = 15

help(import.meta.url)
const root = join(import.meta.dirname, '..')
const file = process.argv[2] ?? join(root, newest())
const { bytes, stripped } = look()
const mega = (size) => `${(size / 1e6).toFixed(2)} MB`
console.log(
  `size: ${basename(file)} ${mega(bytes.length)}${stripped ? ', stripped' : ''}, at most ${mega(BOUND)}`,
)
if (bytes.length > BOUND)
  fail(`${basename(file)} is larger than ${mega(BOUND)}: scripts/size.mjs has the reason`)
if (!stripped) fail(`${basename(file)} is not stripped`)

for (const [name, program] of [
  ["import 'millrace'", "await import('millrace')"],
  [
    "require('millrace')",
    "process.getBuiltinModule('module').createRequire(process.cwd() + '/x')('millrace')",
  ],
]) {
  const code = `const start = performance.now(); ${program}; console.log(performance.now() - start)`
  const args = ['--input-type=module', '--eval', code]
  const times = Array.from({ length: RUNS }, () =>
    Number(spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8' }).stdout),
  ).sort((a, b) => a - b)
  const [least, median] = [times[0], times[(RUNS - 1) / 2]].map((time) => time.toFixed(1))
  console.log(`size: ${name} takes ${median} ms (least ${least}, promised ${IMPORT_MS})`)
  if (!(times[0] <= FAIL_MS)) fail(`${name} takes far more than ${IMPORT_MS} ms`)
}

function look() {
  try {
    const bytes = readFileSync(file)
    if (process.platform !== 'linux') return { bytes, stripped: true }
    needs(bytes) // fails for one that is damaged, whose size says nothing
    return { bytes, stripped: !sectionsOf(bytes).some(({ type }) => type === 2) } // SHT_SYMTAB
  } catch (error) {
    fail(`${basename(file)}: ${error.message}`)
  }
}

function newest() {
  return (
    readdirSync(root).filter((name) => name.endsWith('.node'))[0] ?? fail('there is no addon: npm run build')
  )
}

function fail(reason) {
  console.error(`size: ${reason}`)
  process.exit(1)
}
