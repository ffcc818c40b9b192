import { closeSync, fstatSync, openSync, readFileSync, readSync, statSync } from 'node:fs'

/** The dynamic loader that a program for 64-bit Linux names in its header (ELF, PT_INTERP). */
export function interpreterOf(program: string): string | undefined {
  return withElf(program, (head, read) => {
    const [size, count] = [head.readUInt16LE(54), head.readUInt16LE(56)]
    const table = read(Number(head.readBigUInt64LE(32)), Math.min(size * count, 65_536))
    for (let at = 0; at + 40 <= table.length; at += size) {
      if (table.readUInt32LE(at) !== 3) continue
      const length = Math.min(Number(table.readBigUInt64LE(at + 32)), 4_096)
      return read(Number(table.readBigUInt64LE(at + 8)), length)
        .toString('latin1')
        .split('\0')[0]
    }
    return undefined
  })
}

/**
 * Throws for what is no file, and for a library that is cut, or was written to its full size in part only. The
 * system does not look: it waits for a FIFO, or ends the process when it touches what is not there.
 */
export function requireWhole(file: string): void {
  // Before it is opened, which waits where it is a FIFO.
  if (!statSync(file).isFile()) throw new Error('not a regular file')
  withElf(file, (head, read, size) => {
    // The table of sections is the last that linkers write.
    const end = Number(head.readBigUInt64LE(40)) + head.readUInt16LE(58) * head.readUInt16LE(60)
    if (size < end) throw new Error(`file too short: it has ${size} bytes of at least ${end}`)
    const [width, count, names] = [head.readUInt16LE(58), head.readUInt16LE(60), head.readUInt16LE(62)]
    if (count === 0 || names === 0 || names >= count) return
    // That of the names of sections, mostly the last, is of type SHT_STRTAB.
    const entry = read(Number(head.readBigUInt64LE(40)) + width * names, 8)
    if (entry.length < 8 || entry.readUInt32LE(4) !== 3) {
      throw new Error('file damaged: its table of sections does not hold what it should')
    }
  })
}

/** The latest version of glibc that a library asks for. Reads all of it. */
export function glibcNeededBy(library: string): string | undefined {
  const found = readFileSync(library, 'latin1').matchAll(/\0GLIBC_(\d+)\.(\d+)/g)
  const versions = [...found].map(([, major, minor]) => [Number(major), Number(minor)] as const)
  return versions.sort(([a, b], [c, d]) => c - a || d - b)[0]?.join('.')
}

type Read = (at: number, length: number) => Buffer

/** Gives the header of a 64-bit ELF file, and what reads on; nothing for any other file. */
function withElf<T>(path: string, use: (head: Buffer, read: Read, size: number) => T): T | undefined {
  const file = openSync(path, 'r')
  try {
    const read = (at: number, length: number) => {
      const bytes = Buffer.alloc(length)
      return bytes.subarray(0, readSync(file, bytes, 0, length, at))
    }
    const head = read(0, 64)
    if (head.length < 64 || head.toString('latin1', 0, 6) !== '\x7fELF\x02\x01') return undefined
    return use(head, read, fstatSync(file).size)
  } finally {
    closeSync(file)
  }
}
