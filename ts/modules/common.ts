import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'

/** Whether an engine says of CommonJS that it is a module. */
export function saysItIsAModule(message: string): boolean {
  return /^(?:Cannot use import statement outside a module|Unexpected token 'export'|Cannot use 'import\.meta' outside a module|await is only valid in async functions and the top level bodies of modules)/.test(
    message,
  )
}

/** The package.json that says of a file what it is, and what its `type` is. */
export function packageOf(file: string): { readonly file: string; readonly type: unknown } | undefined {
  for (let folder = dirname(file); ; folder = dirname(folder)) {
    const found = join(folder, 'package.json')
    if (existsSync(found)) return { file: found, type: typeIn(found) }
    if (folder === dirname(folder)) return undefined
  }
}

function typeIn(file: string): unknown {
  try {
    return (JSON.parse(readFileSync(file, 'utf8')) as { type?: unknown } | null)?.type
  } catch {
    return undefined
  }
}

/** What to do about a file that is a module by its words, and CommonJS by its name or its package. */
export function outsideOfModule(file: string): string | undefined {
  const [, end] = /\.([mc]?)([jt])s$/.exec(file) ?? []
  if (end === 'c')
    return `it has import or export, and its ending is that of CommonJS: name it ${nameIt(file)}`
  const found = packageOf(file)
  if (end !== '' || found?.type !== 'commonjs') return undefined
  const manifest = relative(dirname(file), found.file)
  return `it has import or export, and is CommonJS by "type": "commonjs" in ${manifest}: say "type": "module" there, or name it ${nameIt(file)}`
}

const nameIt = (file: string) => file.replace(/^.*[/\\]/, '').replace(/\.c?([jt]s)$/, '.m$1')
