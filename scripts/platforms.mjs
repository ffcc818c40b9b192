// What binaries are published for, as ts/addon/platform.ts has it: from the code itself, so that they cannot differ.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const source = readFileSync(join(import.meta.dirname, '../ts/addon/platform.ts'), 'utf8')
const row = /^ {2}'([\w-]+)': \{ os: '(\w+)', cpu: '(\w+)', libc: (?:'(\w+)'|undefined) \},$/gm

/** Each platform's name with `os`, `cpu` and, for Linux, `libc`. */
export const platforms = Object.fromEntries(
  [...source.matchAll(row)].map(([, triple, os, cpu, libc]) => [triple, { os, cpu, libc }]),
)
