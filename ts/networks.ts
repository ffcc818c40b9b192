import { isIP } from 'node:net'
import { each, type Rule } from './options.js'

const NAMES = ['loopback', 'private', 'linklocal', 'unix']
const ALLOWED = `an address, a network such as 10.0.0.0/8, or ${NAMES.map((name) => `'${name}'`).join(', ')}`

/** A list of addresses, networks, and names of such. */
export function networks<T extends readonly string[] | undefined>(fallback: T, least = 0): Rule<T> {
  return each<T>(fallback, ALLOWED, (text) => NAMES.includes(text) || isNetwork(text), least)
}

function isNetwork(text: string): boolean {
  const [, address = '', prefix] = /^([\d.]+|[\da-f:.]+)(?:\/(\d{1,3}))?$/i.exec(text) ?? []
  const family = isIP(address)
  return family !== 0 && (prefix === undefined || Number(prefix) <= (family === 4 ? 32 : 128))
}
