// Builds the addon for one platform, as it is published, on a Linux machine:
//
//   node scripts/cross.mjs linux-x64-musl [FOLDER]      to target/artifacts, or FOLDER
//
// Zig is the C compiler and linker: it brings the headers and stubs of each C library, of glibc in each version.
// If zig and cargo-zigbuild are not on PATH they come from PyPI, into target/zig.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { help } from './main.mjs'
import { NAPI_BUILD } from './napi.mjs'
import { PLATFORMS } from './release/matrix.mjs'
import { NEWEST_GLIBC } from './symbols.mjs'

const TOOLS = ['ziglang==0.15.2', 'cargo-zigbuild==0.24.1']

help(import.meta.url)
const root = join(import.meta.dirname, '..')
const [, , triple, folder = 'target/artifacts'] = process.argv
const here = Object.keys(PLATFORMS).filter((one) => one.startsWith('linux-'))
if (!here.includes(triple)) {
  console.error(`cross: give one of ${here.join(', ')}; macOS and Windows are built where they run`)
  process.exit(2)
}
const { rust } = PLATFORMS[triple]
// A gnu target ends in the newest glibc that it may need.
const target = triple.endsWith('-gnu') ? `${rust}.${NEWEST_GLIBC}` : rust

const env = { ...process.env, PATH: withTools(process.env.PATH ?? '') }
const libraries = spawnSync('rustc', ['--print', 'target-libdir', '--target', rust], { encoding: 'utf8' })
if (!existsSync((libraries.stdout ?? '').trim())) run('rustup', ['target', 'add', rust])

mkdirSync(join(root, folder), { recursive: true })
const how = ['--cross-compile', '--target', target, '--output-dir', folder]
run(process.execPath, [join(root, NAPI_BUILD.cli), ...NAPI_BUILD.args, ...NAPI_BUILD.apart, ...how])

function withTools(path) {
  if (found('zig', path) && found('cargo-zigbuild', path)) return path
  const tools = join(root, 'target', 'zig')
  const bin = join(tools, 'bin')
  if (!existsSync(join(bin, 'cargo-zigbuild'))) {
    console.error(`cross: installing ${TOOLS.join(' and ')} to target/zig`)
    run('python3', ['-m', 'venv', tools], process.env)
    run(join(bin, 'python'), ['-m', 'pip', 'install', '--quiet', '--no-cache-dir', ...TOOLS], process.env)
  }
  return [bin, path].join(delimiter)
}

function found(program, path) {
  return path.split(delimiter).some((folder) => existsSync(join(folder, program)))
}

function run(command, args, environment = env) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit', env: environment })
  if (status === 0) return
  console.error(`cross: ${command} ${args.join(' ')}: ${error?.message ?? `status ${status}`}`)
  process.exit(1)
}
