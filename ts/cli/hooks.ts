/** Hooks of `node:module` for Nodes that do not remove types themselves: TypeScript is loaded without its types. */
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { isTypeScript, strip } from '../modules/typescript.js'

interface Loaded {
  format: string
  source?: string
  shortCircuit?: boolean
}

type Load = (url: string, context: { format?: string | null }) => Promise<Loaded>

/** A file is a module whatever the package says: one with `require` cannot be told apart here. */
export async function load(url: string, context: { format?: string | null }, next: Load): Promise<Loaded> {
  const path = url.split(/[?#]/)[0]!
  if (!path.startsWith('file:') || !isTypeScript(path)) return next(url, context)
  const file = fileURLToPath(path)
  if (path.includes('/node_modules/'))
    throw new Error(`${file}: TypeScript below node_modules is not loaded, as Node.js does not either`)
  if (path.endsWith('.cts'))
    throw new Error(`${file}: .cts is not loaded by this version of Node.js: use .ts`)
  const stripped = strip(await readFile(file, 'utf8'), file)
  // What is wrong with it is looked for by the one who asked for it.
  if (!('code' in stripped)) throw new SyntaxError(stripped.message)
  return { format: 'module', source: stripped.code, shortCircuit: true }
}
