// What is said of the binaries: their versions, and what they ask of a system.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
// @ts-expect-error a script, which has no types
import { platforms } from '../../scripts/platforms.mjs'
// @ts-expect-error a script, which has no types
import { complaints, needs, newer } from '../../scripts/symbols.mjs'
import { PLATFORMS, thisPlatform } from '../../ts/addon/platform.js'
import { VERSION } from '../../ts/addon/version.js'

test('the version is the same wherever it is written', () => {
  expect(JSON.parse(readFileSync('package.json', 'utf8')).version).toBe(VERSION)
  expect(readFileSync('Cargo.toml', 'utf8')).toContain(`[workspace.package]\nversion = "${VERSION}"`)
})

test('packages are made for the platforms that the loader knows', () => {
  expect(platforms).toEqual(PLATFORMS)
})

const { triple, os, libc } = thisPlatform()

test.runIf(os === 'linux')('what a binary needs is read from the file', () => {
  const { libraries, symbols } = needs(readFileSync(`millrace.${triple}.node`))
  expect(libraries.some((name: string) => name.startsWith('libc.'))).toBe(true)
  if (libc?.family === 'glibc') expect(symbols).toContainEqual({ name: 'memcpy', version: 'GLIBC_2.14' })
  expect(symbols.some(({ name }: { name: string }) => name.startsWith('napi_'))).toBe(false)
})

test('a binary is refused for a newer glibc, for any version on musl, and for a library that is not promised', () => {
  const found = {
    libraries: ['libc.so.6', 'libssl.so.3'],
    symbols: [
      { name: 'memcpy', version: 'GLIBC_2.14' },
      { name: 'fcntl64', version: 'GLIBC_2.28' },
      { name: 'stat64', version: 'GLIBC_2.33' },
      { name: '_Unwind_Resume', version: 'GCC_3.0' },
    ],
  }
  expect(complaints(found, 'gnu')).toEqual([
    'needs the library libssl.so.3',
    'needs stat64@GLIBC_2.33, and at most GLIBC_2.28 is promised',
  ])
  expect(complaints({ libraries: ['libc.so'], symbols: [] }, 'musl')).toEqual([])
  expect(complaints({ libraries: ['libc.so'], symbols: found.symbols }, 'musl')).toHaveLength(4)
})

test('versions are compared as numbers', () => {
  expect([newer('2.4', '2.28'), newer('2.28', '2.28'), newer('2.28.1', '2.28'), newer('3', '2.28')]).toEqual([
    false,
    false,
    true,
    true,
  ])
})

describe('a file that is no binary', () => {
  let folder: string
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'millrace-binaries-'))
    const whole = readFileSync(`millrace.${triple}.node`)
    writeFileSync(join(folder, 'empty.node'), '')
    writeFileSync(join(folder, 'text.node'), 'a text, which is longer than the head of a binary '.repeat(9))
    writeFileSync(join(folder, 'head.node'), whole.subarray(0, 40))
    writeFileSync(join(folder, 'cut.node'), whole.subarray(0, whole.length / 2))
    const zeros = Buffer.from(whole)
    writeFileSync(join(folder, 'zeros.node'), zeros.fill(0, whole.length / 2))
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  describe.runIf(os === 'linux')('is refused with a sentence', () => {
    test.each(['symbols', 'size'])('by scripts/%s.mjs', { timeout: 60_000 }, (name) => {
      for (const file of ['empty', 'text', 'head', 'cut', 'zeros', 'missing'].map((one) => `${one}.node`)) {
        const args = [`scripts/${name}.mjs`, join(folder, file)]
        const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
        expect(stderr, file).toMatch(new RegExp(`^${name}: ${file}: .+\n$`))
        expect(status, file).toBe(1)
      }
    })
  })

  test.runIf(os === 'linux')('is refused wherever a byte of it is another', () => {
    const whole = readFileSync(`millrace.${triple}.node`)
    const table = Number(whole.readBigUInt64LE(40))
    for (let at = table; at < whole.length; at += 7) {
      for (const value of [0, 0x7f, 0xff]) {
        const before = whole[at]!
        whole[at] = value
        try {
          needs(whole)
        } catch (error) {
          expect(error).not.toBeInstanceOf(RangeError)
          expect(error).not.toBeInstanceOf(TypeError)
        }
        whole[at] = before
      }
    }
  })
})

describe('scripts/pack.mjs', () => {
  let folder: string
  let out: string
  const run = (binaries: string, repository?: string) => {
    const { GITHUB_REPOSITORY: _, npm_execpath: __, ...env } = process.env
    if (repository !== undefined) env.GITHUB_REPOSITORY = repository
    const args = ['scripts/pack.mjs', '--binaries', binaries, '--out', out]
    return spawnSync(process.execPath, args, { encoding: 'utf8', env })
  }
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'millrace-pack-'))
    out = join(folder, 'out')
    mkdirSync(join(folder, 'none'))
    mkdirSync(join(folder, 'one'))
    writeFileSync(join(folder, 'one', 'millrace.linux-x64-gnu.node'), 'not a library')
    mkdirSync(join(out, 'content', 'mine'), { recursive: true })
    for (const name of [
      'mine.txt',
      'content/mine/file',
      'millrace-linux-x64-gnu-0.0.1.tgz',
      'millrace-like.tgz',
    ])
      writeFileSync(join(out, name), 'x')
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  test('leaves its folder as it is where there is nothing to pack', () => {
    const before = readdirSync(out, { recursive: true }).sort()
    const { status, stderr } = run(join(folder, 'none'))
    expect(status).toBe(1)
    expect(stderr).toContain('there is no millrace.PLATFORM.node in')
    expect(readdirSync(out, { recursive: true }).sort()).toEqual(before)
  })

  test.skipIf(process.platform === 'win32')('leaves its folder as it is where npm fails', () => {
    const before = readdirSync(out, { recursive: true }).sort()
    writeFileSync(join(folder, 'npm'), '#!/bin/sh\necho no >&2\nexit 1\n', { mode: 0o755 })
    const path = process.env.PATH
    process.env.PATH = `${folder}:${path}`
    const { status, stderr } = run(join(folder, 'one'))
    process.env.PATH = path
    expect(status).toBe(1)
    expect(stderr).toMatch(/^pack: npm pack failed in .*: no/)
    expect(readdirSync(out, { recursive: true }).sort()).toEqual(before)
  })

  test('replaces what it has packed before, and nothing else', { timeout: 60_000 }, () => {
    expect(run(join(folder, 'one'), 'someone/millrace')).toMatchObject({ status: 0, stderr: '' })
    expect(readdirSync(out).sort()).toEqual(
      [
        'content',
        `millrace-${VERSION}.tgz`,
        `millrace-linux-x64-gnu-${VERSION}.tgz`,
        'millrace-like.tgz',
        'mine.txt',
      ].sort(),
    )
    expect(readdirSync(join(out, 'content')).sort()).toEqual(['linux-x64-gnu', 'millrace', 'mine'])
    for (const name of ['millrace', 'linux-x64-gnu']) {
      const manifest = JSON.parse(readFileSync(join(out, 'content', name, 'package.json'), 'utf8'))
      expect(manifest.repository.url).toBe('git+https://github.com/someone/millrace.git')
    }
  })

  test.each([undefined, 'someone/millrace'])(
    'leaves no link dead, in the repository %s',
    { timeout: 60_000 },
    (one) => {
      expect(run(join(folder, 'one'), one)).toMatchObject({ status: 0, stderr: '' })
      const root = join(out, 'content', 'millrace')
      const pages = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((name) =>
        name.endsWith('.md'),
      )
      expect(pages).toContain(join('docs', 'install.md'))
      const links = pages.flatMap((page) =>
        [...readFileSync(join(root, page), 'utf8').matchAll(/\]\(([^)\s]+)\)/g)].map(
          ([, link]) => [page, link!] as const,
        ),
      )
      const dead = links.filter(
        ([page, link]) =>
          !/^(https?:|#)/.test(link) && !existsSync(join(root, dirname(page), link.replace(/#.*/, ''))),
      )
      expect(dead).toEqual([])
      const base = `https://github.com/someone/millrace/blob/v${VERSION}/`
      const own = links.flatMap(([, link]) => (link.startsWith(base) ? [link.slice(base.length)] : []))
      expect(own.includes('examples/demo.ts')).toBe(one !== undefined)
      for (const link of own) expect(existsSync(link.replace(/#.*/, '')), link).toBe(true)
      expect(readFileSync(join(root, 'README.md'), 'utf8')).toContain('](docs/install.md)')
    },
  )
})
