// Makes the checkout ready to run: npm dependencies, the addon, dist/, the examples. Called before `npm start`,
// `npm test` and `npm run bench`; does only what changed inputs ask for. It runs before node_modules
// exists, so it uses nothing but Node.
//
//   node scripts/build.mjs [--bench] [--pingora] [--crossing] [--force]
//
// --bench     also builds bench/relay, the origin, load generator and reference relay of the benchmark
// --pingora   also builds bench/pingora, which takes minutes
// --crossing  also builds the addon that can measure the crossing alone
// --force     builds although nothing changed
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bundle, completeTypes, hasCommand, writeCode } from './dist.mjs'
import { filesUnder, fingerprint } from './fingerprint.mjs'
import { withLock } from './lock.mjs'
import { flagsOf } from './main.mjs'
import { NAPI_BUILD } from './napi.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const state = join(root, 'target', 'millrace-build')
const windows = process.platform === 'win32'
const flag = { type: 'boolean' }
const options = { bench: flag, pingora: flag, crossing: flag, force: flag }
const flags = flagsOf(import.meta.url, 'build', options)

/** Ends the build with a sentence for the user, and no stack. */
class Stop extends Error {}

// === the steps ===

const notSource = (path) => /(^|[\\/])(target|tests|benches|node_modules)$/.test(path)
const under = (...paths) => paths.flatMap((path) => filesUnder(root, path, notSource))
const versionOf = (name) => json(`node_modules/${name}/package.json`)?.version ?? 'none'

const addon = {
  name: 'addon',
  needsCargo: true,
  inputs: () =>
    under('Cargo.toml', 'Cargo.lock', 'build.rs', 'rust-toolchain.toml', '.cargo', 'src', 'crates'),
  extra: () => {
    const { napi, version } = json('package.json') ?? {}
    return [process.platform, process.arch, versionOf('@napi-rs/cli'), JSON.stringify(napi), version]
  },
  outputs: () => [...readdirSync(root).filter((name) => name.endsWith('.node')), ...under('index.d.ts')],
  complete: (outputs) => outputs.length >= 2,
  run: () => tool('@napi-rs/cli', 'napi', NAPI_BUILD.args),
}

const dist = {
  name: 'dist',
  inputs: () =>
    under(
      'ts',
      'index.d.ts',
      'tsconfig.json',
      'tsconfig.types.json',
      'scripts/dist.mjs',
      'scripts/schema.mjs',
    ),
  extra: () => [
    versionOf('typescript'),
    versionOf('rolldown'),
    versionOf('yaml'),
    versionOf('amaro'),
    JSON.stringify(json('package.json')?.exports),
  ],
  outputs: () => under('dist'),
  complete: (outputs) => outputs.includes('dist/index.js'),
  run: async () => {
    rmSync(join(root, 'dist'), { recursive: true, force: true })
    await tool('typescript', 'tsc', ['-p', 'tsconfig.types.json'])
    completeTypes(root)
    await writeCode(root)
    if (hasCommand(root)) await run(process.execPath, [join(root, 'scripts/schema.mjs')])
  },
}

// The examples are TypeScript, which Node 20 does not run. They import millrace by its own name.
const examples = {
  name: 'examples',
  inputs: () => under('examples', 'tsconfig.json').concat(filesUnder(root, 'dist').filter(isTypes)),
  extra: () => [versionOf('typescript')],
  outputs: () => filesUnder(root, 'target/examples'),
  complete: (outputs) => outputs.some((file) => file.endsWith('.js')),
  run: () => {
    rmSync(join(root, 'target/examples'), { recursive: true, force: true })
    return tool('typescript', 'tsc', ['-p', 'examples/tsconfig.json'])
  },
}
const isTypes = (file) => file.endsWith('.d.ts')
const hasExamples = under('examples').some((file) => file.endsWith('.ts'))

/** A workspace of its own under bench/. */
const workspace = (name, binary) => ({
  name: `bench/${name}`,
  needsCargo: true,
  inputs: () => under(`bench/${name}/Cargo.toml`, `bench/${name}/Cargo.lock`, `bench/${name}/src`),
  extra: () => [process.platform, process.arch],
  outputs: () => filesUnder(root, `bench/${name}/target/release/${binary}${windows ? '.exe' : ''}`),
  complete: (outputs) => outputs.length === 1,
  run: () =>
    run('cargo', ['build', '--release', '--locked', '--manifest-path', `bench/${name}/Cargo.toml`], {
      CARGO_TARGET_DIR: join(root, 'bench', name, 'target'),
    }),
})

// The same as the addon, with what measures the crossing, and what of ts/ drives it. They lie apart, so that
// nobody publishes them.
const inside = 'bench/subjects/inside.ts'
const crossing = {
  ...addon,
  name: 'bench/crossing',
  inputs: () => [...addon.inputs(), ...under('ts', inside, 'scripts/dist.mjs')],
  outputs: () => under('target/bench/addon', 'target/bench/inside'),
  complete: (outputs) => outputs.length >= 3,
  run: async () => {
    await tool('@napi-rs/cli', 'napi', [
      ...NAPI_BUILD.args,
      '--features',
      'bench',
      '-o',
      'target/bench/addon',
    ])
    await bundle(root, { inside: join(root, inside) }, { esm: join(root, 'target/bench/inside') })
  },
}

const steps = [
  ...[addon, dist, ...(hasExamples ? [examples] : [])],
  ...(flags.bench ? [workspace('relay', 'millrace-relay')] : []),
  ...(flags.pingora ? [workspace('pingora', 'millrace-pingora')] : []),
  ...(flags.crossing ? [crossing] : []),
]

// === whether a step has anything to do ===

const now = (step) => ({
  inputs: fingerprint(root, step.inputs(), step.extra()),
  outputs: fingerprint(root, step.outputs()),
})

const stampOf = (step) => join(state, `${step.name.replace('/', '-')}.json`)

function fresh(step) {
  if (!step.complete(step.outputs())) return false
  const then = json(stampOf(step))
  const { inputs, outputs } = now(step)
  return then?.inputs === inputs && then?.outputs === outputs
}

/** Whether node_modules holds what package-lock.json asks for (optional parts of other systems aside). */
function installed() {
  const wanted = json('package-lock.json')?.packages ?? {}
  const present = json('node_modules/.package-lock.json')?.packages
  if (present === undefined) return false
  return Object.entries(wanted).every(([path, entry]) => {
    if (path === '') return true
    const found = present[path]
    if (found === undefined) return entry.optional === true || entry.devOptional === true
    return found.version === entry.version && found.integrity === entry.integrity
  })
}

// === the build ===

async function build() {
  const stale = () => steps.filter((step) => flags.force || !fresh(step))
  if (installed() && stale().length === 0) return
  await withLock(
    join(state, 'lock'),
    (pid) => say(`waiting for the build that process ${pid} is doing`),
    async () => {
      // Another process may have done it all while this one waited.
      if (stale().some((step) => step.needsCargo)) requireCargo()
      if (!installed()) await install()
      for (const step of steps) {
        if (!flags.force && fresh(step)) continue
        say(`building ${step.name}`)
        rmSync(stampOf(step), { force: true })
        const { inputs } = now(step) // from before: what is edited meanwhile is built next time
        await step.run()
        writeFileSync(stampOf(step), JSON.stringify({ inputs, outputs: now(step).outputs }))
      }
    },
  )
}

async function install() {
  say('installing npm dependencies')
  const args = ['ci', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error']
  const npm = process.env.npm_execpath // set when called through `npm start` and the like
  if (npm?.endsWith('.js')) await run(process.execPath, [npm, ...args])
  else await run(windows ? 'npm.cmd' : 'npm', args, {}, { shell: windows })
}

function requireCargo() {
  const { error, status, stderr } = spawnSync('cargo', ['--version'], { cwd: root, encoding: 'utf8' })
  if (error === undefined && status === 0) return
  if (error === undefined) throw new Stop(`cargo does not run: ${stderr.trim().split('\n')[0]}`)
  const home = join(process.env.CARGO_HOME ?? join(homedir(), '.cargo'), 'bin')
  if (
    existsSync(join(home, windows ? 'cargo.exe' : 'cargo')) &&
    !process.env.PATH?.split(delimiter).includes(home)
  ) {
    throw new Stop(
      `Rust is installed in ${home}, which is not on PATH: open a new shell and run the command again.`,
    )
  }
  throw new Stop(
    `millrace is built from Rust, and cargo was not found: install Rust ${rustVersion()} or later from https://rustup.rs, open a new shell, and run the command again.`,
  )
}

const rustVersion = () =>
  /^rust-version = "(.+)"/m.exec(readFileSync(join(root, 'Cargo.toml'), 'utf8'))?.[1] ?? 'stable'

// === helpers ===

/** Runs the command `bin` of the installed package `name` with this same Node. */
function tool(name, bin, args) {
  const folder = `node_modules/${name}`
  const { bin: bins } = json(`${folder}/package.json`) ?? {}
  const file = typeof bins === 'string' ? bins : bins?.[bin]
  if (file === undefined) throw new Stop(`${name} is not installed: run \`npm ci\`.`)
  return run(process.execPath, [join(root, folder, file), ...args])
}

function run(command, args, env = {}, options = {}) {
  const shown = [command, ...args].join(' ').replaceAll(`${root}/`, '').replace(process.execPath, 'node')
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: root,
      stdio: 'inherit',
      env: { ...process.env, ...env },
      ...options,
    })
    const forward = (signal) => child.kill(signal)
    for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, forward)
    const done = (settle) => {
      for (const signal of ['SIGINT', 'SIGTERM']) process.off(signal, forward)
      settle()
    }
    child.on('error', (error) => done(() => reject(new Stop(`${shown} could not be run: ${error.message}`))))
    child.on('exit', (code, signal) => {
      if (code === 0) done(resolve)
      else done(() => reject(new Stop(`${shown} ended with ${signal ?? `status ${code}`}.`)))
    })
  })
}

function json(path) {
  try {
    return JSON.parse(readFileSync(path.startsWith(root) ? path : join(root, path), 'utf8'))
  } catch {
    return undefined
  }
}

function say(line) {
  console.error(`build: ${line}`)
}

const [major, minor] = process.versions.node.split('.').map(Number)
try {
  if (major < 20 || (major === 20 && minor < 19)) {
    throw new Stop(`millrace needs Node 20.19 or later, and this is ${process.versions.node}.`)
  }
  mkdirSync(state, { recursive: true })
  await build()
} catch (error) {
  if (!(error instanceof Stop)) throw error
  say(error.message)
  process.exitCode = 1
}
