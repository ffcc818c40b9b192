// What is built, and where it is tried, as the workflows take it:
//
//   node scripts/release/matrix.mjs build     a row for each platform: platform, runner
//   node scripts/release/matrix.mjs test      a row for each place: platform, runner, and node or image
import { help, isMain } from '../main.mjs'

/** The lines of Node.js that packages are tried on. */
export const NODES = [20, 22, 24, 26]

/** Each platform that has a package: what Rust calls it, and the runner that builds it. Those of Linux are cross-built with zig. */
export const PLATFORMS = {
  'linux-x64-gnu': { rust: 'x86_64-unknown-linux-gnu', runner: 'ubuntu-24.04' },
  'linux-arm64-gnu': { rust: 'aarch64-unknown-linux-gnu', runner: 'ubuntu-24.04' },
  'linux-x64-musl': { rust: 'x86_64-unknown-linux-musl', runner: 'ubuntu-24.04' },
  'linux-arm64-musl': { rust: 'aarch64-unknown-linux-musl', runner: 'ubuntu-24.04' },
  'darwin-x64': { rust: 'x86_64-apple-darwin', runner: 'macos-15-intel' },
  'darwin-arm64': { rust: 'aarch64-apple-darwin', runner: 'macos-15' },
  'win32-x64-msvc': { rust: 'x86_64-pc-windows-msvc', runner: 'windows-2025' },
}

export function build() {
  return Object.entries(PLATFORMS).map(([platform, { runner }]) => ({ platform, runner }))
}

/** In images without a compiler on Linux, of each architecture on a machine that has it; elsewhere as it comes. */
export function test() {
  return Object.entries(PLATFORMS).flatMap(([platform, { runner }]) => {
    const [system, cpu, libc] = platform.split('-')
    if (system !== 'linux') return NODES.map((node) => ({ platform, runner, node: String(node) }))
    const machine = cpu === 'arm64' ? 'ubuntu-24.04-arm' : 'ubuntu-24.04'
    const image = libc === 'musl' ? 'alpine' : 'slim'
    return NODES.map((node) => ({ platform, runner: machine, image: `node:${node}-${image}` }))
  })
}

if (isMain(import.meta.url)) {
  help(import.meta.url)
  const list = new Map(Object.entries({ build, test })).get(process.argv[2])
  if (list === undefined) {
    console.error('matrix: say build or test')
    process.exitCode = 2
  } else console.log(JSON.stringify({ include: list() }))
}
