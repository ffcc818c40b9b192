// The examples of docs/testing.md, run as they stand by the runners that they are for.
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, expect, onTestFinished, test } from 'vitest'
import { definePhases, HttpPeer } from '../ts/index.js'
import { inject } from '../ts/testing/index.js'

const page = readFileSync('docs/testing.md', 'utf8')
const [gateway, vitest, nodeTest, leaving] = [...page.matchAll(/```js\n(.+?)```/gs)].map(([, code]) => code!)
let folder: string

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-'))
  mkdirSync(`${folder}/node_modules`)
  symlinkSync(process.cwd(), `${folder}/node_modules/millrace`)
  symlinkSync(`${process.cwd()}/node_modules/vitest`, `${folder}/node_modules/vitest`)
  writeFileSync(`${folder}/package.json`, '{ "type": "module" }')
  writeFileSync(`${folder}/gateway.js`, gateway!)
  return () => rmSync(folder, { recursive: true })
})

function run(file: string, program: string, args: string[]) {
  writeFileSync(`${folder}/${file}`, program)
  onTestFinished(() => rmSync(`${folder}/${file}`))
  // Neither is to take itself for a part of the run that it is started from.
  const env: NodeJS.ProcessEnv = { ...process.env, NO_COLOR: '1' }
  for (const name of Object.keys(env))
    if (/^(?:VITEST|NODE_TEST|NODE_OPTIONS|FORCE_COLOR)/.test(name)) delete env[name]
  return spawnSync(process.execPath, args, { cwd: folder, encoding: 'utf8', timeout: 20_000, env })
}

test('with vitest', () => {
  const runner = `${process.cwd()}/node_modules/vitest/vitest.mjs`
  const { stdout, stderr, status } = run('gateway.test.js', vitest!, [runner, 'run', '--root', folder])
  expect(stdout + stderr).toMatch(/Tests +3 passed \(3\)/)
  expect(status).toBe(0)
})

test('with node:test', () => {
  const { stdout, stderr, status } = run('gateway.test.mjs', nodeTest!, ['--test', 'gateway.test.mjs'])
  expect(stdout + stderr).toMatch(/pass 2\n/)
  expect(status).toBe(0)
})

test('of a client that leaves', async () => {
  const phases = definePhases({ upstreamPeer: new HttpPeer('10.0.0.1:80') })
  const program = leaving!.replace(/^\/\/.+$/m, 'return r')
  const { error, response } = await new Function('inject', 'gateway', `return (async () => {${program}})()`)(
    inject,
    phases,
  )
  expect([error.code, response.status]).toEqual(['CLIENT_ABORTED', 0])
})

test('each option and each member of the result is on the page', () => {
  const members = (file: string, name: string) => {
    const [, body] = new RegExp(`export (?:interface|class) ${name}\\b.*? {\\n(.+?)\\n}`, 's').exec(
      readFileSync(file, 'utf8'),
    )!
    return [...body!.matchAll(/^ {2}(?:readonly )?(\w+)(?:\??: |\(\): )/gm)].map(([, member]) => member!)
  }
  const [, options, result] = /(\| `request` \|.+?)\n\n(.+)/s.exec(page)!
  for (const name of members('ts/testing/options.ts', 'InjectRequest'))
    expect(options).toContain(`\`${name}\``)
  for (const [file, name] of [
    ['inject', 'Injected'],
    ['inject', 'InjectedSubrequest'],
    ['inject', 'LogLine'],
    ['calls', 'PhaseCall'],
  ])
    for (const member of members(`ts/testing/${file}.ts`, name!)) expect(result).toContain(`\`${member}\``)
})
