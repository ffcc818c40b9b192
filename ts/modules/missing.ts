import { existsSync, statSync } from 'node:fs'
import { dirname, extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { allImportsIn, fileOf, filesFrom, type Import, importsIn, sourceOf } from './imports.js'
import { isOurs } from './place.js'
import type { Place } from './reason.js'
import { isTypeScript, stripsTypes } from './typescript.js'

/** An import that is wrong: where it is, and what is wrong with it. */
export interface Wrong {
  readonly place: Place
  readonly message: string
}

/** What Node.js says of an import, as a pattern; which import it is; and what is said of that one. */
interface Complaint {
  readonly pattern: RegExp
  is(one: Import, match: readonly string[]): boolean
  says?(one: Import, match: readonly string[]): string
}

const toFile = ({ specifier, place }: Import, path: string) => {
  const file = fileOf(specifier, place.file)
  return (
    file !== undefined && file === (path.startsWith('file:') ? fileURLToPath(path.split(/[?#]/)[0]!) : path)
  )
}
/** To a package, by its name or by a path of a file in it. */
const toPackage = ({ specifier }: Import, found: string) =>
  specifier === found ||
  specifier.startsWith(`${found}/`) ||
  found.includes(`/node_modules/${nameOf(specifier)}/`)
const nameOf = (specifier: string) => /^(?:@[^/]+\/)?[^/]+/.exec(specifier)?.[0] ?? specifier

const COMPLAINTS: readonly Complaint[] = [
  {
    pattern: /^Cannot find module '(.+?)'/,
    is: (one, [, path]) => toFile(one, path!) || toPackage(one, path!),
    says: (one, [all, path]) =>
      toFile(one, path!) ? `Cannot find module '${one.specifier}'${withEnding(one.specifier, path!)}` : all!,
  },
  {
    pattern: /^Cannot find package '(.+?)'/,
    is: (one, [, name]) => toPackage(one, name!),
    says: ({ specifier, place }, [all, name]) =>
      name!.includes('node_modules')
        ? all!
        : `${all}: it is not installed${forgotten(specifier, place.file)}`,
  },
  {
    pattern: /^Directory import '(.+?)'/,
    is: (one, [, path]) => toFile(one, path!),
    says: ({ specifier }, [, path]) => `'${specifier}' is a directory${indexOf(specifier, path!)}`,
  },
  {
    pattern: /^Module "(.+?)" needs an import a\w+ of/,
    is: (one, [, url]) => toFile(one, url!),
    says: ({ specifier }) =>
      `'${specifier}' needs an import attribute: from '${specifier}' with { type: 'json' }`,
  },
  {
    pattern: /^Module "(.+?)" is not of type/,
    is: (one, [, url]) => toFile(one, url!),
    says: ({ specifier }, [all]) => all!.replace(/"(.+?)"/, () => `'${specifier}'`),
  },
  {
    pattern: /^Unknown file extension "(.*?)" for (.+)$/m,
    is: (one, [, , path]) => toFile(one, path!),
    says: (_, [, end]) => unknownEnding(end!),
  },
  { pattern: /^No such built-in module: (\S+)/, is: ({ specifier }, [, name]) => specifier === name },
  {
    pattern: /Received protocol '(.+?)'/,
    is: ({ specifier }, [, scheme]) => specifier.startsWith(scheme!),
  },
  {
    pattern: /^Package subpath '\.\/(.+?)' is not defined by/,
    is: ({ specifier }, [, path]) => specifier.endsWith(`/${path}`),
  },
  { pattern: /specifier "(.+?)" is not defined/, is: ({ specifier }, [, name]) => specifier === name },
  { pattern: /^Invalid module "(.+?)"/, is: ({ specifier }, [, name]) => specifier === name },
]

/** The import that Node.js complains of, which it names but for its place. Undefined where it is of none. */
export function wrongImport(entry: string, message: string): Wrong | undefined {
  const from = importerOf(message)
  const plain = message.replace(/(?: resolving ES modules)? imported from [\s\S]*$/, '').split('\n')[0]!
  for (const { pattern, is, says } of COMPLAINTS) {
    const match = pattern.exec(plain)
    if (match === null) continue
    const found = findImport(from === undefined ? filesFrom(entry) : [from], (one) => is(one, match))
    if (found !== undefined) return { place: found.place, message: says?.(found, match) ?? plain }
    const [, end, path] = /^Unknown file extension "(.*?)" for (.+)$/.exec(plain) ?? []
    if (path !== undefined) return { place: { file: path }, message: unknownEnding(end!) }
    return { place: { file: from ?? entry }, message: plain }
  }
  return undefined
}

/** The file that Node.js says the import is in; where that is this code, the module itself is what is imported. */
function importerOf(message: string): string | undefined {
  const [, base] = / imported from (.+?)$/m.exec(message) ?? []
  const file = base?.startsWith('file:') ? fileURLToPath(base) : base
  return file === undefined || isOurs(file) ? undefined : file
}

/** The first import of some files that is looked for. */
export function findImport(files: Iterable<string>, is: (one: Import) => boolean): Import | undefined {
  let seeming: Import | undefined
  for (const file of files) {
    const code = sourceOf(file)
    if (code === undefined) continue
    const found = importsIn(code, file).find(is)
    if (found !== undefined) return found
    seeming ??= allImportsIn(code, file).find(is)
  }
  return seeming
}

const unknownEnding = (end: string) => {
  const why = end.endsWith('ts') && !stripsTypes ? ': this version of Node.js does not remove types' : ''
  return `Unknown file extension "${end}"${why}`
}

function withEnding(specifier: string, path: string): string {
  const there = nearBy(specifier, path)
  return there === undefined ? '' : `; there is ${there}: imports name the file as it is, with its ending`
}

/** What a name of a file that is not there, at `missing`, was probably meant to be. */
export function nearBy(name: string, missing: string): string | undefined {
  if (extname(missing) !== '' && isTypeScript(missing)) return undefined
  const names = ['.ts', '.js', '.mjs', '.mts', '.cjs'].map((end) => [name + end, missing + end])
  if (/\.[mc]?js$/.test(missing)) names.unshift([name, missing].map((path) => path.replace(/js$/, 'ts')))
  return names.find(([, path]) => existsSync(path!))?.[0]
}

function indexOf(specifier: string, path: string): string {
  const found = ['index.js', 'index.mjs', 'index.ts', 'index.mts'].find((name) =>
    existsSync(join(path, name)),
  )
  return found === undefined
    ? ''
    : `; there is ${specifier.replace(/\/$/, '')}/${found}: imports name the file`
}

/** A file that is beside, and was named as a package is. */
function forgotten(specifier: string, from: string): string {
  const path = join(dirname(from), specifier)
  const isFile = statSync(path, { throwIfNoEntry: false })?.isFile() ?? false
  return isFile ? `; there is ./${specifier}: paths of files begin with ./` : ''
}
