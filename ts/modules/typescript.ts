import Module from 'node:module'
import { join } from 'node:path'
import { folder, inDist } from '../addon/dist.js'

/** What removes types, on Nodes that do not do it themselves: the same that does it in the others. */
interface Amaro {
  transformSync(source: string, options: { mode: 'strip-only'; filename: string }): { code: string }
}

/** What is wrong with a source, and where in it. */
export interface SyntaxProblem {
  readonly message: string
  readonly line: number
  readonly column: number
}

export const isTypeScript = (file: string) => /\.[mc]?ts$/.test(file)

/** Whether this Node removes types by itself. */
export const stripsTypes = Boolean((process.features as { typescript?: unknown }).typescript)

/** A source without its types, each other character in its place; or what is wrong with it. */
export function strip(source: string, filename: string): { readonly code: string } | SyntaxProblem {
  try {
    return theAmaro().transformSync(source, { mode: 'strip-only', filename })
  } catch (error) {
    return problemOf(error as Complaint)
  }
}

let amaro: Amaro | undefined

/** It lies in dist/; in a checkout that is not built it is a dependency. Loaded when needed: 3.5 MB. */
function theAmaro(): Amaro {
  if (amaro !== undefined) return amaro
  amaro = Module.createRequire(join(folder, 'x.js'))(inDist('amaro.cjs') ?? 'amaro') as Amaro
  return amaro
}

/** What it throws. */
interface Complaint {
  readonly message?: unknown
  /** From 1 on. */
  readonly startLine?: number
  /** From 0 on. */
  readonly startColumn?: number
}

function problemOf({ message, startLine = 1, startColumn = 0 }: Complaint): SyntaxProblem {
  return { message: String(message).split('\n')[0]!, line: startLine, column: startColumn + 1 }
}
