import { firstOf, MOST_TOLD, type OptionProblem } from '../../errors.js'
import { nearest } from '../../nearest.js'
import type { Schema } from '../../options.js'
import { Failure } from '../failure.js'
import { sentence } from './file.js'
import { type Config, checkConfig, configSchema } from './rules.js'

/** The variables that stand for options: `MILLRACE_PROXY_HTTP2_MAX_RESETS` for `proxy.http2.maxResets`. */
export function variables(): Map<string, { path: string[]; schema: Schema }> {
  const found = new Map<string, { path: string[]; schema: Schema }>()
  const add = (schema: Schema, path: string[]) => {
    for (const [name, one] of Object.entries(schema.properties ?? {})) {
      const here = [...path, name]
      if (one.properties !== undefined) add(one, here)
      else if (isWritten(one)) found.set(variable(here), { path: here, schema: one })
    }
  }
  const { server, proxy } = configSchema().properties!
  add(server!, ['server'])
  add(proxy!, ['proxy'])
  return found
}

/** Whether it can be written in one line. */
function isWritten({ type, enum: names, anyOf, items }: Schema): boolean {
  if (type === 'array') return items?.type === 'string'
  return names !== undefined || anyOf !== undefined || type !== 'object'
}

/** The name of the variable of an option. */
export function variable(path: readonly string[]): string {
  const words = path.map((part) => part.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase())
  return `MILLRACE_${words.join('_')}`
}

/** What the environment says. @throws Failure */
export function fromEnvironment(env: NodeJS.ProcessEnv): Config {
  const known = variables()
  const config: Record<string, unknown> = {}
  const wrong: string[] = []
  const services = servicesIn(env)
  for (const [name, text] of Object.entries(env)) {
    if (text === undefined || !/^MILLRACE_(?:SERVER|PROXY)_/.test(name)) continue
    const option = known.get(name)
    if (option === undefined && services.some((service) => isOfService(name, service))) continue
    if (option === undefined) {
      const near = wrong.length < MOST_TOLD ? nearest(name, [...known.keys()]) : undefined
      wrong.push(`${name}: there is no such option${near === undefined ? '' : `; did you mean ${near}?`}`)
      continue
    }
    const problems: OptionProblem[] = []
    const value = read(text, option.schema)
    checkConfig(nested(option.path, value), problems)
    wrong.push(...problems.map((problem) => `${name}: ${sentence(problem)}`))
    put(config, option.path, value)
  }
  const listen = env.MILLRACE_LISTEN?.split(',').map((address) => address.trim())
  if (listen !== undefined) {
    const problems: OptionProblem[] = []
    checkConfig({ listen }, problems)
    wrong.push(...problems.map((problem) => `MILLRACE_LISTEN: ${sentence(problem)}`))
    config.listen = listen
  }
  if (wrong.length > 0) throw new Failure(firstOf(wrong, (line) => line).join('\n'))
  return config
}

/** The services whose addresses Kubernetes has put into the environment of each of its pods: `MILLRACE_PROXY` of one named `millrace-proxy`. */
function servicesIn(env: NodeJS.ProcessEnv): string[] {
  return Object.keys(env).flatMap((name) => {
    const [, service] = /^(.+)_SERVICE_HOST$/.exec(name) ?? []
    return service !== undefined && `${service}_SERVICE_PORT` in env ? [service] : []
  })
}

function isOfService(name: string, service: string): boolean {
  const rest = name.startsWith(service) ? name.slice(service.length) : ''
  return /^_(?:SERVICE_HOST|SERVICE_PORT(?:_.+)?|PORT|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)$/.test(
    rest,
  )
}

/** What a text stands for; the text itself where it stands for nothing, so that the rule can say so. */
function read(text: string, { type, anyOf }: Schema): unknown {
  const isNumbers = anyOf?.some(({ items }) => items?.type === 'integer') && /^\d{1,9}(,\d{1,9})*$/.test(text)
  if (isNumbers) return text.split(',').map(Number)
  if (anyOf !== undefined)
    return anyOf.some((one) => one.type === 'boolean') ? read(text, { type: 'boolean' }) : text
  if (type === 'boolean') return text === 'true' ? true : text === 'false' ? false : text
  if (type === 'integer') return /^-?\d{1,16}$/.test(text) ? Number(text) : text
  if (type === 'array') return text === '' ? [] : text.split(',').map((one) => one.trim())
  return text
}

function nested(path: readonly string[], value: unknown): unknown {
  return path.reduceRight<unknown>((inner, name) => ({ [name]: inner }), value)
}

function put(into: Record<string, unknown>, [name, ...rest]: readonly string[], value: unknown): void {
  if (rest.length === 0) into[name!] = value
  else {
    into[name!] ??= {}
    put(into[name!] as Record<string, unknown>, rest, value)
  }
}
