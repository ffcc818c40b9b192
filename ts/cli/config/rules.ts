import { splitAddress } from '../../endpoint.js'
import type { OptionProblem } from '../../errors.js'
import {
  checkInto,
  group,
  type Rule,
  type Rules,
  required,
  type Schema,
  schemaOf,
  text,
  writable,
} from '../../options.js'
import { proxyRules } from '../../proxy.js'
import { serverRules } from '../../server.js'
import { socketRules, unixRules } from '../../socket-options.js'
import { tlsRules } from '../../tls/options.js'
import { fitsUnix, unixLength } from '../../unix-path.js'

/** Where a service is to listen. */
export interface Listen {
  readonly address: string
  readonly tls?: object
  readonly [socketOption: string]: unknown
}

/** A configuration, or a part of one: only what was given, nothing filled in. */
export interface Config {
  server?: object
  proxy?: object
  listen?: (string | Listen)[]
  services?: Record<string, { listen?: (string | Listen)[] } & object>
}

const ADDRESS = 'an IP address and a port (127.0.0.1:8080 or [::1]:8080), or unix: and a path'

/** Whether an address is that of a Unix socket. */
export const isUnix = (given: unknown): given is `unix:${string}` =>
  typeof given === 'string' && /^unix:(?:\/|@.)[^\0\n]*$/.test(given)

/** What is wrong with an address. */
function addressProblem(given: string): string | undefined {
  if (splitAddress(given) !== undefined) return undefined
  if (!isUnix(given)) return ADDRESS
  return fitsUnix(given.slice('unix:'.length)) ? undefined : `unix: and a path of ${unixLength()}`
}

const address: Rule<string> = {
  ...required(text<string | undefined>(undefined, ADDRESS, () => true)),
  check(value, path, problems) {
    const allowed = typeof value === 'string' ? addressProblem(value) : ADDRESS
    if (allowed !== undefined) problems.push({ path, found: value, allowed })
    return value as string
  },
}
const pathRules = { address, ...writable(unixRules) }
const endpointRules = {
  address,
  ...writable(socketRules),
  tls: group(writable(tlsRules)),
}

const listen: Rule<unknown> = {
  allowed: `a list, not empty; each: ${ADDRESS}, or an object with the address and what else is to be said`,
  fallback: undefined,
  schema: {
    type: 'array',
    minItems: 1,
    description: 'where it listens, in place of what the module says',
    items: {
      anyOf: [{ type: 'string', description: ADDRESS }, schemaOf(endpointRules), schemaOf(pathRules)],
    },
  },
  check(value, path, problems) {
    if (!Array.isArray(value) || value.length === 0)
      problems.push({ path, found: value, allowed: listen.allowed })
    else for (const [at, one] of value.entries()) checkEndpoint(one, `${path}[${at}]`, problems)
    return value
  },
}

function checkEndpoint(given: unknown, path: string, problems: OptionProblem[]): void {
  if (typeof given !== 'string') {
    const rules = isUnix((given as { address?: unknown } | null)?.address) ? pathRules : endpointRules
    return void checkInto(rules, given ?? null, problems, path)
  }
  const allowed = addressProblem(given)
  if (allowed !== undefined) problems.push({ path, found: given, allowed })
}

/** One for each name. */
function byName(rules: Rules, description: string): Rule<unknown> {
  const allowed = 'an object, in which each service has its name'
  return {
    allowed,
    fallback: undefined,
    schema: { type: 'object', description, additionalProperties: schemaOf(rules) },
    check(value, path, problems) {
      if (typeof value !== 'object' || value === null || Array.isArray(value))
        problems.push({ path, found: value, allowed })
      else
        for (const [name, one] of Object.entries(value))
          checkInto(rules, one ?? null, problems, `${path}.${name}`)
      return value
    },
  }
}

const described = (rules: Rules, description: string): Rule<unknown> => {
  const made = group(writable(rules))
  return { ...made, schema: { ...made.schema, description } }
}
const { name: _, ...ofService } = writable(proxyRules)

/** What a configuration may say. */
export const configRules: Rules = {
  $schema: text<string | undefined>(undefined, 'where the schema of this file is', () => true),
  server: described(serverRules, 'options of the server'),
  proxy: described(ofService, 'options of every proxy'),
  listen,
  services: byName({ ...ofService, listen }, 'the same for one service, by its name'),
}

/** The schema of a configuration file, for editors. */
export function configSchema(): Schema & object {
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'The configuration of millrace run',
    ...schemaOf(configRules),
  } as Schema
}

/** Adds what is wrong with a configuration to `problems`. */
export function checkConfig(given: unknown, problems: OptionProblem[]): void {
  checkInto(configRules, given, problems)
}
