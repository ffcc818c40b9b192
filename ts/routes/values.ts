import { type Answer, checkAnswer } from '../answer.js'
import { type OptionProblem, show } from '../errors.js'
import { checkValue, editable } from '../headers.js'
import type { NativeAction, NativeHeaderChange } from '../native.js'
import type { Checked, Rule } from '../options.js'
import { nativePath } from './match.js'

/** What is always done to the fields of a head: `set`, then `append`, then `remove`. */
export interface HeaderChanges {
  /** Replaces all fields with these names. */
  set?: Readonly<Record<string, string | readonly string[]>>
  /** Adds fields. */
  append?: Readonly<Record<string, string | readonly string[]>>
  /** Removes all fields with these names. */
  remove?: readonly string[]
}

/** Where a client is sent, with 302 unless a status is given. */
export type Redirect =
  | string
  | {
      /** A path or a URL. */
      to: string
      /** Default: 302. */
      status?: 301 | 302 | 303 | 307 | 308
    }

/**
 * What becomes of the path: another in its place, the beginning of it replaced, or what an expression
 * finds replaced (`$1`, `$<name>`).
 */
export type Rewrite =
  | string
  | {
      /** The beginning of the path, whole segments. */
      prefix: string
      /** What takes its place. */
      to: string
    }
  | {
      /** What is looked for in the path. */
      pattern: RegExp
      /** What takes its place. */
      to: string
    }

/** What is known of a request's way without asking a phase. It is done in Rust; nothing crosses. */
export interface RouteValues {
  /** Changes the head that goes upstream, before `upstreamRequestFilter`. Default: none. */
  requestHeaders?: HeaderChanges
  /**
   * Changes the head of a response, before the phases of responses; to an answer of one's own adds what
   * it does not say itself. Default: none.
   */
  responseHeaders?: HeaderChanges
  /**
   * Sends the client elsewhere: to a path or a URL, with `{scheme}`, `{host}`, `{path}`, and the names of
   * `match.path`. The query goes along unless it brings one. Default: none.
   */
  redirect?: Redirect
  /**
   * Another path on the way upstream. It gets the full path and gives the full path; the query stays
   * unless it brings one. Default: none.
   */
  rewrite?: Rewrite
  /** Answers: a status, or status, headers and a whole body. No phase but `logging` runs. Default: none. */
  respond?: number | Exclude<Answer, number | Response>
}

/** The rules of {@link RouteValues}. */
export const valueRules = {
  requestHeaders: changes(undefined, true),
  responseHeaders: changes(undefined, false),
  redirect: redirect(undefined),
  rewrite: rewrite(undefined),
  respond: respond(undefined),
}

/** What becomes of a request: the one of the three that is given. */
export function actionOf(
  values: Pick<Checked<typeof valueRules>, 'redirect' | 'rewrite' | 'respond'>,
  path: string,
  problems: OptionProblem[],
): NativeAction {
  const given = (['redirect', 'rewrite', 'respond'] as const).filter((name) => values[name] !== undefined)
  for (const name of given.slice(1))
    problems.push({
      path: path + name,
      found: values[name],
      allowed: `nothing, as ${given[0]} says what becomes of the request`,
      other: path + given[0],
    })
  return values[given[0] ?? 'redirect'] ?? PASS
}

const PASS: NativeAction = { kind: 'pass', status: 0, to: '', fields: '' }

const FIELDS = 'an object of headers'

function changes(fallback: undefined, isRequest: boolean): Rule<NativeHeaderChange[] | undefined> {
  const allowed = 'an object with set, append and remove'
  return {
    allowed,
    fallback,
    check(found, path, problems) {
      if (!isObject(found)) return wrong(problems, path, found, allowed)
      const made: NativeHeaderChange[] = []
      const add = (kind: string, name: string, given: unknown, place = `${path}.${kind}.${name}`) => {
        const values = Array.isArray(given) ? given : [given]
        let [here, shown] = [place, kind === 'remove' ? name : given]
        try {
          if (editable(name) === '\nhost:' && isRequest) throw new Error('host of HttpPeer sets it')
          for (const [at, value] of values.entries()) {
            if (Array.isArray(given)) [here, shown] = [`${place}[${at}]`, value]
            checkValue(name, value)
          }
          made.push({ kind, name, values })
        } catch (error) {
          wrong(problems, here, shown, `a header that may be changed: ${(error as Error).message}`)
        }
      }
      for (const [kind, given] of Object.entries(found)) {
        if (kind === 'remove' && Array.isArray(given)) continue
        if ((kind === 'set' || kind === 'append') && isObject(given)) continue
        const known: Record<string, string> = { set: FIELDS, append: FIELDS, remove: 'a list of names' }
        wrong(problems, `${path}.${kind}`, given, known[kind] ?? allowed)
      }
      const { set, append, remove } = found as HeaderChanges
      for (const [name, value] of Object.entries(isObject(set) ? set : {})) add('set', name, value)
      for (const [name, value] of Object.entries(isObject(append) ? append : {})) add('append', name, value)
      if (Array.isArray(remove))
        for (const [at, name] of remove.entries()) add('remove', name as string, '', `${path}.remove[${at}]`)
      return made
    },
  }
}

function redirect(fallback: undefined): Rule<NativeAction | undefined> {
  const allowed = 'a path or a URL, or { to, status } with a status of 301, 302, 303, 307 or 308'
  return {
    allowed,
    fallback,
    check(found, path, problems) {
      const given = typeof found === 'string' ? { to: found } : found
      const keys = isObject(given) ? Object.keys(given) : ['']
      const { to, status = 302 } = (isObject(given) ? given : {}) as { to?: unknown; status?: unknown }
      const isStatus = [301, 302, 303, 307, 308].includes(status as number)
      if (typeof to !== 'string' || !isStatus || keys.some((key) => key !== 'to' && key !== 'status'))
        return wrong(problems, path, found, allowed)
      return { ...PASS, kind: 'redirect', status: status as number, to }
    },
  }
}

function rewrite(fallback: undefined): Rule<NativeAction | undefined> {
  const allowed = 'a path, { prefix, to }, or { pattern, to } with a regular expression with no flag but i'
  return {
    allowed,
    fallback,
    check(found, path, problems) {
      if (typeof found === 'string') return { ...PASS, kind: 'to', to: found }
      const keys = isObject(found) ? Object.keys(found).sort().join() : ''
      const { prefix, pattern, to } = (isObject(found) ? found : {}) as Record<string, unknown>
      if (typeof to === 'string') {
        if (keys === 'prefix,to' && typeof prefix === 'string')
          return { ...PASS, kind: 'prefix', from: nativePath(prefix), to }
        if (keys === 'pattern,to' && pattern instanceof RegExp && /^i?$/.test(pattern.flags))
          return { ...PASS, kind: 'pattern', from: nativePath(pattern), to }
      }
      return wrong(problems, path, found, allowed)
    },
  }
}

function respond(fallback: undefined): Rule<NativeAction | undefined> {
  const allowed = 'a status, or { status, headers, body } with a string or bytes as its body'
  return {
    allowed,
    fallback,
    check(found, path, problems) {
      if (typeof found !== 'number' && !isObject(found)) return wrong(problems, path, found, allowed)
      const { body } = found as { body?: unknown }
      const isWhole = body === undefined || typeof body === 'string' || body instanceof Uint8Array
      if (!isWhole || found instanceof Response) return wrong(problems, path, found, allowed)
      try {
        const answer = checkAnswer(found as Answer, 'GET')
        const bytes = typeof answer.body === 'string' ? Buffer.from(answer.body) : answer.body
        return { ...PASS, kind: 'respond', status: answer.status, fields: answer.fields, body: bytes }
      } catch (error) {
        return wrong(problems, path, found, `${allowed}: ${(error as Error).message}`)
      }
    },
  }
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function wrong(problems: OptionProblem[], path: string, found: unknown, allowed: string): undefined {
  problems.push({ path, found: typeof found === 'function' ? show(found) : found, allowed })
}
