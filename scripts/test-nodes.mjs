// Runs vitest's tests on every Node.js that scripts/runtimes.mjs names, which it fetches from npm into
// target/runtimes, and prints a table. Ends with 0 if all pass on all of them.
//
//   npm run test:nodes [-- [--only 24]... [what vitest takes: files, --shard=1/3]]
//
// --only  the versions that begin so: 24, 22.12, 20.19.0
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { runMain } from './main.mjs'
import { fetchRuntime, NODE_VERSIONS } from './runtimes.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const reports = join(root, 'target', 'test-nodes')

/** What was asked for: the versions, and the rest, which is vitest's. @throws Error where no version is meant */
export function asked(args, versions = NODE_VERSIONS) {
  const only = []
  const rest = []
  for (let at = 0; at < args.length; at++) {
    const [, inline] = /^--only=(.*)$/.exec(args[at]) ?? []
    if (inline !== undefined) only.push(inline)
    else if (args[at] === '--only') only.push(args[++at] ?? '')
    else rest.push(args[at])
  }
  const begins = (version) => only.some((start) => `${version}.`.startsWith(`${start}.`))
  const chosen = only.length === 0 ? versions : versions.filter(begins)
  if (chosen.length === 0)
    throw new Error(`there is no such Node.js: it has to be one of ${versions.join(', ')}`)
  return { versions: chosen, rest }
}

/** Runs the tests on one version: its row of the table. */
async function run(version, rest) {
  const { file, reason } = fetchRuntime('node', version)
  if (file === undefined) return { version, result: reason, ok: false }
  const report = join(reports, `${version}.json`)
  rmSync(report, { force: true })
  // Types are the same on all of them, and `npm test` has checked them.
  const args = ['run', '--typecheck.enabled=false', '--reporter=default', '--reporter=json']
  args.push(`--outputFile.json=${report}`, ...rest)
  const began = Date.now()
  const status = await new Promise((settle) => {
    const child = spawn(file, ['node_modules/vitest/vitest.mjs', ...args], {
      cwd: root,
      stdio: 'inherit',
      // Programs that the tests start by name are to be of this Node.js too.
      env: { ...process.env, PATH: dirname(file) + delimiter + process.env.PATH },
    })
    child.on('error', (error) => settle(error.message))
    child.on('exit', (code, signal) => settle(signal ?? code))
  })
  const took = `${Math.round((Date.now() - began) / 1000)} s`
  if (!existsSync(report)) return { version, result: `ended with ${status} and no report`, took, ok: false }
  const { numPassedTests, numFailedTests, numPendingTests, testResults } = JSON.parse(readFileSync(report))
  const failed = testResults.filter((one) => one.status === 'failed').map(({ name }) => name)
  return {
    version,
    result: `${numPassedTests} passed, ${numFailedTests} failed, ${numPendingTests} skipped`,
    took,
    failed: failed.map((name) => name.replace(`${root}/`, '')),
    ok: status === 0,
  }
}

/** The rows as a table. */
export function table(rows) {
  return rows
    .map(({ version, result, took = '', failed = [], ok }) => {
      const line = `${ok ? 'ok   ' : 'FAILS'}  Node.js ${version.padEnd(8)}  ${result}  ${took}`
      return [line.trimEnd(), ...failed.map((file) => `         ${file}`)].join('\n')
    })
    .join('\n')
}

async function main() {
  const { versions, rest } = asked(process.argv.slice(2))
  mkdirSync(reports, { recursive: true })
  const rows = []
  for (const version of versions) {
    console.log(`\n=== Node.js ${version} ===`)
    rows.push(await run(version, rest))
  }
  console.log(`\n${table(rows)}`)
  if (rows.some(({ ok }) => !ok)) process.exitCode = 1
}

await runMain(import.meta.url, main, 'test:nodes')
