// Runs scripts/compatibility/program.mjs in Node.js, Bun and Deno, which it fetches into target/runtimes, and
// prints what each of them says. Ends with 0 if all goes well in all of them.
//
//   node scripts/compatibility.mjs [--only node|bun|deno]... [--nodes ends|all] [--write]
//
// --only   these alone
// --nodes  the oldest and the latest Node.js (`ends`, the default), or each of scripts/runtimes.mjs
// --write  writes what they say into docs/compatibility.md
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { runMain } from './main.mjs'
import { BUN_VERSION, DENO_VERSION, fetchRuntime, NODE_VERSIONS } from './runtimes.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const program = 'scripts/compatibility/program.mjs'
const page = join(root, 'docs/compatibility.md')

/** The runtimes of the page, in order. */
export const RUNTIMES = [
  { name: 'node', title: 'Node.js', version: NODE_VERSIONS[0] },
  { name: 'node', title: 'Node.js', version: NODE_VERSIONS.at(-1) },
  { name: 'bun', title: 'Bun', version: BUN_VERSION },
  { name: 'deno', title: 'Deno', version: DENO_VERSION },
]

/** What the program says in a runtime, and the status it ends with; `{ reason }` where there is no such runtime. */
export function tryRuntime({ name, version }) {
  const { file, reason } = fetchRuntime(name, version)
  if (file === undefined) return { reason }
  const args = [...(name === 'deno' ? ['run', '--allow-all'] : []), program]
  const { status, signal, stdout, stderr } = spawnSync(file, args, {
    cwd: root,
    encoding: 'utf8',
    timeout: 120_000,
    env: { ...process.env, NO_COLOR: '1', NODE_OPTIONS: '', DENO_NO_UPDATE_CHECK: '1' },
  })
  return { status: status ?? signal, output: stdout, errors: stderr }
}

/** The page's part about a runtime. */
export const section = ({ title, version }, output) =>
  `### ${title} ${version}\n\n\`\`\`text\n${output}\`\`\`\n`

const START = '<!-- what the program said: npm run compatibility -- --write -->\n'
const END = '<!-- the end of what it said -->\n'

/** The page's parts as they are. */
export function written() {
  const text = readFileSync(page, 'utf8')
  return text.slice(text.indexOf(START) + START.length, text.indexOf(END)).trim()
}

function main() {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', multiple: true },
      nodes: { type: 'string', default: 'ends' },
      write: { type: 'boolean' },
    },
  })
  const nodes = NODE_VERSIONS.map((version) => ({ name: 'node', title: 'Node.js', version }))
  const all =
    values.nodes === 'all' ? [...nodes, ...RUNTIMES.filter(({ name }) => name !== 'node')] : RUNTIMES
  const sections = []
  for (const runtime of all.filter(({ name }) => values.only?.includes(name) ?? true)) {
    const { reason, status, output, errors } = tryRuntime(runtime)
    console.log(`\n${runtime.title} ${runtime.version}\n${reason ?? output}`)
    if (errors) console.error(errors)
    if (status !== 0) process.exitCode = 1
    if (status !== 0 && reason === undefined) console.log(`ended with ${status}`)
    sections.push(section(runtime, output ?? `${reason}\n`))
  }
  if (!values.write) return
  const text = readFileSync(page, 'utf8')
  const from = text.indexOf(START) + START.length
  writeFileSync(page, `${text.slice(0, from)}\n${sections.join('\n')}\n${text.slice(text.indexOf(END))}`)
}

await runMain(import.meta.url, main, 'compatibility')
