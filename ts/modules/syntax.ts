import { filesFrom, sourceOf } from './imports.js'
import type { Place } from './reason.js'
import { strip } from './typescript.js'

/** What the words of the parser mean to someone who runs a program. */
const UNSUPPORTED =
  'millrace, as Node.js, removes types and translates nothing: use what is left when types are removed, or compile first'

/** What is wrong, and where. */
interface Found {
  readonly place: Place
  readonly message: string
}

/**
 * Looks for what is wrong with the syntax of a module and those it imports by relative paths: the errors of
 * modules do not say where. Undefined where nothing is found.
 */
export function findSyntaxError(entry: string): Found | undefined {
  for (const file of filesFrom(entry)) {
    const source = sourceOf(file)
    if (source === undefined) continue
    const stripped = strip(source, file)
    if ('code' in stripped) continue
    const { message, line, column } = stripped
    const isOurs = /not supported in/.test(message)
    return { place: { file, line, column }, message: isOurs ? unsupported(message) : message }
  }
  return undefined
}

function unsupported(message: string): string {
  const what = message.replace(/ (?:is|are) not supported in .*$/, '').replace(/^TypeScript /, '')
  return `${what}: not supported. ${UNSUPPORTED[0]!.toUpperCase()}${UNSUPPORTED.slice(1)}`
}

/** A decorator passes the parser, and no version of Node.js: the place is where that one stops. */
export function decoratorAt(place: Place): Found | undefined {
  const { file, line = 0, column = 0 } = place
  const text = sourceOf(file)
    ?.split('\n')
    [line - 1]?.slice(column - 1)
  if (text === undefined || !/^@[\w$(]/.test(text)) return undefined
  return { place, message: `decorators are not supported: ${UNSUPPORTED}` }
}
