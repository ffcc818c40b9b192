// What the release decides, and that the workflows call nothing that is not there.
import { spawnSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const script = (name: string) => import(new URL(`../../scripts/release/${name}.mjs`, import.meta.url).href)
const { sections, newest, notesOf } = await script('changelog')
const { complaints, filesOf, stated } = await script('version')
const { build, test: places, NODES, PLATFORMS } = await script('matrix')
const { commands } = await script('build')
const { order, packageOf, tagOf } = await script('publish')
const { withBuiltIn } = await script('sbom')
const { linksOf } = await script('repository')
const { withLinks } = await script('links')
const { fitting } = await script('try-packages')

const CHANGELOG = `# Changelog

All of it.

## [Unreleased]

### Added

- something

## [0.2.0-rc.1] - 2026-11-20

### Fixed

- a [link](docs/x.md)

## 0.1.0 - 2026-10-01

- the first

[0.2.0-rc.1]: https://example.test/compare
`

describe('CHANGELOG.md', () => {
  test('is taken apart by its headings, with brackets or without', () => {
    const found = sections(CHANGELOG).map(({ version, date }: { version: string; date?: string }) => [
      version,
      date,
    ])
    expect(found).toEqual([
      ['Unreleased', undefined],
      ['0.2.0-rc.1', '2026-11-20'],
      ['0.1.0', '2026-10-01'],
    ])
    expect(newest(CHANGELOG).version).toBe('0.2.0-rc.1')
  })

  test('has the notes of a version, without the links of the whole', () => {
    expect(notesOf(CHANGELOG, '0.2.0-rc.1')).toBe('### Fixed\n\n- a [link](docs/x.md)')
    expect(notesOf(CHANGELOG, '0.1.0')).toBe('- the first')
  })

  test('names no version while nothing but Unreleased has a heading', () => {
    expect(newest('# Changelog\n\n## Unreleased\n\n- x\n')).toBeUndefined()
  })

  test.each([
    '## 1.2 - 2026-01-01',
    '## [1.2.3]',
    '## v1.2.3 - 2026-01-01',
    '## 1.2.3 - January',
    '## The third',
    '## 1.2.3 - 2026-13-45',
    '## 1.2.3 - 2026-02-29',
    '##1.2.3 - 2026-01-01',
    '### 1.2.3 - 2026-01-01',
    '# [1.2.3]',
    ' ## [1.2.3] - 2026-01-01',
  ])('has no heading such as %s', (heading) => {
    expect(() => sections(`# Changelog\n\n${heading}\n`)).toThrow(heading)
  })

  test.each([
    ['9.9.9', 'no section for 9.9.9'],
    ['0.2.0', 'says nothing of 0.2.0'],
  ])('of %s: %s', (version, message) => {
    expect(() => notesOf('## 0.2.0 - 2026-01-01\n\n## 0.1.0 - 2025-01-01\n\n- x', version)).toThrow(message)
  })

  test('may show headings in code and in comments', () => {
    const code = '- as in\n\n  ````md\n```\n## A heading\n### 9.9.9\n  ````\n\n<!--\n## 9.9.9\n-->'
    const found = sections(
      `## Unreleased\n\n## 1.2.3 - 2026-01-01\n\n${code}\n\n## 1.2.2 - 2025-01-01\n\n- x\n`,
    )
    expect(found.map(({ version }: { version: string }) => version)).toEqual(['Unreleased', '1.2.3', '1.2.2'])
    expect(found[1].body).toBe(code)
  })

  test('is refused where code does not end, which would hide every heading beneath', () => {
    expect(() => sections('## 1.2.3 - 2026-01-01\n\n```\nx\n\n## 1.2.2 - 2025-01-01\n')).toThrow('no end')
  })

  test('of headings alone says nothing', () => {
    expect(() => notesOf('## 1.2.3 - 2026-01-01\n\n### Added\n\n### Fixed\n', '1.2.3')).toThrow(
      'says nothing of 1.2.3',
    )
  })

  test('of this checkout has the form', () => {
    expect(sections(readFileSync('CHANGELOG.md', 'utf8'))[0].version).toBe('Unreleased')
  })
})

describe('the version', () => {
  const files = {
    manifest: {
      version: '1.2.3',
      optionalDependencies: { '@millrace/linux-x64-gnu': '1.2.3', other: '0.1.0' },
    },
    lock: { version: '1.2.3', packages: { '': { version: '1.2.3' } } },
    cargo:
      '[workspace]\nmembers = []\n\n[workspace.package]\nversion = "1.2.3"\n\n[package]\nname = "millrace"\n',
    cargoLock:
      '[[package]]\nname = "itoa"\nversion = "9.0.0"\n\n[[package]]\nname = "millrace"\nversion = "1.2.3"\n',
    loader: "/** Ours. */\nexport const VERSION = '1.2.3'\n",
  }

  test('is released when every file says it', () => {
    expect(complaints('1.2.3', files)).toEqual([])
  })

  test('is refused with each file that says another', () => {
    expect(complaints('1.3.0', files)).toHaveLength(Object.keys(stated(files)).length)
    expect(complaints('1.2.3', { ...files, cargo: files.cargo.replace('1.2.3', '1.2.2') })).toEqual([
      'Cargo.toml, workspace.package says 1.2.2, and CHANGELOG.md 1.2.3',
    ])
    const optionalDependencies = { '@millrace/linux-x64-gnu': '1.2.2' }
    expect(complaints('1.2.3', { ...files, manifest: { version: '1.2.3', optionalDependencies } })).toEqual([
      'package.json, @millrace/linux-x64-gnu says 1.2.2, and CHANGELOG.md 1.2.3',
    ])
    expect(complaints('1.2.3', { ...files, loader: files.loader.replace('1.2.3', '1.2.2') })).toEqual([
      'ts/addon/version.ts says 1.2.2, and CHANGELOG.md 1.2.3',
    ])
    expect(complaints('1.2.3', { ...files, cargo: '' })).toEqual([
      'Cargo.toml, workspace.package says nothing, and CHANGELOG.md 1.2.3',
    ])
  })

  test('is not named where its notes could not be written afterwards', () => {
    const folder = mkdtempSync(join(tmpdir(), 'millrace-version-'))
    try {
      cpSync('scripts', join(folder, 'scripts'), { recursive: true })
      for (const name of ['package.json', 'package-lock.json', 'Cargo.toml', 'Cargo.lock'])
        cpSync(name, join(folder, name))
      cpSync('ts/addon/version.ts', join(folder, 'ts/addon/version.ts'))
      const { version } = filesOf('.').manifest
      const printed = (notes: string) => {
        writeFileSync(
          join(folder, 'CHANGELOG.md'),
          `## Unreleased\n\n## [${version}] - 2026-01-31\n\n${notes}`,
        )
        const args = [join(folder, 'scripts/release/version.mjs')]
        const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
        return { status, stdout, stderr }
      }
      expect(printed('- x\n')).toEqual({ status: 0, stdout: `${version}\n`, stderr: '' })
      const empty = printed('')
      expect(empty).toMatchObject({ status: 1, stdout: '' })
      expect(empty.stderr).toContain(`says nothing of ${version}`)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })

  test('is the same in all files of this checkout', () => {
    const here = filesOf('.')
    expect(complaints(here.manifest.version, here)).toEqual([])
  })
})

test('the list of the package has what is built into it, in the version that is', () => {
  const { lock } = filesOf('.')
  const { components } = withBuiltIn({ bomFormat: 'CycloneDX', components: [] }, lock, ['yaml', 'amaro'])
  for (const { name, version, purl, licenses } of components) {
    const text = readFileSync('dist/LICENSES.txt', 'utf8')
    expect(text).toContain(`${name} ${version}\n`)
    expect(purl).toBe(`pkg:npm/${name}@${version}`)
    expect(licenses[0].license.id).toMatch(/^(ISC|MIT)$/)
  }
  expect(components).toHaveLength(2)
})

describe('the matrix', () => {
  test('builds each platform once, and tries each on every Node.js', () => {
    expect(build().map(({ platform }: { platform: string }) => platform)).toEqual(Object.keys(PLATFORMS))
    expect(places()).toHaveLength(Object.keys(PLATFORMS).length * NODES.length)
  })

  test('tries Linux in images, on a machine of that architecture', () => {
    expect(places()).toContainEqual({
      platform: 'linux-arm64-musl',
      runner: 'ubuntu-24.04-arm',
      image: 'node:26-alpine',
    })
    expect(places()).toContainEqual({
      platform: 'linux-x64-gnu',
      runner: 'ubuntu-24.04',
      image: 'node:20-slim',
    })
    expect(places()).toContainEqual({ platform: 'win32-x64-msvc', runner: 'windows-2025', node: '24' })
  })

  test('has the platforms that packages are made for', () => {
    // The compatibility page names the same: each system with a cell that is not `no`.
    const page = readFileSync('docs/compatibility.md', 'utf8')
    for (const row of [
      '| x64 | glibc 2.28 or later, or musl | yes | yes |',
      '| arm64 | glibc 2.28 or later, or musl | yes | no |',
    ])
      expect(page).toContain(row)
  })

  test.runIf(existsSync('scripts/platforms.mjs'))('has those that the loader looks for', async () => {
    const { platforms } = await import(new URL('../../scripts/platforms.mjs', import.meta.url).href)
    expect(Object.keys(PLATFORMS).sort()).toEqual(Object.keys(platforms).sort())
  })

  test('looks at the symbols of what it builds for Linux', () => {
    const file = 'target/artifacts/millrace.linux-x64-musl.node'
    expect(commands('linux-x64-musl')).toEqual([
      ['scripts/cross.mjs', 'linux-x64-musl', 'target/artifacts'],
      ['scripts/symbols.mjs', file],
    ])
    expect(commands('darwin-arm64').flat()).toContain('aarch64-apple-darwin')
    expect(() => commands('linux-riscv64-gnu')).toThrow('there is no package for linux-riscv64-gnu')
  })

  test.each(['toString', 'constructor', '__proto__'])('has no %s', (name) => {
    expect(() => commands(name)).toThrow(`there is no package for ${name}`)
    const matrix = spawnSync(process.execPath, ['scripts/release/matrix.mjs', name], { encoding: 'utf8' })
    expect(matrix).toMatchObject({ status: 2, stdout: '', stderr: 'matrix: say build or test\n' })
  })
})

describe('publishing', () => {
  const all = [
    ...Object.keys(PLATFORMS).map((platform) => `millrace-${platform}-1.2.3.tgz`),
    'millrace-1.2.3.tgz',
  ]

  test('puts the root last, and leaves other files alone', () => {
    const sorted = order([...all, 'first-proxy.js'].reverse(), '1.2.3')
    expect(sorted).toHaveLength(all.length)
    expect(sorted.at(-1)).toBe('millrace-1.2.3.tgz')
  })

  test.each([
    ['a platform is missing', all.slice(1), 'no tarball of linux-x64-gnu'],
    ['the root is missing', all.slice(0, -1), 'no tarball of millrace'],
    [
      'one is of another version',
      all.map((name) => name.replace('darwin-x64-1.2.3', 'darwin-x64-1.2.2')),
      'not of version 1.2.3: millrace-darwin-x64-1.2.2.tgz',
    ],
    ['there are two of one', [...all, 'millrace-darwin-x64-1.2.2.tgz'], 'two tarballs'],
    [
      'there are two roots',
      ['millrace-1.2.2.tgz', ...all],
      'two tarballs of millrace: millrace-1.2.2.tgz, millrace-1.2.3.tgz',
    ],
  ])('refuses where %s', (_what, names, message) => {
    expect(() => order(names, '1.2.3')).toThrow(message)
  })

  test('knows packages by their tarballs, and who gets a version before its time', () => {
    expect(all.slice(-2).map(packageOf)).toEqual(['@millrace/win32-x64-msvc', 'millrace'])
    expect([tagOf('1.2.3'), tagOf('1.2.3-rc.1')]).toEqual(['latest', 'next'])
  })

  test.each([
    ['linux', 'x64', true, 'millrace-linux-x64-musl-1.2.3.tgz'],
    ['linux', 'arm64', false, 'millrace-linux-arm64-gnu-1.2.3.tgz'],
    ['darwin', 'arm64', false, 'millrace-darwin-arm64-1.2.3.tgz'],
    ['win32', 'x64', false, 'millrace-win32-x64-msvc-1.2.3.tgz'],
  ])('tries the packages for %s %s, musl %s', (platform, arch, musl, name) => {
    expect(fitting(all, { platform, arch, musl })).toEqual([name, 'millrace-1.2.3.tgz'])
    expect(() => fitting(all, { platform, arch: 'riscv64', musl })).toThrow('no tarball of')
  })
})

describe('the repository', () => {
  const here = { GITHUB_REPOSITORY: 'someone/millrace' }

  test('is where the packages are built', () => {
    expect(linksOf({})).toEqual({})
    expect(linksOf(here)).toEqual({
      repository: { type: 'git', url: 'git+https://github.com/someone/millrace.git' },
      homepage: 'https://github.com/someone/millrace#readme',
      bugs: 'https://github.com/someone/millrace/issues',
    })
    const elsewhere = linksOf({ ...here, GITHUB_SERVER_URL: 'https://git.example.test' })
    expect(elsewhere.repository.url).toBe('git+https://git.example.test/someone/millrace.git')
  })

  test.each(['millrace', 'a/b/c', 'a/b"', '../x', 'a b/c'])('is not %s', (name) => {
    expect(() => linksOf({ GITHUB_REPOSITORY: name })).toThrow('OWNER/NAME')
  })

  describe('of tarballs', () => {
    let folder: string
    beforeAll(() => {
      folder = mkdtempSync(join(tmpdir(), 'millrace-publish-'))
    })
    afterAll(() => rmSync(folder, { recursive: true, force: true }))

    /** What publish.mjs says of tarballs whose manifests have `links`; npm is one that would be seen. */
    function publish(links: object, env: Record<string, string>) {
      const { version } = filesOf('.').manifest
      const names = ['millrace', ...Object.keys(PLATFORMS).map((platform) => `millrace-${platform}`)]
      mkdirSync(join(folder, 'package'), { recursive: true })
      for (const name of names) {
        writeFileSync(join(folder, 'package', 'package.json'), JSON.stringify({ name, version, ...links }))
        const { status } = spawnSync('tar', ['-czf', `${name}-${version}.tgz`, 'package'], { cwd: folder })
        expect(status).toBe(0)
      }
      writeFileSync(join(folder, 'npm'), '#!/bin/sh\necho npm "$@"\n', { mode: 0o755 })
      const { GITHUB_REPOSITORY: _, GITHUB_SERVER_URL: __, ...rest } = process.env
      return spawnSync(process.execPath, ['scripts/release/publish.mjs', folder, '--dry-run'], {
        env: { ...rest, ...env, PATH: `${folder}:${process.env.PATH}` },
        encoding: 'utf8',
      })
    }

    test.skipIf(process.platform === 'win32')('is there, and is this one, or nothing is published', () => {
      const none = publish({}, here)
      expect(none.stderr).toContain('has no repository, without which npm takes no statement of provenance')
      expect(none).toMatchObject({ status: 1, stdout: '' })

      const other = publish(linksOf({ GITHUB_REPOSITORY: 'another/millrace' }), here)
      expect(other.stderr).toContain('git+https://github.com/another/millrace.git')
      expect(other).toMatchObject({ status: 1, stdout: '' })

      const right = publish(linksOf(here), here)
      expect(right).toMatchObject({ status: 0, stderr: '' })
      expect(right.stdout.match(/^npm publish .* --dry-run$/gm)).toHaveLength(16)
    })
  })
})

describe('links of a packed page', () => {
  const packed = (path: string) => ['docs/tls.md', 'README.md'].includes(path)
  const base = 'https://example.test/blob/v1.2.3/'

  test.each([
    ['[a](tls.md#x)', '[a](tls.md#x)', '[a](tls.md#x)'],
    ['[a](../README.md)', '[a](../README.md)', '[a](../README.md)'],
    ['[`a`](../examples/a.ts#L1), [b](b.md)', '[`a`](<examples/a.ts#L1), [b](<docs/b.md)', '`a`, b'],
    ['[two\nlines](../bench/)', '[two\nlines](<bench/)', 'two\nlines'],
    [
      '[a](#here) [b](https://x.test/y)',
      '[a](#here) [b](https://x.test/y)',
      '[a](#here) [b](https://x.test/y)',
    ],
  ])('%j', (text, absolute, words) => {
    expect(withLinks(text, 'docs/a.md', { packed, base })).toBe(absolute.replaceAll('(<', `(${base}`))
    expect(withLinks(text, 'docs/a.md', { packed, base: undefined })).toBe(words)
  })
})

describe('.github/workflows', () => {
  const folder = '.github/workflows'
  const workflows = readdirSync(folder).map(
    (name) => [name, readFileSync(`${folder}/${name}`, 'utf8')] as const,
  )

  // Scripts of the packages, which are not of this checkout alone, are called by the names they have there.
  test.each(workflows)('%s calls what is there', (_name, text) => {
    for (const [, file] of text.matchAll(/node (scripts\/release\/[\w-]+\.mjs)|run: (\.ci\/\w+)$/gm))
      if (file !== undefined) expect(existsSync(file), file).toBe(true)
    for (const [, file] of text.matchAll(/run: (\.ci\/\w+)$/gm)) expect(existsSync(file!), file).toBe(true)
    for (const [, name] of text.matchAll(/npm run ([\w:-]+)/g))
      expect(JSON.parse(readFileSync('package.json', 'utf8')).scripts).toHaveProperty(name!)
    // Nobody outside may run what a job of the release may do.
    expect(text).not.toContain('pull_request_target')
    expect(text).toMatch(/^permissions:\n {2}contents: read$/m)
  })

  test('are what actionlint allows', { timeout: 120_000 }, (context) => {
    const found = spawnSync('actionlint', ['-version']).status === 0 ? ['actionlint'] : goTool()
    if (found === undefined) {
      console.warn('.github/workflows: actionlint could not be had: neither it nor Go is here')
      return context.skip()
    }
    const [command, ...args] = found
    const { stdout, stderr, status } = spawnSync(command!, [...args, '-no-color'], { encoding: 'utf8' })
    expect({ stdout, stderr, status }).toEqual({ stdout: '', stderr: '', status: 0 })
  })

  /** actionlint as `go run` has it; it is built once. */
  function goTool(): string[] | undefined {
    const args = ['run', 'github.com/rhysd/actionlint/cmd/actionlint@v1.7.12']
    return spawnSync('go', [...args, '-version']).status === 0 ? ['go', ...args] : undefined
  }
})
