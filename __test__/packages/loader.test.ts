// What is said when no binary can be loaded, as users meet it: a program that imports millrace. Where a command is
// said to mend it, it is run, and has to.
import { spawnSync } from 'node:child_process'
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { binariesIn, here, pack, version } from './support/packages.js'
import { PROGRAMS, Project, read } from './support/project.js'
import { type Registry, registry } from './support/registry.js'

const base = mkdtempSync(join(tmpdir(), 'millrace-loader-'))
const content = join(base, 'packages', 'content')
const ours = `@millrace/${here}`
const other = here.endsWith('musl') ? here.replace('musl', 'gnu') : 'linux-x64-musl'
const binary = `millrace.${here}.node`
let npm: Registry

vi.setConfig({ testTimeout: 60_000 })

beforeAll(async () => {
  pack(base)
  npm = await registry(join(base, 'packages'))
}, 60_000)

afterAll(async () => {
  await npm.close()
  rmSync(base, { recursive: true, force: true })
})

/** A folder with millrace in its node_modules, and some of the packages with binaries. */
function installed(...triples: string[]): Project {
  const project = new Project(base, npm.url, PROGRAMS)
  for (const name of ['millrace', ...triples]) {
    const folder = name === 'millrace' ? name : `@millrace/${name}`
    cpSync(join(content, name), join(project.folder, 'node_modules', folder), { recursive: true })
  }
  return project
}

/** What a program is told that imports millrace: code, and message. */
async function told(
  project: Project,
  env: Record<string, string> = {},
): Promise<{ code: string; message: string }> {
  const program = `import('millrace').then(
    () => console.log(JSON.stringify({ code: 'none', message: '' })),
    ({ code, message }) => console.log(JSON.stringify({ code, message })))`
  return JSON.parse((await project.try(process.execPath, ['--eval', program], env)).stdout)
}

/** Runs the command that the message says, and then the program. */
async function mend(project: Project, message: string): Promise<void> {
  const command = /to mend it: (.*)$/m.exec(message)?.[1]
  await project.run('sh', ['-c', command!])
  expect((await project.node('use.cjs')).stdout).toBe('ok\n')
}

describe('a package that is missing', () => {
  test('because optional dependencies were left out', async () => {
    const project = new Project(base, npm.url, PROGRAMS)
    await project.npm('install', '--omit=optional', 'millrace')
    const { code, message } = await told(project)
    expect(code).toBe('BINARY_NOT_FOUND')
    expect(message).toContain(`looked for: ${process.platform} ${process.arch}`)
    expect(message).toContain(`missing:    ${ours} ${version}`)
    expect(message).toContain('installed:  no package with a binary')
    expect(message).toContain('optional dependencies were probably left out')
    await mend(project, message)
  })

  test('because an .npmrc leaves out optional dependencies, which the message names', async () => {
    const project = new Project(base, npm.url, { ...PROGRAMS, '.npmrc': 'omit=optional\n' })
    await project.npm('install', 'millrace')
    const { message } = await told(project)
    expect(message).toContain(`${join(project.folder, '.npmrc')} says so`)
    await mend(project, message)
  })

  test('because the lock file was made on another platform', async () => {
    const project = new Project(base, npm.url, PROGRAMS)
    await project.npm('install', 'millrace')
    // What npm writes where node_modules has the packages of one platform only (npm/cli#4828).
    const lock = JSON.parse(read(project.folder, 'package-lock.json'))
    for (const path of Object.keys(lock.packages)) if (path.includes(ours)) delete lock.packages[path]
    delete lock.packages['node_modules/millrace'].optionalDependencies[ours]
    project.write({ 'package-lock.json': lock })
    rmSync(join(project.folder, 'node_modules'), { recursive: true })
    await project.npm('ci')
    const { code, message } = await told(project)
    expect(code).toBe('BINARY_NOT_FOUND')
    expect(message).toContain(
      `package-lock.json does not have ${ours}: it was probably made on another platform`,
    )
    await mend(project, message)
  })

  test('because it was installed for another C library', async () => {
    const project = new Project(base, npm.url, PROGRAMS)
    const [os, cpu] = other.split('-') as [string, string]
    await project.npm('install', `--os=${os}`, `--cpu=${cpu}`, '--libc=musl', 'millrace')
    expect(binariesIn(project.folder)).toEqual([other])
    const { code, message } = await told(project)
    expect(code).toBe('BINARY_NOT_FOUND')
    expect(message).toContain(`installed:  @millrace/${other} ${version}`)
    expect(message).toContain('installed for another platform')
    if (process.platform === 'linux')
      expect(message).toMatch(/linux \w+ (glibc|musl) \(known from .+ asks for /)
    await mend(project, message)
  })
})

describe('a file that cannot be loaded', () => {
  test.each([
    ['empty', (file: string) => truncateSync(file, 0)],
    ['of something else', (file: string) => writeFileSync(file, 'this is not a library'.repeat(100))],
  ])('%s: the system’s own words, and how to install it again', async (_, damage) => {
    const project = installed()
    await project.npm('install', 'millrace')
    const file = join(project.folder, 'node_modules', ours, binary)
    damage(file)
    const { code, message } = await told(project)
    expect(code).toBe('BINARY_NOT_LOADED')
    expect(message).toContain(`not loaded: ${file}: ${await reason(project, file)}`)
    expect(message).toContain('damaged')
    expect(message).not.toMatch(/npm (has|bug)|optional dependencies/)
    await mend(project, message)
  })

  test('cut: no crash, which is what the system makes of it, but how to install it again', async () => {
    const project = installed()
    await project.npm('install', 'millrace')
    const file = join(project.folder, 'node_modules', ours, binary)
    truncateSync(file, 100_000)
    const { code, message } = await told(project)
    expect(code).toBe('BINARY_NOT_LOADED')
    expect(message).toContain(`not loaded: ${file}: file too short: it has 100000 bytes of at least`)
    await mend(project, message)
  })

  test('of its full size, and written in part only: no crash, but how to install it again', async () => {
    const project = installed()
    await project.npm('install', 'millrace')
    const file = join(project.folder, 'node_modules', ours, binary)
    const bytes = readFileSync(file)
    writeFileSync(file, bytes.fill(0, bytes.length / 2))
    const { code, message } = await told(project)
    expect(code).toBe('BINARY_NOT_LOADED')
    expect(message).toContain(`not loaded: ${file}: file damaged: `)
    await mend(project, message)
  })

  test('deleted out of its package: how to install it again', async () => {
    const project = installed()
    await project.npm('install', 'millrace')
    rmSync(join(project.folder, 'node_modules', ours, binary))
    const { code, message } = await told(project)
    expect(code).toBe('BINARY_NOT_LOADED')
    expect(message).toContain('not there although its package is')
    expect(message).not.toContain('rm -rf')
    await mend(project, message)
  })

  test.each([
    ['empty', ''],
    ['cut', '{"name": '],
    ['of no version', '{}'],
    ['null', 'null'],
    ['missing', undefined],
  ])(
    'a package whose package.json is %s: that it is damaged, and how to install it again',
    async (_, text) => {
      const project = installed()
      await project.npm('install', 'millrace')
      const folder = join(project.folder, 'node_modules', ours)
      const file = join(folder, 'package.json')
      if (text === undefined) rmSync(file)
      else writeFileSync(file, text)
      const { code, message } = await told(project)
      expect(code).toBe('BINARY_NOT_LOADED')
      expect(message).toContain(`installed:  ${ours} (damaged) in ${folder}`)
      expect(message).toContain(`not loaded: ${folder}: package damaged: its package.json`)
      expect(message).not.toContain('optional dependencies')
      await mend(project, message)
    },
  )

  test('not an addon: the reason, and no command of npm’s', async () => {
    const project = installed(here)
    const file = join(project.folder, 'node_modules', ours, binary)
    // Valid, and without what makes it an addon: the name of the function that Node calls.
    const bytes = readFileSync(join(content, here, binary))
    bytes.fill('x', bytes.indexOf('napi_register_module_v1'), bytes.indexOf('napi_register_module_v1') + 23)
    writeFileSync(file, bytes)
    const { code, message } = await told(project)
    expect(code).toBe('BINARY_NOT_LOADED')
    expect(message).toContain(await reason(project, file))
    expect(message).not.toContain('to mend it')
    expect(message).not.toContain('npm')
  })

  const gnu = here.startsWith('linux') && here.endsWith('gnu')
  test.runIf(gnu).each([
    // Names in the file that say what it needs, changed to what musl's libraries and a later glibc are called.
    [
      'for another C library',
      /\0libm\.so\.6\0/g,
      '\0libc.so\0\0\0',
      /libc\.so: /,
      'another C library than this process has',
    ],
    [
      'for a newer glibc',
      /GLIBC_2\.(28|34)/g,
      'GLIBC_9.99',
      /version `GLIBC_9\.99' not found/,
      'this file needs glibc 9.99, and this system has 2.',
    ],
  ])('%s: the reason, what it means, and no command of npm’s', async (_, name, changed, words, cause) => {
    const project = installed(here)
    const file = join(project.folder, 'node_modules', ours, binary)
    const text = readFileSync(join(content, here, binary), 'latin1')
    writeFileSync(file, text.replace(name, changed), 'latin1')
    const { code, message } = await told(project)
    expect(code).toBe('BINARY_NOT_LOADED')
    expect(message).toMatch(words)
    expect(message).toContain(await reason(project, file))
    expect(message).toContain(cause)
    expect(message).not.toContain('to mend it')
  })

  /** What the system says of a file. */
  async function reason(project: Project, file: string): Promise<string> {
    const program = `try { process.dlopen({ exports: {} }, ${JSON.stringify(file)}) } catch (e) { console.log(e.message) }`
    return (await project.node('--eval', program)).stdout.trim().split('\n')[0]!
  }
})

describe('a version that does not match', () => {
  test('is not loaded, and both versions are told', async () => {
    const project = new Project(base, npm.url, PROGRAMS)
    await project.npm('install', 'millrace')
    const file = join(project.folder, 'node_modules', ours, 'package.json')
    writeFileSync(file, read(file).replace(`"version": "${version}"`, '"version": "0.0.1"'))
    const { code, message } = await told(project)
    expect(code).toBe('BINARY_VERSION')
    expect(message).toContain(`it is version 0.0.1, and only ${version} fits`)
    expect(message).toContain('to mend it: npm ci --include=optional')
    await mend(project, message)
  })

  test('of tarballs, which no registry has: they are installed again out of the lock file', async () => {
    const project = new Project(base, npm.url, { ...PROGRAMS, '.npmrc': 'offline=true\nfetch-retries=0\n' })
    const tarballs = ['millrace', `millrace-${here}`].map((name) => `${name}-${version}.tgz`)
    for (const name of tarballs) cpSync(join(base, 'packages', name), join(project.folder, name))
    await project.npm('install', ...tarballs.map((name) => `./${name}`))
    const file = join(project.folder, 'node_modules', ours, 'package.json')
    writeFileSync(file, read(file).replace(`"version": "${version}"`, '"version": "0.0.1"'))
    const { code, message } = await told(project)
    expect(code).toBe('BINARY_VERSION')
    await mend(project, message)
  })

  test('a file beside the program that is none of millrace is told, and a package that fits goes before it', async () => {
    const project = installed()
    const beside = join(project.folder, 'node_modules', 'millrace', binary)
    cpSync(foreign(), beside)
    const { code, message } = await told(project)
    expect(code).toBe('BINARY_VERSION')
    expect(message).toContain(`not used:   ${beside}: it is not the binary of millrace ${version}`)
    cpSync(join(content, here), join(project.folder, 'node_modules', ours), { recursive: true })
    expect((await told(project)).code).toBe('none')
  })

  test('is seen in the binary itself: beside the program, in a package, and where MILLRACE_BINARY names it', async () => {
    const project = installed()
    const beside = join(project.folder, 'node_modules', 'millrace', binary)
    outdated(beside)
    const said = `not loaded: ${beside}: it is version ${version.replace(/\d$/, (digit) => String((Number(digit) + 1) % 10))}, and only ${version} fits`
    const first = await told(project)
    expect([first.code, first.message]).toEqual(['BINARY_VERSION', expect.stringContaining(said)])
    const named = await told(project, { MILLRACE_BINARY: beside })
    expect([named.code, named.message]).toEqual(['BINARY_VERSION', expect.stringContaining(said)])
    expect(named.message).not.toContain('to mend it')
    cpSync(join(content, here), join(project.folder, 'node_modules', ours), { recursive: true })
    expect((await told(project)).code).toBe('none')
    rmSync(beside)
    outdated(join(project.folder, 'node_modules', ours, binary))
    expect((await told(project)).code).toBe('BINARY_VERSION')
  })
})

/** The binary of this machine, as another version would have built it. */
function outdated(to: string): void {
  const bytes = readFileSync(join(content, here, binary))
  const built = `millrace ${version}`
  const at = bytes.indexOf(built)
  expect(at).toBeGreaterThan(0)
  for (let next = at; next !== -1; next = bytes.indexOf(built, next + 1))
    bytes.write(
      built.replace(/\d$/, (digit) => String((Number(digit) + 1) % 10)),
      next,
    )
  writeFileSync(to, bytes)
}

/** An addon that is not millrace's: one that the tests are run with. */
function foreign(): string {
  const folder = 'node_modules/@rolldown'
  const found = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.node'),
  )
  const files = found.map((name) => join(folder, name))
  const program = 'process.dlopen({ exports: {} }, process.argv[1])'
  const loads = (file: string) => spawnSync(process.execPath, ['--eval', program, file]).status === 0
  return files.find(loads)!
}

describe('MILLRACE_BINARY', () => {
  test('is a library whatever it is called', async () => {
    const project = installed()
    const file = join(project.folder, 'millrace.so.1')
    cpSync(join(content, here, binary), file)
    expect((await told(project, { MILLRACE_BINARY: file })).code).toBe('none')
  })

  test('is never run as JavaScript', async () => {
    const project = installed()
    project.write({ 'program.js': 'console.log("it ran")' })
    const { code, message } = await told(project, { MILLRACE_BINARY: './program.js' })
    expect(code).toBe('BINARY_NOT_LOADED')
    expect(message).toContain(`not loaded: ${join(project.folder, 'program.js')}: `)
  })

  test('that is an addon of something else is told so', async () => {
    const { code, message } = await told(installed(here), { MILLRACE_BINARY: resolve(foreign()) })
    expect(code).toBe('BINARY_VERSION')
    expect(message).toMatch(/it lacks .*checkRoutes/)
  })

  test.skipIf(process.platform === 'win32')('that is no file is not waited for', async () => {
    const project = installed()
    spawnSync('mkfifo', [join(project.folder, 'fifo')])
    for (const file of ['/dev/zero', 'fifo', '.']) {
      const { code, message } = await told(project, { MILLRACE_BINARY: file })
      expect(code).toBe('BINARY_NOT_LOADED')
      expect(message).toContain('not a regular file')
    }
  })

  test('is loaded in place of everything else', async () => {
    const project = installed()
    const file = join(content, here, binary)
    expect((await project.run(process.execPath, ['use.cjs'], { MILLRACE_BINARY: file })).stdout).toBe('ok\n')
  })

  test('that cannot be loaded is the only one that is tried', async () => {
    const project = installed(here)
    const { code, message } = await told(project, { MILLRACE_BINARY: './nothing.node' })
    expect(code).toBe('BINARY_NOT_LOADED')
    expect(message).toContain(`not loaded: ${join(project.folder, 'nothing.node')}: `)
    expect(message).not.toContain('to mend it')
  })
})

test('the manager whose lock file is there is the one that is named', async () => {
  for (const [lock, command] of [
    ['pnpm-lock.yaml', 'pnpm install'],
    ['yarn.lock', 'yarn install'],
    ['bun.lock', 'bun install'],
  ] as const) {
    const project = installed()
    project.write({ [lock]: `millrace@1: ${ours}` })
    expect((await told(project)).message).toMatch(new RegExp(`to mend it: rm -rf node_modules && ${command}`))
  }
})

test('a program in another folder is told where to run the command', async () => {
  const project = installed()
  project.write({ 'package-lock.json': `"millrace" ${ours}` })
  mkdirSync(join(project.folder, 'elsewhere'))
  const program = `import(${JSON.stringify(join(project.folder, 'use.mjs'))}).catch((error) => console.log(error.message))`
  const { stdout } = await project.try('sh', ['-c', `cd elsewhere && exec node --eval '${program}'`])
  expect(stdout).toContain(`to mend it: cd ${project.folder} && npm install`)
})

test('a lock file above the project is none of its own, nor is the folder that the program was started in', async () => {
  const project = installed()
  project.write({
    'inner/package.json': { dependencies: { millrace: '*' } },
    'package-lock.json': 'of something else',
  })
  const inner = join(project.folder, 'inner')
  renameSync(join(project.folder, 'node_modules'), join(inner, 'node_modules'))
  const program = `import(${JSON.stringify(join(inner, 'use.mjs'))}).catch((error) => console.log(error.message))`
  cpSync(join(project.folder, 'use.mjs'), join(inner, 'use.mjs'))
  const { stdout } = await project.try(process.execPath, ['--eval', program])
  expect(stdout).toContain(`to mend it: cd ${inner} && npm install --include=optional`)
})

test('where packages are global no command is given, which would remove them all', async () => {
  const project = installed()
  rmSync(join(project.folder, 'package.json'))
  const { code, message } = await told(project)
  expect(code).toBe('BINARY_NOT_FOUND')
  expect(message).toContain('optional dependencies were probably left out')
  expect(message).not.toContain('to mend it')
})

test('a bundle is told to have the file beside it, and nothing of the project it was started in', async () => {
  const project = new Project(base, npm.url)
  const bundle = join(mkdtempSync(join(realpathSync(base), 'out-')), 'gateway.cjs')
  // With what its entries have in common, whatever that is called.
  const built = join(content, 'millrace', 'dist', 'cjs')
  for (const { name } of readdirSync(built, { withFileTypes: true }).filter((entry) => entry.isFile()))
    cpSync(join(built, name), join(dirname(bundle), name))
  cpSync(join(built, 'index.js'), bundle)
  project.write({ 'package-lock.json': '{}', 'node_modules/mine': 'to be kept' })
  const { stderr } = await project.try(process.execPath, [bundle])
  expect(stderr).toContain(`to mend it: copy ${binary}, out of ${ours} ${version}, into ${dirname(bundle)}\n`)
  expect(stderr).not.toMatch(/npm|rm -rf/)
  cpSync(join(content, here, binary), join(dirname(bundle), binary))
  await project.node(bundle)
})

test('the folder in the command is one word of a shell, which expands nothing in it', async () => {
  const project = installed()
  const inner = join(project.folder, "$HOME's `it`")
  project.write({ [`${basename(inner)}/package.json`]: { dependencies: { millrace: version } } })
  renameSync(join(project.folder, 'node_modules'), join(inner, 'node_modules'))
  cpSync(join(project.folder, 'use.cjs'), join(inner, 'use.cjs'))
  const { stderr } = await project.try(process.execPath, [join(inner, 'use.cjs')])
  const command = /to mend it: (.*)$/m.exec(stderr)?.[1]
  await project.run('sh', ['-c', command!])
  expect((await project.node(join(inner, 'use.cjs'))).stdout).toBe('ok\n')
})

test('a checkout that is not built is told to be', async () => {
  const project = new Project(base, npm.url)
  for (const file of ['Cargo.toml', 'ts/addon/here.ts']) project.write({ [file]: '' })
  cpSync(join(content, 'millrace'), project.folder, { recursive: true })
  const { code, message } = await told(project)
  expect(code).toBe('BINARY_NOT_FOUND')
  expect(message).toMatch(/to mend it: npm run build$/)
})
