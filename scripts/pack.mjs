// Packs what is published: millrace, and a package for each platform whose binary is there.
//
//   node scripts/pack.mjs [--binaries FOLDER] [--out FOLDER]     default: the binary of this checkout, target/packages
//
// What the packages say of each other is written here and not in package.json, whose dependencies have to exist
// when the checkout is installed. The repository is that of GITHUB_REPOSITORY: packages made without it can be
// installed, and not published. Prints a line for each tarball.
import { spawnSync } from 'node:child_process'
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { platforms } from './platforms.mjs'
import { linksOf } from './release/repository.mjs'

const root = join(import.meta.dirname, '..')
const text = { type: 'string' }
const { values: flags } = parseArgs({ options: { binaries: text, out: text } })
const binaries = resolve(flags.binaries ?? root)
const out = resolve(flags.out ?? join(root, 'target', 'packages'))
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

const { name, version, description, license, engines } = manifest
const publishConfig = { access: 'public' } // npm takes scoped packages for private ones
const shared = { version, license, ...linksOf(process.env), engines, publishConfig }
const licences = ['LICENSE-MIT', 'LICENSE-APACHE']
const nameOf = (triple) => `@millrace/${triple}`

rmSync(out, { recursive: true, force: true })
const found = Object.keys(platforms).filter((triple) => existsSync(join(binaries, `millrace.${triple}.node`)))
if (found.length === 0) stop(`there is no millrace.PLATFORM.node in ${binaries}`)
for (const triple of found) {
  const { os, cpu, libc } = platforms[triple]
  const file = `millrace.${triple}.node`
  const folder = folderOf(triple)
  copyFileSync(join(binaries, file), join(folder, file))
  writeFileSync(
    join(folder, 'README.md'),
    `The binary of [millrace](https://www.npmjs.com/package/${name}) for ${triple}.\n`,
  )
  pack(folder, {
    name: nameOf(triple),
    description: `The binary of ${name} for ${triple}`,
    ...shared,
    main: file,
    files: [file, ...licences],
    os: [os],
    cpu: [cpu],
    libc: libc && [libc],
    preferUnplugged: true, // Yarn would leave it in an archive, where the system cannot load it
  })
}

const folder = folderOf(name)
for (const file of [...manifest.files, 'README.md', 'CHANGELOG.md']) {
  cpSync(join(root, file), join(folder, file), { recursive: true })
}
const { type, exports, main, types, bin, files } = manifest
const dependencies = Object.keys(platforms).map((triple) => [nameOf(triple), version])
pack(folder, {
  name,
  description,
  ...shared,
  keywords: ['proxy', 'reverse-proxy', 'http', 'http2', 'gateway'],
  type,
  exports,
  main,
  types,
  bin,
  files: [...files, 'CHANGELOG.md', ...licences],
  optionalDependencies: Object.fromEntries(dependencies),
})

function folderOf(one) {
  const folder = join(out, 'content', one)
  mkdirSync(folder, { recursive: true })
  for (const file of licences) copyFileSync(join(root, file), join(folder, file))
  return folder
}

function pack(folder, content) {
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(content, null, 2)}\n`)
  const npm = process.env.npm_execpath?.endsWith('.js')
    ? [process.execPath, process.env.npm_execpath]
    : ['npm']
  const [command, ...args] = [...npm, 'pack', '--json', '--ignore-scripts', '--pack-destination', out]
  const shell = process.platform === 'win32' && command === 'npm'
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: folder, encoding: 'utf8', shell })
  if (status !== 0) stop(`npm pack failed in ${folder}: ${stderr}`)
  const [tarball] = Object.values(JSON.parse(stdout))
  console.log(
    `packed ${join(out, tarball.filename)}: ${tarball.size} bytes, ${tarball.unpackedSize} unpacked`,
  )
}

function stop(reason) {
  console.error(`pack: ${reason}`)
  process.exit(1)
}
