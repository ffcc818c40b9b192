import { dirname, join, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { dist } from '../addon/dist.js'
import type { Place } from './reason.js'

/** The place that Node.js shows above a message: the file and the line, the line itself, and carets below. */
export function placeAbove(text: string): Place | undefined {
  const [, head, line, below] = /^((?:file:\/\/|\/|[A-Za-z]:\\).+):(\d+)\n((?:.*\n){0,3})/m.exec(text) ?? []
  if (head === undefined) return undefined
  const caret = /^\s*\^+\s*$/m.exec(below!)?.[0].replace('\n', '')
  return { file: pathOf(head), line: Number(line), ...(caret && { column: caret.indexOf('^') + 1 }) }
}

/** The first place of a stack in a file of the program's. */
export function placeInStack(stack: string): Place | undefined {
  const frame = framesOf(stack).find(isTheirs)
  return frame && { ...frame, file: pathOf(frame.file) }
}

/** Whether it was Node.js that threw, or this, and not the program as it ran. */
export function isOfNode(stack: string): boolean {
  const [first] = framesOf(stack)
  return first === undefined || !isTheirs(first)
}

function isTheirs({ file }: Place): boolean {
  return /^(?:file:\/\/|\/|[A-Za-z]:\\)/.test(file) && !isOurs(pathOf(file))
}

function framesOf(stack: string): Required<Place>[] {
  const frames = stack.matchAll(/^\s+at (?:.*\()?(?:async )?(.+?):(\d+):(\d+)\)?$/gm)
  return [...frames].map(([, file, line, column]) => ({
    file: file!,
    line: Number(line),
    column: Number(column),
  }))
}

function pathOf(given: string): string {
  const path = given.split('?')[0]!
  return path.startsWith('file:') ? fileURLToPath(path) : path
}

const ours = dist === undefined ? [] : [dist, join(dirname(dist), 'bin')]
/** Whether a file is one of millrace itself. */
export const isOurs = (file: string) => ours.some((folder) => file.startsWith(folder + sep))
