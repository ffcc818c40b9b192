import { httpAppRules } from '../../app/http-app.js'
import { backgroundRules } from '../../background.js'
import { demoOriginRules } from '../../demo-origin.js'
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
import { serverRules } from '../../server-options.js'
import { socketRules, unixRules } from '../../socket-options.js'
import { tcpAppRules } from '../../tcp/tcp-app.js'
import { tcpProxyRules } from '../../tcp/tcp-proxy.js'
import { tlsRules } from '../../tls/options.js'
import { unixPathProblem } from '../../unix-path.js'

/** Where a service is to listen. */
export interface Listen {
  readonly address: string
  readonly tls?: object | false
  readonly [socketOption: string]: unknown
}

/** A configuration, or a part of one: only what was given, nothing filled in. */
export interface Config {
  server?: object
  proxy?: object
  listen?: (string | Listen)[]
  services?: Record<string, { listen?: (string | Listen)[] } & object>
}

const ADDRESS =
  'an IP address and a port (127.0.0.1:8080, [::1]:8080, or [fe80::1%2]:8080 with the number of its interface), or unix: and an absolute path'

/** Whether an address is that of a Unix socket. */
export const isUnix = (given: unknown): given is `unix:${string}` =>
  typeof given === 'string' && given.startsWith('unix:')

/** What is wrong with an address. */
function addressProblem(given: string): string | undefined {
  if (splitAddress(given) !== undefined) return undefined
  if (!isUnix(given)) return ADDRESS
  const allowed = unixPathProblem(given.slice('unix:'.length), 'pathOrName')
  return allowed && `unix: and ${allowed}`
}

const address: Rule<string> = {
  ...required(text<string | undefined>(undefined, ADDRESS, () => true)),
  check(value, path, problems) {
    const allowed = typeof value === 'string' ? addressProblem(value) : ADDRESS
    if (allowed !== undefined) problems.push({ path, found: value, allowed })
    return value as string
  },
}
const IP = '(?:\\d{1,3}(?:\\.\\d{1,3}){3}|\\[[^\\]%]+(?:%\\d+)?\\]):\\d{1,5}'
const UNIX = 'unix:(?:/|@.).*'
/** An address as editors check it: not as well as the rule. */
const addressAs = (pattern: string): Rule<string> => ({
  ...address,
  schema: { type: 'string', description: ADDRESS, pattern: `^(?:${pattern})$` },
})

const tls = group(writable(tlsRules))
const noTls: Rule<unknown> = {
  allowed: 'false, as a Unix socket has no TLS',
  fallback: undefined,
  schema: { enum: [false], description: 'false: no TLS, whatever the module says' },
  check(value, path, problems) {
    if (value !== false) problems.push({ path, found: value, allowed: noTls.allowed })
    return value
  },
}
/** `false` in the place of the options: none, whatever the module says. */
const tlsOrNone: Rule<unknown> = {
  allowed: 'an object, or false for no TLS',
  fallback: undefined,
  schema: {
    anyOf: [noTls.schema!, { ...tls.schema, dependencies: { cert: ['key'], key: ['cert'] } }],
  },
  check(value, path, problems) {
    if (typeof value === 'object' && value !== null) return tls.check(value, path, problems)
    if (value !== false) problems.push({ path, found: value, allowed: tlsOrNone.allowed })
    return value
  },
}
const OCTAL = /^0?[0-7]{3}$/
/** In a file, where a number may be meant in octal or not. */
const mode: Rule<unknown> = {
  allowed: "permissions in octal: 0o660 or '0660', from 0o000 to 0o777",
  fallback: undefined,
  schema: {
    anyOf: [unixRules.mode.schema!, { type: 'string', pattern: OCTAL.source }],
    description: 'permissions in octal: 0o660 or \'0660\' in YAML, "0660" in JSON',
  },
  check(value, path, problems) {
    const number = permissions(value)
    const isRight = Number.isInteger(number) && (number as number) >= 0 && (number as number) <= 0o777
    if (!isRight) problems.push({ path, found: value, allowed: mode.allowed })
    return number
  },
}

/** The number that a text of permissions is. */
export function permissions(given: unknown): unknown {
  return typeof given === 'string' && OCTAL.test(given) ? Number.parseInt(given, 8) : given
}

const pathRules = { address: addressAs(UNIX), ...writable(unixRules), mode, tls: noTls }
const endpointRules = { address: addressAs(IP), ...writable(socketRules), tls: tlsOrNone }

const ENTRY = `${ADDRESS}, or an object with the address and what else is to be said`
const listen: Rule<unknown> = {
  allowed: `a list, not empty; each: ${ENTRY}`,
  fallback: undefined,
  schema: {
    type: 'array',
    minItems: 1,
    description: 'where it listens, in place of where the module says',
    items: {
      anyOf: [addressAs(`${IP}|${UNIX}`).schema!, schemaOf(endpointRules), schemaOf(pathRules)],
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
    if (typeof given !== 'object' || given === null || Array.isArray(given))
      return void problems.push({ path, found: given, allowed: ENTRY })
    const rules = isUnix((given as { address?: unknown }).address) ? pathRules : endpointRules
    return void checkInto(rules, given, problems, path)
  }
  const allowed = addressProblem(given)
  if (allowed !== undefined) problems.push({ path, found: given, allowed })
}

const described = (rules: Rules, description: string): Rule<unknown> => {
  const made = group(writable(rules))
  return { ...made, schema: { ...made.schema, description } }
}

/** What a file can say of a service that is named; a name is for programs. */
function optionsOf(rules: Rules, more: Rules = { listen }): Rules {
  const { name: _, ...rest } = writable(rules)
  return { ...rest, ...more }
}

/** The kinds of services, and what a file can say of each. */
const kinds: Readonly<Record<string, Rules>> = {
  HttpProxy: optionsOf(proxyRules),
  HttpApp: optionsOf(httpAppRules),
  TcpProxy: optionsOf(tcpProxyRules),
  TcpApp: optionsOf(tcpAppRules),
  DemoOrigin: optionsOf(demoOriginRules),
  BackgroundService: optionsOf(backgroundRules, {}),
}
/** Of what kind a service is, the module says: till then, what one of them can have. */
const ofAnyKind: Rules = Object.assign({}, ...Object.values(kinds).reverse())

/** For editors `listen` is written down once. */
const LISTEN: Schema = { $ref: '#/definitions/listen' }
const schemaOfKind = ([kind, { listen, ...rules }]: [string, Rules]): Schema => ({
  ...schemaOf({ ...rules, ...(listen && { listen: { ...listen, schema: LISTEN } }) }),
  title: kind,
  description: `options of ${/^[AEIOU]/.test(kind) ? 'an' : 'a'} ${kind}`,
})

function checkService(given: unknown, path: string, problems: OptionProblem[]): void {
  const found: OptionProblem[] = []
  checkInto(ofAnyKind, given ?? null, found, path)
  for (const problem of found) {
    const isName = problem.path === `${path}.name`
    // What there is depends on its kind: all options of all kinds help nobody.
    const isUnknown = problem.allowed.startsWith('no such option; there are') && isOf(problem.path, path)
    const allowed = isName
      ? 'nothing: its name is the key that it stands under, and that which the module gives it'
      : isUnknown
        ? 'no such option of a service of any kind'
        : problem.allowed
    problems.push({ ...problem, allowed })
  }
}

/** Whether an option is the object's own, and not in one of its groups. */
function isOf(option: string, path: string): boolean {
  return !(option.slice(path.length + 1).split(/[.[]/, 1)[0]! in ofAnyKind)
}

const services: Rule<unknown> = {
  allowed: 'an object, in which each service has its name',
  fallback: undefined,
  schema: {
    type: 'object',
    description: 'options of one service, by its name: those of its kind, and where it listens',
    additionalProperties: { anyOf: Object.entries(kinds).map(schemaOfKind) },
  },
  check(value, path, problems) {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      problems.push({ path, found: value, allowed: services.allowed })
    else for (const [name, one] of Object.entries(value)) checkService(one, `${path}.${name}`, problems)
    return value
  },
}

/** What a configuration may say. */
export const configRules: Rules = {
  $schema: text<string | undefined>(undefined, 'where the schema of this file is', () => true),
  server: described(serverRules, 'options of the server'),
  proxy: described(optionsOf(proxyRules, {}), 'options of every HttpProxy'),
  listen: { ...listen, schema: LISTEN },
  services,
}

/** The schema of a configuration file, for editors. */
export function configSchema(): Schema & object {
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'The configuration of millrace run',
    ...schemaOf(configRules),
    definitions: { listen: listen.schema },
  } as Schema
}

/** Adds what is wrong with a configuration to `problems`. */
export function checkConfig(given: unknown, problems: OptionProblem[]): void {
  checkInto(configRules, given, problems)
}
