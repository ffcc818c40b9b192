// What is said of the binaries: their versions, and what they ask of a system.
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
// @ts-expect-error a script, which has no types
import { platforms } from '../../scripts/platforms.mjs'
// @ts-expect-error a script, which has no types
import { complaints, needs, newer } from '../../scripts/symbols.mjs'
import { PLATFORMS, thisPlatform } from '../../ts/addon/platform.js'
import { VERSION } from '../../ts/addon/version.js'

test('the version is the same wherever it is written', () => {
  expect(JSON.parse(readFileSync('package.json', 'utf8')).version).toBe(VERSION)
  expect(readFileSync('Cargo.toml', 'utf8')).toContain(`[workspace.package]\nversion = "${VERSION}"`)
})

test('packages are made for the platforms that the loader knows', () => {
  expect(platforms).toEqual(PLATFORMS)
})

const { triple, os, libc } = thisPlatform()

test.runIf(os === 'linux')('what a binary needs is read from the file', () => {
  const { libraries, symbols } = needs(readFileSync(`millrace.${triple}.node`))
  expect(libraries.some((name: string) => name.startsWith('libc.'))).toBe(true)
  if (libc?.family === 'glibc') expect(symbols).toContainEqual({ name: 'memcpy', version: 'GLIBC_2.14' })
  expect(symbols.some(({ name }: { name: string }) => name.startsWith('napi_'))).toBe(false)
})

test('a binary is refused for a newer glibc, for any version on musl, and for a library that is not promised', () => {
  const found = {
    libraries: ['libc.so.6', 'libssl.so.3'],
    symbols: [
      { name: 'memcpy', version: 'GLIBC_2.14' },
      { name: 'fcntl64', version: 'GLIBC_2.28' },
      { name: 'stat64', version: 'GLIBC_2.33' },
      { name: '_Unwind_Resume', version: 'GCC_3.0' },
    ],
  }
  expect(complaints(found, 'gnu')).toEqual([
    'needs the library libssl.so.3',
    'needs stat64@GLIBC_2.33, and at most GLIBC_2.28 is promised',
  ])
  expect(complaints({ libraries: ['libc.so'], symbols: [] }, 'musl')).toEqual([])
  expect(complaints({ libraries: ['libc.so'], symbols: found.symbols }, 'musl')).toHaveLength(4)
})

test('versions are compared as numbers', () => {
  expect([newer('2.4', '2.28'), newer('2.28', '2.28'), newer('2.28.1', '2.28'), newer('3', '2.28')]).toEqual([
    false,
    false,
    true,
    true,
  ])
})
