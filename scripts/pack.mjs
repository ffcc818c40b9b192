// Packs what is published: millrace, and a package for each platform whose binary is there.
//
//   node scripts/pack.mjs [--binaries FOLDER] [--out FOLDER]     default: the binary of this checkout, target/packages
//
// What the packages say of each other is written here and not in package.json, whose dependencies have to exist
// when the checkout is installed. The repository is that of GITHUB_REPOSITORY: packages made without it can be
// installed, and not published. Prints a line for each tarball.
import { spawnSync } from 'node:child_process'
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join, resolve } from 'node:path'
import { filesUnder } from './fingerprint.mjs'
import { flagsOf } from './main.mjs'
import { platforms } from './platforms.mjs'
import { withLinks } from './release/links.mjs'
import { linksOf } from './release/repository.mjs'

const root = join(import.meta.dirname, '..')
const text = { type: 'string' }
const flags = flagsOf(import.meta.url, 'pack', { binaries: text, out: text })
const binaries = resolve(flags.binaries ?? root)
const out = resolve(flags.out ?? join(root, 'target', 'packages'))
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

const { name, version, description, license, engines } = manifest
const links = linksOf(process.env)
const publishConfig = { access: 'public' } // npm takes scoped packages for private ones
const shared = { version, license, ...links, engines, publishConfig }
const licences = ['LICENSE-MIT', 'LICENSE-APACHE']
const nameOf = (triple) => `@millrace/${triple}`

const found = Object.keys(platforms).filter((triple) => existsSync(join(binaries, `millrace.${triple}.node`)))
if (found.length === 0) stop(`there is no millrace.PLATFORM.node in ${binaries}`)
// All of it is made in a folder of its own: one that fails leaves what was packed before as it was.
mkdirSync(out, { recursive: true })
const making = mkdtempSync(join(out, '.packing-'))
process.on('exit', () => rmSync(making, { recursive: true, force: true }))
const packed = []
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
const contents = [...manifest.files, 'docs', 'README.md', 'CHANGELOG.md']
for (const file of contents) cpSync(join(root, file), join(folder, file), { recursive: true })
const base = links.homepage?.replace('#readme', `/blob/v${version}/`) // the tag that the release makes
for (const page of filesUnder(folder, '').filter((file) => file.endsWith('.md'))) {
  const packed = (path) => existsSync(join(folder, path))
  writeFileSync(
    join(folder, page),
    withLinks(readFileSync(join(folder, page), 'utf8'), page, { packed, base }),
  )
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
  files: [...files, 'docs', 'CHANGELOG.md', ...licences],
  optionalDependencies: Object.fromEntries(dependencies),
})
replace()

/** Puts what was made where it belongs, in place of what this script has put there before, and of nothing else. */
function replace() {
  const triples = Object.keys(platforms).join('|')
  const tarball = new RegExp(`^millrace-((${triples})-)?\\d.*\\.tgz$`)
  for (const one of readdirSync(out)) if (tarball.test(one)) rmSync(join(out, one))
  mkdirSync(join(out, 'content'), { recursive: true })
  for (const one of [name, ...Object.keys(platforms)])
    rmSync(join(out, 'content', one), { recursive: true, force: true })
  for (const one of [name, ...found]) renameSync(join(making, 'content', one), join(out, 'content', one))
  for (const { filename, size, unpackedSize } of packed) {
    renameSync(join(making, filename), join(out, filename))
    console.log(`packed ${join(out, filename)}: ${size} bytes, ${unpackedSize} unpacked`)
  }
}

function folderOf(one) {
  const folder = join(making, 'content', one)
  mkdirSync(folder, { recursive: true })
  for (const file of licences) copyFileSync(join(root, file), join(folder, file))
  return folder
}

function pack(folder, content) {
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(content, null, 2)}\n`)
  const npm = process.env.npm_execpath?.endsWith('.js')
    ? [process.execPath, process.env.npm_execpath]
    : ['npm']
  const [command, ...args] = [...npm, 'pack', '--json', '--ignore-scripts', '--pack-destination', making]
  const shell = process.platform === 'win32' && command === 'npm'
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: folder, encoding: 'utf8', shell })
  if (status !== 0) stop(`npm pack failed in ${folder}: ${stderr}`)
  packed.push(...Object.values(JSON.parse(stdout)))
}

function stop(reason) {
  console.error(`pack: ${reason}`)
  process.exit(1)
}
