/**
 * A hook of `node:module` for Nodes that remove types themselves: in a package whose package.json says
 * `"type": "commonjs"`, as `npm init` writes it, TypeScript with `import` or `export` is a module all the same, as on
 * those that do not.
 */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { compileFunction } from 'node:vm'
import { saysItIsAModule } from '../modules/common.js'
import { strip } from '../modules/typescript.js'

interface Context {
  readonly format?: string | null
}

type Load = (url: string, context: Context) => unknown

export function load(url: string, context: Context, next: Load): unknown {
  const path = url.split(/[?#]/)[0]!
  const isCommon = context.format === 'commonjs-typescript' && path.startsWith('file:')
  return isCommon && path.endsWith('.ts') && isModule(fileURLToPath(path))
    ? next(url, { ...context, format: 'module-typescript' })
    : next(url, context)
}

/** As Node.js tells it where package.json says nothing: by what does not parse as CommonJS. */
function isModule(file: string): boolean {
  const stripped = strip(readFileSync(file, 'utf8'), file)
  if (!('code' in stripped)) return false
  try {
    compileFunction(stripped.code, ['exports', 'require', 'module', '__filename', '__dirname'])
    return false
  } catch (error) {
    return saysItIsAModule(String((error as Error).message))
  }
}
