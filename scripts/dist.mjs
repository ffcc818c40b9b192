// dist/, what is published of ts/:
//
//   dist/cjs       the code that Node runs, and all types
//   dist/NAME.js   what `import` gets: the names of dist/cjs, so that there is one of each class either way
//   dist/esm       the same code as modules, for bundlers (condition `module`)
//   dist/cjs/cli   the command, which is not for import; what it needs of other packages is in dist/ too, so that
//                  the package depends on none
//
// CommonJS is what Node runs, as `require` of a module warns on Node 22.12. Few files, as each that is loaded
// costs a third of a millisecond.
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** What is run by its path, and cannot be imported: the thread of a module with phases. */
const INNER = ['threads/worker']

/** Writes the code. The compiler adds the types, then {@link completeTypes}. */
export async function writeCode(root) {
  const at = (...path) => join(root, 'dist', ...path)
  const entries = entriesOf(root)
  const inputOf = (names) => Object.fromEntries(names.map((name) => [name, join(root, 'ts', `${name}.ts`)]))
  const command = (name) => (hasCommand(root) ? [name] : [])
  const output = await bundle(root, inputOf([...entries, ...INNER, ...command('cli/index')]), {
    cjs: at('cjs'),
  })
  await bundle(root, inputOf([...entries, ...INNER, ...command('cli/hooks'), ...command('cli/modules')]), {
    esm: at('esm'),
  })
  for (const { name, exports } of output) if (entries.includes(name)) writeEntry(at(), name, exports)
  writeFileSync(at('cjs', 'package.json'), '{ "type": "commonjs" }\n')
  writeFileSync(at('esm', 'package.json'), '{ "type": "module" }\n')
  if (!hasCommand(root)) return
  copyFileSync(join(root, 'node_modules/amaro/dist/index.js'), at('amaro.cjs'))
  writeFileSync(at('LICENSES.txt'), licences(root))
}

/** Whether this is a checkout of all of it. */
export const hasCommand = (root) => existsSync(join(root, 'ts/cli/index.ts'))

/** The packages that dist/ has parts of, and their licences. They are development dependencies here. */
export const BUILT_IN = { yaml: ['LICENSE'], amaro: ['LICENSE.md', 'dist/LICENSE'] }

/** The licences of what of other packages is in dist/. */
function licences(root) {
  const texts = Object.entries(BUILT_IN).map(([name, list]) => {
    const { version } = JSON.parse(readFileSync(join(root, 'node_modules', name, 'package.json'), 'utf8'))
    const read = (file) => readFileSync(join(root, 'node_modules', name, file), 'utf8')
    return `${name} ${version}\n\n${list.map(read).join('\n')}`
  })
  return texts.join('\n----\n\n')
}

/** Bundles the modules of `input` into a folder for each format, with what they share in files of its own. */
export async function bundle(root, input, folders) {
  const { rolldown } = await import('rolldown')
  const one = await rolldown({
    input,
    platform: 'node',
    external: /^node:/,
    tsconfig: join(root, 'tsconfig.json'),
    transform: { target: 'es2022' },
  })
  const files = []
  try {
    for (const [format, dir] of Object.entries(folders)) {
      mkdirSync(dir, { recursive: true })
      const names = { entryFileNames: '[name].js', chunkFileNames: 'shared-[name].js', keepNames: true }
      const { output } = await one.write({ ...names, dir, format, exports: 'named' })
      if (files.length === 0) files.push(...output)
    }
  } finally {
    await one.close()
  }
  return files
}

/** The declarations of the addon go along. They lie beside package.json, where `../` does not lead from here. */
export function completeTypes(root) {
  const file = join(root, 'dist', 'cjs', 'native.d.ts')
  copyFileSync(join(root, 'index.d.ts'), join(root, 'dist', 'cjs', 'addon.d.ts'))
  writeFileSync(file, readFileSync(file, 'utf8').replaceAll("'../index.js'", "'./addon.js'"))
}

/** What can be imported: `index` for `./dist/index.js`, which is made of `ts/index.ts`, and so on. */
function entriesOf(root) {
  const { exports = {} } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const files = Object.values(exports).map((entry) => entry?.import?.default)
  return files.filter((file) => file !== undefined).map((file) => file.slice('./dist/'.length, -'.js'.length))
}

/** `require`, as Node takes 30 ms to find the names of CommonJS that is imported. */
function writeEntry(dist, name, names) {
  const code = `${name.includes('/') ? '../' : './'}cjs/${name}.js`
  const lines = names.toSorted().map((one) => `  ${one},\n`)
  const text = [
    "import { createRequire } from 'node:module'\n\n",
    `export const {\n${lines.join('')}} = createRequire(import.meta.url)('${code}')\n`,
  ]
  mkdirSync(dirname(join(dist, name)), { recursive: true })
  writeFileSync(join(dist, `${name}.js`), text.join(''))
  writeFileSync(join(dist, `${name}.d.ts`), `export * from '${code}'\n`)
}
