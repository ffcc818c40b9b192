// Writes what the published packages are made of, as CycloneDX:
//
//   node scripts/release/sbom.mjs [FOLDER]      default: target/sbom
//
// One file for each platform, of the crates that are linked into its addon, by cargo-cyclonedx: npm's own
// `npm sbom` sees nothing of them. It does the package of JavaScript, which depends on nothing else; what
// is built into that is added to it.
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { BUILT_IN } from '../dist.mjs'
import { runMain } from '../main.mjs'
import { PLATFORMS } from './matrix.mjs'

const CARGO_CYCLONEDX = '0.5.9'
const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

function main() {
  const { positionals } = parseArgs({ allowPositionals: true })
  if (positionals.length > 1) throw new Error(`give one folder, not ${positionals.join(' and ')}`)
  const folder = resolve(positionals[0] ?? join(root, 'target/sbom'))
  mkdirSync(folder, { recursive: true })
  const [known] = run('cargo', ['cyclonedx', '--version'], { mayFail: true }).match(/\d+\.\d+\.\d+/) ?? []
  if (known !== CARGO_CYCLONEDX) run('cargo', ['install', '--locked', `cargo-cyclonedx@${CARGO_CYCLONEDX}`])
  for (const [platform, { rust }] of Object.entries(PLATFORMS)) {
    // It writes one beside each Cargo.toml of the workspace. The addon's has all that is in it.
    const name = `millrace-sbom-${platform}`
    const args = ['cyclonedx', '--format', 'json', '--spec-version', '1.5', '--no-build-deps']
    run('cargo', [...args, '--target', rust, '--override-filename', name])
    const written = join(folder, `${name}.cdx.json`)
    renameSync(join(root, `${name}.json`), written)
    for (const crate of readdirSync(join(root, 'crates')))
      rmSync(join(root, 'crates', crate, `${name}.json`), { force: true })
    check(written)
  }
  const npm = run('npm', ['sbom', '--sbom-format', 'cyclonedx', '--omit', 'dev', '--package-lock-only'])
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
  const whole = withBuiltIn(JSON.parse(npm), lock, Object.keys(BUILT_IN))
  writeFileSync(join(folder, 'millrace-sbom-npm.cdx.json'), JSON.stringify(whole, undefined, 2))
}

/** The list of npm, with the packages that dist/ has parts of, which are no dependencies for npm. */
export function withBuiltIn(bom, { packages }, names) {
  const added = names.map((name) => {
    const { version, license } = packages[`node_modules/${name}`]
    const purl = `pkg:npm/${name}@${version}`
    return {
      'bom-ref': `${name}@${version}`,
      type: 'library',
      name,
      version,
      purl,
      licenses: [{ license: { id: license } }],
    }
  })
  return { ...bom, components: [...(bom.components ?? []), ...added] }
}

/** One that lists nothing is worse than none. */
function check(file) {
  const { components = [] } = JSON.parse(readFileSync(file, 'utf8'))
  const names = new Set(components.map(({ name }) => name))
  for (const name of ['tokio', 'rustls', 'ring', 'millrace-proxy'])
    if (!names.has(name)) throw new Error(`${file} does not list ${name}`)
  console.log(`${file}: ${components.length} components`)
}

function run(command, args, { mayFail = false } = {}) {
  const { status, error, stdout } = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', mayFail ? 'ignore' : 'inherit'],
    maxBuffer: 2 ** 26,
  })
  if (status !== 0 && !mayFail)
    throw new Error(`${command} ${args.join(' ')}: ${error?.message ?? `status ${status}`}`)
  return stdout ?? ''
}

await runMain(import.meta.url, main, 'sbom')
