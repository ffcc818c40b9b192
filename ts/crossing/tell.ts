import { show } from '../errors.js'
import type { LogFields } from '../logger.js'
import { type AnyPhases, Hook } from '../phases.js'
import { describe } from './failure.js'
import { disown } from './promise.js'
import type { RequestState } from './state.js'

const MOST = 1024
const MOST_OF_ONE = 512

type Name = keyof typeof Hook

/** The line in the log that tells of a failed request, if the functions that have a say in it want it. */
export function tellFailure(state: RequestState): void {
  if (call(state, 'suppressErrorLog', 'boolean', (value) => value === true) === true) return
  const summary = call(state, 'requestSummary', 'string', () => true) ?? defaultSummary(state)
  const [code, source, , status] = state.errorText.split('\n', 4)
  let from = 0
  for (let line = 0; line < 5; line++) from = state.errorText.indexOf('\n', from) + 1
  const message = state.errorText.slice(from)
  const line = `${status} ${oneLine(String(summary), MOST)}, client ${clientOf(state)}: ${code} (${source}): ${message}`
  // That clients leave is nothing to warn of.
  state.proxy.log[code === 'CLIENT_ABORTED' ? 'info' : 'warn'](line, fieldsOf(state, code!, source!, status!))
}

/** What the line says; as the addon has it, where nobody is asked. */
function fieldsOf(state: RequestState, code: string, source: string, status: string): LogFields {
  const { session } = state
  const fields = {
    request: session.id,
    connection: session.connection.id,
    client: clientOf(state),
    method: oneLine(state.method(), MOST_OF_ONE),
    target: oneLine(state.target(), MOST_OF_ONE),
    host: oneLine(state.host(), MOST_OF_ONE),
    status: Number(status),
    code,
    source,
    attempt: state.attempt,
  }
  const upstream = session.upstream?.address
  return upstream === undefined ? fields : { ...fields, upstream }
}

/** Asks those that have the function until one gives what is wanted. */
function call(state: RequestState, name: Name, type: string, wanted: (value: unknown) => boolean): unknown {
  const { composition, phases, log } = state.proxy
  const parts = composition?.order[Hook[name]] ?? [{ phases, index: -1 }]
  for (const part of parts) {
    const ctx = part.index < 0 ? state.ctx : state.parts?.contexts[part.index]
    try {
      const value = state.inScope(run, part.phases, name, state, ctx)
      if (typeof value === type) {
        if (wanted(value)) return value
      } else if (value !== undefined) {
        disown(value)
        log.error(`${name} returned ${show(value)}; it has to return a ${type}`)
      }
    } catch (error) {
      log.error(`${name} failed: ${describe(error)}`)
    }
  }
  return undefined
}

function run(phases: AnyPhases, name: Name, state: RequestState, ctx: unknown): unknown {
  if (name === 'requestSummary') return phases.requestSummary?.(state.session, ctx)
  return phases.suppressErrorLog?.(state.session, state.error!, ctx)
}

/** As the addon has it, where nobody is asked. */
function defaultSummary(state: RequestState): string {
  const [method, target, host] = [state.method(), state.target(), state.host()].map((text) =>
    oneLine(text, MOST_OF_ONE),
  )
  return `${method} ${target}, Host: ${host}`
}

function clientOf(state: RequestState): string {
  const { host, port } = state.session.client
  if (port === 0) return host
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/** Without control characters, and not too long. */
function oneLine(text: string, most: number): string {
  const plain = text.slice(0, most).replace(/[\0-\x1f\x7f-\x9f\u2028\u2029]+/g, ' ')
  return text.length > most ? `${plain}...` : plain
}
