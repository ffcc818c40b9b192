// What is published, as users install it: packed once, put into empty folders by each package manager from a
// registry on the loopback address, with nothing on PATH that could build anything.
import { once } from 'node:events'
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { createServer } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { binariesIn, here, nodeOf, pack, tool, tools, version } from './support/packages.js'
import { PROGRAMS, Project, read } from './support/project.js'
import { type Registry, registry } from './support/registry.js'

const missing = tools()
const base = mkdtempSync(join(tmpdir(), 'millrace-packages-'))
const packages = join(base, 'packages')
let npm: Registry

beforeAll(async () => {
  pack(base)
  npm = await registry(packages)
}, 60_000)

afterAll(async () => {
  await npm.close()
  rmSync(base, { recursive: true, force: true })
})

vi.setConfig({ testTimeout: 60_000 })

const tarballs = () =>
  ['millrace', `millrace-${here}`].map((name) => join(packages, `${name}-${version}.tgz`))

const GATEWAY = `import { HttpPeer } from 'millrace'
export default { upstreamPeer: new HttpPeer('http://127.0.0.1:1') as HttpPeer }
`

describe('npm', () => {
  test('installs the tarballs offline; the proxy of the README and the command run', async () => {
    const project = new Project(base, 'http://127.0.0.1:9/')
    await project.npm('install', '--offline', ...tarballs())

    const printed = await project.run('npx', ['--offline', 'millrace', '--version'])
    expect(printed).toMatchObject({ stdout: `${version}\n`, stderr: '' })
    expect((await project.run('npx', ['--offline', 'millrace', '--help'])).stdout).toContain('--version')
    expect(await project.try('npx', ['--offline', 'millrace', 'oops'])).toMatchObject({ code: 2 })
    // All that the command needs is in the package.
    project.write({ 'gateway.ts': GATEWAY, 'conf.yaml': 'listen: ["127.0.0.1:0"]\n' })
    const args = ['--offline', 'millrace', 'run', 'gateway.ts', '--test', '--config', 'conf.yaml']
    expect((await project.run('npx', args)).stdout).toBe('millrace: gateway.ts: ok: proxy on 127.0.0.1:0\n')

    const origin = createServer((request, response) => response.end(request.headers['x-via'])).listen(
      0,
      '127.0.0.1',
    )
    await once(origin, 'listening')
    onTestFinished(() => void origin.close().closeAllConnections())
    const port = await freePort()
    const program = read('target/examples/first-proxy.js')
      .replace(':3000', `:${(origin.address() as AddressInfo).port}`)
      .replace(':8000', `:${port}`)
    project.write({ 'gateway.mjs': program })
    const { child, ended } = project.start(process.execPath, ['gateway.mjs'])
    const answer = await vi.waitFor(() => fetch(`http://127.0.0.1:${port}`), 30_000)
    expect(await answer.text()).toBe('millrace')
    child.kill('SIGTERM')
    expect(await ended).toEqual({ code: 0, stdout: '', stderr: '' })
  })

  test('takes the package of this platform and no other, also from the lock file', async () => {
    const project = new Project(base, npm.url, PROGRAMS)
    await project.npm('install', 'millrace')
    expect(binariesIn(project.folder)).toEqual([here])
    rmSync(join(project.folder, 'node_modules'), { recursive: true })
    await project.npm('ci')
    expect(binariesIn(project.folder)).toEqual([here])
    expect((await project.node('use.mjs')).stdout).toBe('ok\n')
  })

  test('has no script that runs at installing', () => {
    for (const name of ['millrace', here]) {
      const manifest = JSON.parse(read(packages, 'content', name, 'package.json'))
      expect(manifest).not.toHaveProperty('scripts')
      expect(manifest).not.toHaveProperty('private')
    }
  })
})

describe('Node', () => {
  const project = () => installed(PROGRAMS)

  test.each(['use.mjs', 'use.cjs'])('%s runs without a warning', async (file) => {
    expect(await (await project()).node(file)).toEqual({ code: 0, stdout: 'ok\n', stderr: '' })
  })

  test('has one of each class, imported or required', async () => {
    expect(await (await project()).node('both.mjs')).toMatchObject({ stdout: 'one\n', stderr: '' })
  })

  describe.each(['20.19.0', '22.12.0'])('%s', (wanted) => {
    const node = missing === undefined ? nodeOf(wanted) : undefined
    test.skipIf(node === undefined).each(['use.mjs', 'use.cjs', 'both.mjs'])(
      '%s runs without a warning',
      async (file) => {
        const { stdout, stderr } = await (await project()).run(node!, [file])
        expect({ stdout, stderr }).toEqual({ stdout: file === 'both.mjs' ? 'one\n' : 'ok\n', stderr: '' })
      },
    )
  })
})

describe.skipIf(missing !== undefined)('other package managers', () => {
  test('pnpm', async () => {
    const project = new Project(base, npm.url, PROGRAMS)
    const pnpm = JSON.parse(read(tool('pnpm', 'package.json'))).bin.pnpm
    await project.node(tool('pnpm', pnpm), 'add', '--store-dir', join(base, 'pnpm-store'), 'millrace')
    for (const file of ['use.mjs', 'use.cjs']) expect((await project.node(file)).stdout).toBe('ok\n')
  })

  test('Yarn with Plug’n’Play', async () => {
    const settings = {
      npmRegistryServer: npm.url,
      unsafeHttpWhitelist: ['127.0.0.1'],
      enableGlobalCache: false,
      enableTelemetry: false,
      enableImmutableInstalls: false,
      nodeLinker: 'pnp',
    }
    const lines = Object.entries(settings).map(([name, value]) => `${name}: ${JSON.stringify(value)}\n`)
    const project = new Project(base, npm.url, {
      ...PROGRAMS,
      '.yarnrc.yml': lines.join(''),
      'yarn.lock': '',
    })
    const yarn = tool('@yarnpkg/cli-dist', 'bin', 'yarn.js')
    await project.node(yarn, 'add', 'millrace')
    for (const file of ['use.mjs', 'use.cjs']) {
      expect((await project.node(yarn, 'node', file)).stdout).toBe('ok\n')
    }
    expect((await project.node(yarn, 'millrace', '--version')).stdout).toBe(`${version}\n`)
  })
})

describe.skipIf(missing !== undefined)('bundlers', () => {
  const ESBUILD = ['--bundle', '--platform=node', '--log-level=warning']
  const bundles: [name: string, args: string[], file: string][] = [
    [
      'esbuild, to CommonJS',
      ['use.mjs', '--format=cjs', '--outfile=out/a.cjs', '--external:nothing'],
      'a.cjs',
    ],
    ['esbuild, to a module', ['use.mjs', '--format=esm', '--outfile=out/b.mjs'], 'b.mjs'],
    ['esbuild, of a program that requires', ['use.cjs', '--format=cjs', '--outfile=out/c.cjs'], 'c.cjs'],
  ]
  test.each(bundles)('%s', async (name, args, file) => {
    const project = await installed({
      ...PROGRAMS,
      // A bundle that is CommonJS has no await at its top.
      'use.mjs': name.endsWith('CommonJS')
        ? PROGRAMS['use.cjs'].replace(/const (.*) = require\((.*)\)/g, 'import $1 from $2')
        : PROGRAMS['use.mjs'],
    })
    const told = await project.run(tool('esbuild', 'bin', 'esbuild'), [...ESBUILD, ...args])
    expect(told).toMatchObject({ stdout: '', stderr: '' })
    await runsHereAndAlone(project, file)
  })

  test.each([
    ['commonjs', 'use.cjs', 'd.cjs'],
    ['module', 'use.mjs', 'e.mjs'],
  ])('webpack, to %s', async (type, entry, file) => {
    const project = await installed({
      ...PROGRAMS,
      'build.cjs': `
        const { webpack } = require(${JSON.stringify(tool('webpack'))})
        const isModule = ${type === 'module'}
        const output = { path: __dirname + '/out', filename: '${file}', module: isModule, chunkFormat: '${type}' }
        const experiments = { outputModule: isModule }
        const plan = { mode: 'production', target: 'node20', entry: './${entry}', output, experiments }
        webpack(plan).run((error, stats) => console.log(error?.stack ?? stats.toString({ preset: 'errors-warnings' })))`,
    })
    expect(await project.node('build.cjs')).toMatchObject({
      stdout: 'webpack compiled successfully\n',
      stderr: '',
    })
    await runsHereAndAlone(project, file)
  })

  /** Beside node_modules, and in a folder that has nothing but the bundle and the binary. */
  async function runsHereAndAlone(project: Project, file: string): Promise<void> {
    expect((await project.node(`out/${file}`)).stdout).toBe('ok\n')
    const alone = new Project(base, npm.url)
    cpSync(join(project.folder, 'out'), alone.folder, { recursive: true })
    rmSync(join(project.folder, 'node_modules'), { recursive: true })
    const failed = await alone.try(process.execPath, [file])
    expect(failed.stderr).toContain('BINARY_NOT_FOUND')
    const binary = `millrace.${here}.node`
    cpSync(join(packages, 'content', here, binary), join(alone.folder, binary))
    expect((await alone.node(file)).stdout).toBe('ok\n')
  }
})

describe('TypeScript, strict, with the types of libraries checked', () => {
  const program = read('README.md').split('```ts\n')[1]!.split('```')[0]!
  const gateway = { 'gateway.mts': program, 'gateway.ts': wrapped(program) }
  test.each([
    ['nodenext', 'nodenext', 'module'],
    ['nodenext', 'nodenext', 'commonjs'],
    ['node16', 'node16', 'commonjs'],
    ['esnext', 'bundler', 'module'],
    ['preserve', 'bundler', 'commonjs'],
  ])('module %s, resolution %s, in a package of type %s', async (module, moduleResolution, type) => {
    const compilerOptions = {
      module,
      moduleResolution,
      target: 'es2022',
      strict: true,
      skipLibCheck: false,
      noEmit: true,
      types: ['node'],
    }
    const project = await installed({ ...gateway, 'tsconfig.json': { compilerOptions } })
    project.write({ 'package.json': { name: 'user', private: true, type } })
    for (const name of ['@types', 'undici-types']) {
      symlinkSync(resolve('node_modules', name), join(project.folder, 'node_modules', name))
    }
    const { code, stdout } = await project.try(process.execPath, [resolve('node_modules/typescript/bin/tsc')])
    expect({ code, stdout }).toEqual({ code: 0, stdout: '' })
  })
})

/** The program without an await at its top, which CommonJS does not have. */
function wrapped(program: string): string {
  return program.replace(/^await (.*)$/m, 'void $1')
}

/** A project with millrace in it, installed once and copied. */
async function installed(files: Record<string, string | object>): Promise<Project> {
  model ??= (async () => {
    const one = new Project(base, npm.url)
    await one.npm('install', 'millrace')
    return one.folder
  })()
  const project = new Project(base, npm.url)
  mkdirSync(project.folder, { recursive: true })
  cpSync(await model, project.folder, { recursive: true })
  project.write(files)
  return project
}
let model: Promise<string> | undefined

async function freePort(): Promise<number> {
  const server = createTcpServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  await new Promise((done) => server.close(done))
  return port
}

test.runIf(missing !== undefined)('the tools could not be installed', ({ skip }) => skip(missing))
