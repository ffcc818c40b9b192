// scripts/build.mjs in a checkout of its own, where npm, cargo, napi, tsc and rolldown are stand-ins that write
// down that they were called.
import { spawn } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

let root = ''

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'millrace-build-'))
  cpSync('scripts', join(root, 'scripts'), { recursive: true })
  write('package.json', '{ "name": "millrace", "version": "1.0.0", "type": "module" }')
  write(
    'package-lock.json',
    JSON.stringify({ packages: { '': {}, 'node_modules/typescript': { version: '7' } } }),
  )
  write('Cargo.toml', '[workspace.package]\nrust-version = "1.88"\n')
  write('src/lib.rs', '')
  write('ts/index.ts', '')
  write('bin/cargo', '#!/bin/sh\nexit 0\n', 0o755)
  write('npm.js', NPM)
})

afterEach(() => rmSync(root, { recursive: true, force: true }))

describe('node scripts/build.mjs', () => {
  test('does all set-up in a fresh clone, and nothing when nothing changed', async () => {
    expect(await build()).toMatchObject({ status: 0 })
    expect(calls()).toEqual(['npm ci', 'napi build', 'tsc'])

    const again = await build()
    expect(again).toMatchObject({ status: 0, said: '' })
    expect(calls()).toHaveLength(3)
  })

  test('builds only what a change asks for', async () => {
    await build()
    write('ts/index.ts', 'export {}')
    await build()
    expect(calls().slice(3)).toEqual(['tsc'])

    write('src/lib.rs', '//')
    await build()
    expect(calls().slice(4)).toEqual(['napi build'])

    write('index.d.ts', 'edited by hand')
    await build()
    expect(calls().slice(5)).toEqual(['napi build'])

    rmSync(join(root, 'dist'), { recursive: true })
    await build()
    expect(calls().slice(6)).toEqual(['tsc'])
  })

  test('installs again when the lock file asks for something else', async () => {
    await build()
    const entry = { version: '8' }
    write('package-lock.json', JSON.stringify({ packages: { '': {}, 'node_modules/typescript': entry } }))
    await build()
    expect(calls().slice(3)).toContain('npm ci')
  })

  test('builds nothing twice when two run at once', async () => {
    const both = await Promise.all([build(), build()])
    expect(both.map(({ status }) => status)).toEqual([0, 0])
    expect(calls()).toEqual(['npm ci', 'napi build', 'tsc'])
  })

  test('takes over from a build that was killed', async () => {
    write('target/millrace-build/lock', '1 0 0')
    const { status, said } = await build()
    expect(status).toBe(0)
    expect(said).toContain('waiting for the build that process 1 is doing')
    expect(calls()).toEqual(['npm ci', 'napi build', 'tsc'])
    expect(existsSync(join(root, 'target/millrace-build/lock'))).toBe(false)
  })

  test('says in one sentence what to install when cargo is missing', async () => {
    rmSync(join(root, 'bin/cargo'))
    const { status, said } = await build()
    expect(status).toBe(1)
    expect(said).toBe(
      'build: millrace is built from Rust, and cargo was not found: install Rust 1.88 or later from ' +
        'https://rustup.rs, open a new shell, and run the command again.\n',
    )
    expect(calls()).toEqual([])
  })

  test('needs no cargo when nothing of Rust changed', async () => {
    await build()
    rmSync(join(root, 'bin/cargo'))
    expect(await build()).toMatchObject({ status: 0, said: '' })
  })

  test('fails with a build that fails, and builds again the next time', async () => {
    await build()
    write('src/lib.rs', 'FAIL')
    const failed = await build()
    expect(failed.status).toBe(1)
    expect(failed.said).toContain(
      'tool.js build --platform --release --no-js --no-const-enum ended with status 7.',
    )
    write('src/lib.rs', 'mended')
    expect(await build()).toMatchObject({ status: 0 })
    expect(calls().slice(3)).toEqual(['napi build', 'napi build'])
  })
})

// === the stand-ins ===

const NPM = `
import { appendFileSync, copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
appendFileSync('calls', 'npm ' + process.argv[2] + '\\n')
const tool = (name, bin, source) => {
  mkdirSync('node_modules/' + name, { recursive: true })
  const manifest = { name, version: '1', type: 'module', bin: { [bin]: 'tool.js' } }
  writeFileSync('node_modules/' + name + '/package.json', JSON.stringify(manifest))
  writeFileSync('node_modules/' + name + '/tool.js', source)
}
tool('@napi-rs/cli', 'napi', \`
  import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
  appendFileSync('calls', 'napi ' + process.argv[2] + '\\\\n')
  await new Promise((resolve) => setTimeout(resolve, 300))
  if (readFileSync('src/lib.rs', 'utf8') === 'FAIL') process.exit(7)
  for (const file of ['index.d.ts', 'millrace.test.node']) writeFileSync(file, 'built')
\`)
tool('typescript', 'tsc', \`
  import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs'
  appendFileSync('calls', 'tsc\\\\n')
  mkdirSync('dist/cjs', { recursive: true })
  writeFileSync('dist/index.js', '')
  writeFileSync('dist/cjs/native.d.ts', '')
\`)
mkdirSync('node_modules/rolldown', { recursive: true })
const manifest = { name: 'rolldown', version: '1', type: 'module', exports: './index.js' }
writeFileSync('node_modules/rolldown/package.json', JSON.stringify(manifest))
writeFileSync('node_modules/rolldown/index.js', \`
  export const rolldown = () => ({ write: () => ({ output: [] }), close() {} })
\`)
copyFileSync('package-lock.json', 'node_modules/.package-lock.json')
`

function write(path: string, text: string, mode?: number): void {
  mkdirSync(dirname(join(root, path)), { recursive: true })
  writeFileSync(join(root, path), text, { mode })
}

function calls(): string[] {
  const file = join(root, 'calls')
  return existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : []
}

function build(): Promise<{ status: number | null; said: string }> {
  const child = spawn(process.execPath, [join(root, 'scripts/build.mjs')], {
    env: { PATH: join(root, 'bin'), HOME: root, npm_execpath: join(root, 'npm.js') },
  })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (piece: string) => {
    said += piece
  })
  return new Promise((resolve) => {
    child.on('close', (status) => resolve({ status, said }))
  })
}
