import { isIP } from 'node:net'
import { each, type Rule } from './options.js'

const NAMES = ['loopback', 'private', 'linklocal']

/** A list of addresses, networks, and names of such; `more` are names beside the usual ones. */
export function networks<T extends readonly string[] | undefined>(
  fallback: T,
  more: readonly string[] = [],
  least = 0,
): Rule<T> {
  const names = [...NAMES, ...more]
  const allowed = `an address, a network such as 10.0.0.0/8, or ${names.map((name) => `'${name}'`).join(', ')}`
  return each<T>(fallback, allowed, (text) => names.includes(text) || isNetwork(text), least)
}

function isNetwork(text: string): boolean {
  const [, address = '', prefix] = /^([\d.]+|[\da-f:.]+)(?:\/(\d{1,3}))?$/i.exec(text) ?? []
  const family = isIP(address)
  return family !== 0 && (prefix === undefined || Number(prefix) <= (family === 4 ? 32 : 128))
}
