// docs/compatibility.md shows what scripts/compatibility/program.mjs prints, and nothing else.
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'

interface Runtime {
  name: string
  title: string
  version: string
}
const scripts = (await import(new URL('../scripts/compatibility.mjs', import.meta.url).href)) as {
  RUNTIMES: Runtime[]
  section(runtime: Runtime, output: string): string
  written(): string
}
const { RUNTIMES, section, written } = scripts
const { NODE_VERSIONS } = (await import(new URL('../scripts/runtimes.mjs', import.meta.url).href)) as {
  NODE_VERSIONS: string[]
}

const parts = written()
  .split(/^(?=### )/m)
  .map((part) => `${part.trim()}\n`)

test('the page has a part for each runtime, and they are all that it says was printed', () => {
  expect(parts.map((part) => part.split('\n')[0])).toEqual(
    RUNTIMES.map(({ title, version }) => `### ${title} ${version}`),
  )
})

test('the oldest and the latest Node.js are among them, and engines allows each that is tested', () => {
  const { engines } = JSON.parse(readFileSync('package.json', 'utf8'))
  expect(engines.node).toBe(`^${NODE_VERSIONS[0]} || >=${NODE_VERSIONS[2]}`)
  expect(RUNTIMES.filter(({ name }) => name === 'node').map(({ version }) => version)).toEqual([
    NODE_VERSIONS[0],
    NODE_VERSIONS.at(-1),
  ])
})

describe.each(RUNTIMES)('$title $version', (runtime) => {
  test('prints what the page says, and ends with 0', { timeout: 240_000 }, async (context) => {
    const { reason, status, output, errors } = await tryIt(runtime)
    // Without the registry, or on a system for which the runtime has no package.
    if (reason !== undefined) {
      console.warn(`docs/compatibility.md is not compared: ${reason}`)
      return context.skip(reason)
    }
    expect({ status, errors }).toEqual({ status: 0, errors: '' })
    expect(parts).toContain(section(runtime, output))
  })
})

/** In a process of its own: fetching blocks. */
async function tryIt(runtime: Runtime) {
  const program = `import('./scripts/compatibility.mjs').then(({ tryRuntime }) =>
    console.log(JSON.stringify(tryRuntime(${JSON.stringify(runtime)}))))`
  const { stdout } = await promisify(execFile)(process.execPath, ['-e', program])
  return JSON.parse(stdout) as { reason?: string; status: number; output: string; errors: string }
}
