// Builds the addon of one platform into target/artifacts, as it is published, and says what is wrong with it:
//
//   node scripts/release/build.mjs linux-x64-gnu
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { runMain } from '../main.mjs'
import { NAPI_BUILD } from '../napi.mjs'
import { PLATFORMS } from './matrix.mjs'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const folder = 'target/artifacts'

/** The commands that build a platform and check what came out; each without `node`. @throws Error for one that has no package */
export function commands(platform) {
  if (!Object.hasOwn(PLATFORMS, platform))
    throw new Error(`there is no package for ${platform}; there are: ${Object.keys(PLATFORMS).join(', ')}`)
  const file = `${folder}/millrace.${platform}.node`
  if (platform.startsWith('linux-'))
    return [
      ['scripts/cross.mjs', platform, folder],
      ['scripts/symbols.mjs', file],
    ]
  const target = PLATFORMS[platform].rust
  const { cli, args, apart } = NAPI_BUILD
  return [[cli, ...args, ...apart, '--target', target, '--output-dir', folder]]
}

function main() {
  const platform = process.argv[2]
  const all = commands(platform)
  mkdirSync(join(root, folder), { recursive: true })
  for (const args of all) {
    const { status, error } = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' })
    if (status !== 0) throw new Error(`${args[0]}: ${error?.message ?? `status ${status}`}`)
  }
  const file = `millrace.${platform}.node`
  if (!readdirSync(join(root, folder)).includes(file)) throw new Error(`${folder} has no ${file}`)
}

await runMain(import.meta.url, main, 'build')
