import { readFileSync } from 'node:fs'
import type { OptionProblem } from '../errors.js'
import type { Rule } from '../options.js'

/**
 * PEM: the text itself, its bytes, or the path of a file, which is read at once. A string is text if
 * it contains `-----BEGIN`.
 */
export type Pem = string | Uint8Array

/** What may be there. */
export const CERT = 'a certificate in PEM that is valid now'
export const KEY = 'the private key of the certificate, in PEM, not encrypted'
export const CA = 'certificates of authorities, in PEM'

/** Reads PEM, wherever it is. */
export function pem(allowed: string): Rule<Buffer | undefined> {
  return {
    allowed,
    fallback: undefined,
    schema: { type: 'string', description: `${allowed}: text, or the path of a file` },
    check(value, path, problems) {
      if (value instanceof Uint8Array) return Buffer.from(value)
      if (typeof value === 'string' && isText(value)) return Buffer.from(value)
      if (typeof value !== 'string' || value === '') {
        problems.push({ path, found: value, allowed: `${allowed}: text, bytes, or the path of a file` })
        return undefined
      }
      try {
        return readFileSync(value)
      } catch (error) {
        problems.push({ path, found: `${value} (${(error as NodeJS.ErrnoException).code})`, allowed })
        return undefined
      }
    },
  }
}

function isText(value: string): boolean {
  return value.includes('-----BEGIN') || value.includes('\n')
}

/** What the addon says is wrong: the option, and what it is. The option is '' where it is no such word. */
export function nativeProblem(error: unknown): { field: string; message: string } {
  const text = error instanceof Error ? error.message : String(error)
  const end = /^[\w[\].]+(?=\n)/.exec(text)?.[0].length ?? -1
  return { field: text.slice(0, Math.max(0, end)), message: text.slice(end + 1) }
}

/**
 * What the addon says is wrong with an option, in the words of a problem. It shows the path of a
 * file and never what PEM says, which may be a key.
 */
export function problemWith(
  error: unknown,
  rules: Record<string, Rule<unknown>>,
  given: unknown,
): OptionProblem {
  const { field, message } = nativeProblem(error)
  if (field === '') throw error
  let value: unknown = given
  let rule: Rule<unknown> | undefined
  for (const part of field.split(/[.[\]]+/).filter(Boolean)) {
    value = (value as Record<string, unknown> | undefined)?.[part]
    rule = rules[part] ?? rule
  }
  const isFile = /(?:^|\.)(?:cert|key|ca)$/.test(field) && typeof value === 'string' && !isText(value)
  const place = isFile ? `${value}: ` : ''
  return { path: field, found: place + message, allowed: rule?.allowed ?? 'something else' }
}
