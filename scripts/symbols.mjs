// What a binary for Linux asks of the system: fails if that is more than what is promised.
//
//   node scripts/symbols.mjs FILE.node…
//
// Promised are glibc 2.28 (Debian 10, RHEL 8, Ubuntu 20.04) for gnu, and for musl nothing but its C library.
// The file is read here: readelf is not everywhere, and its words differ between versions.
import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { help, isMain } from './main.mjs'

/** The newest glibc that may be needed. Node 20 and later need 2.28 themselves. */
export const NEWEST_GLIBC = '2.28'

const LIBRARIES = {
  gnu: /^(libc|libm|libdl|libpthread|librt|libgcc_s|ld-linux-x86-64|ld-linux-aarch64)\.so(\.\d+)?$/,
  musl: /^(libc\.so|libc\.musl-(x86_64|aarch64)\.so\.1)$/,
}

/** What is wrong with a binary, each a sentence. `libc` is `gnu` or `musl`. */
export function complaints({ libraries, symbols }, libc) {
  const foreign = libraries.filter((name) => !LIBRARIES[libc].test(name))
  const wrong = foreign.map((name) => `needs the library ${name}`)
  for (const { name, version } of symbols) {
    const number = /^GLIBC_([\d.]+)$/.exec(version)?.[1]
    if (libc === 'musl') wrong.push(`needs ${name}@${version}, which musl does not have`)
    else if (number === undefined ? !/^GCC_/.test(version) : newer(number, NEWEST_GLIBC)) {
      wrong.push(`needs ${name}@${version}, and at most GLIBC_${NEWEST_GLIBC} is promised`)
    }
  }
  return wrong
}

/** The libraries that an ELF file needs, and its undefined symbols that ask for a version. @throws Error where it is damaged */
export function needs(bytes) {
  const sections = sectionsOf(bytes)
  try {
    return read(bytes, sections)
  } catch (error) {
    // What its tables say leads out of the file.
    if (error instanceof RangeError || error instanceof TypeError) throw new Error(DAMAGED, { cause: error })
    throw error
  }
}

const DAMAGED = 'is cut or damaged'

function read(bytes, sections) {
  const of = (type) => sections.find((section) => section.type === type)
  const dynamic = of(6)
  const table = of(11) // SHT_DYNSYM
  if (dynamic === undefined || table === undefined) throw new Error(DAMAGED)
  const names = sections[dynamic.link].offset
  const libraries = entries(dynamic)
    .filter((at) => Number(bytes.readBigUInt64LE(at)) === 1) // DT_NEEDED
    .map((at) => text(names + Number(bytes.readBigUInt64LE(at + 8))))

  const versions = versionsOf(of(0x6ffffffe))
  const numbers = of(0x6fffffff) // SHT_GNU_versym: a number for each symbol
  const symbols = entries(table).flatMap((at, index) => {
    const version = numbers && versions.get(bytes.readUInt16LE(numbers.offset + 2 * index) & 0x7fff)
    const undefinedHere = bytes.readUInt16LE(at + 6) === 0
    if (version === undefined || !undefinedHere) return []
    return [{ name: text(sections[table.link].offset + bytes.readUInt32LE(at)), version }]
  })
  return { libraries, symbols }

  /** The offset of each entry of a section. */
  function entries({ offset, size, entrySize }) {
    // Before room is made for them: a damaged file may speak of any number.
    if (entrySize === 0 || size % entrySize !== 0 || offset + size > bytes.length) throw new Error(DAMAGED)
    return Array.from({ length: size / entrySize }, (_, index) => offset + index * entrySize)
  }

  /** SHT_GNU_verneed: the names of the versions, by their numbers. */
  function versionsOf(section) {
    const found = new Map()
    if (section === undefined) return found
    const strings = sections[section.link].offset
    for (let library = section.offset, left = section.info; left > 0; left--) {
      let at = library + bytes.readUInt32LE(library + 8)
      for (let count = bytes.readUInt16LE(library + 2); count > 0; count--) {
        found.set(bytes.readUInt16LE(at + 6), text(strings + bytes.readUInt32LE(at + 8)))
        at = next(at, 12, count)
      }
      library = next(library, 12, left)
    }
    return found
  }

  /** Where the entry after that at `at` is. One that stays where it is would be read again, as often as a damaged count says. */
  function next(at, field, left) {
    const step = bytes.readUInt32LE(at + field)
    if (step === 0 && left > 1) throw new Error(DAMAGED)
    return at + step
  }

  function text(at) {
    const end = bytes.indexOf(0, at)
    if (at >= bytes.length || end < 0) throw new Error(DAMAGED)
    return bytes.toString('latin1', at, end)
  }
}

/** The sections of an ELF file. @throws Error where it is none, or ends before they do */
export function sectionsOf(bytes) {
  if (bytes.toString('latin1', 0, 6) !== '\x7fELF\x02\x01') throw new Error('is not a 64-bit ELF file')
  if (bytes.length < 64) throw new Error(DAMAGED)
  const start = Number(bytes.readBigUInt64LE(40))
  const [size, count] = [bytes.readUInt16LE(58), bytes.readUInt16LE(60)]
  if (size !== 64 || start + size * count > bytes.length) throw new Error(DAMAGED)
  return Array.from({ length: count }, (_, index) => {
    const at = start + index * size
    const wide = (offset) => Number(bytes.readBigUInt64LE(at + offset))
    return {
      type: bytes.readUInt32LE(at + 4),
      offset: wide(24),
      size: wide(32),
      link: bytes.readUInt32LE(at + 40),
      info: bytes.readUInt32LE(at + 44),
      entrySize: wide(56),
    }
  })
}

/** Whether version `a` is newer than `b`: by numbers, as 2.4 is older than 2.28. */
export function newer(a, b) {
  const [left, right] = [a, b].map((version) => version.split('.').map(Number))
  for (let index = 0; index < Math.max(left.length, right.length); index++) {
    const difference = (left[index] ?? 0) - (right[index] ?? 0)
    if (difference !== 0) return difference > 0
  }
  return false
}

/** Prints what a file needs. Gives what is wrong with it. */
function look(file) {
  const found = needs(readFileSync(file))
  const libc = basename(file).includes('musl') ? 'musl' : 'gnu'
  const versions = [...new Set(found.symbols.map(({ version }) => version))]
  const newest = versions
    .filter((one) => one.startsWith('GLIBC_'))
    .sort((a, b) => (newer(a.slice(6), b.slice(6)) ? -1 : 1))[0]
  console.log(`symbols: ${basename(file)} needs ${[...found.libraries, newest].filter(Boolean).join(', ')}`)
  return complaints(found, libc)
}

if (isMain(import.meta.url)) {
  help(import.meta.url)
  const files = process.argv.slice(2)
  const fail = (reason) => {
    console.error(`symbols: ${reason}`)
    process.exitCode = 1
  }
  if (files.length === 0) fail('give files to look at')
  for (const file of files) {
    try {
      for (const complaint of look(file)) fail(`${basename(file)} ${complaint}`)
    } catch (error) {
      fail(`${basename(file)}: ${error.message}`)
    }
  }
}
