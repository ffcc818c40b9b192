import {
  type Document,
  isMap,
  isPair,
  isScalar,
  isSeq,
  type Node,
  type ParsedNode,
  visit,
  type YAMLMap,
} from 'yaml'

/** Something wrong with a document, and where. */
export interface Fault {
  readonly offset: number
  readonly message: string
}

/** Keys that go further down than any option are not looked up. */
const MOST_PARTS = 100

const KEY =
  'a key is a word; what has brackets before a colon, as an IPv6 address and its port, goes in quotes: "[::1]:8080"'

/** What the parser lets pass, or tells so that nobody knows what to do. Each node is looked at once. */
export function faultsIn(document: Document.Parsed): Fault[] {
  const faults: Fault[] = []
  for (const { code, pos, message } of [...document.errors, ...document.warnings]) {
    const isSecond = code === 'MULTIPLE_DOCS'
    faults.push({ offset: pos[0], message: isSecond ? 'a configuration is one document' : message })
  }
  visit(document, {
    Map(_, map) {
      for (const fault of [...faultsOfKeys(map), ...faultsOfMode(map)]) faults.push(fault)
    },
    Scalar(where, { value, source = '', range }) {
      // YAML 1.1 took it for octal, as people still do: a socket would be open to more than was meant.
      if (where === 'key' || typeof value !== 'number' || !/^[-+]?0\d/.test(source)) return
      const octal = /^0[0-7]+$/.test(source) ? `0o${source.slice(1)} (octal) or ` : ''
      const message = `found ${source}, which means ${value} here: write ${octal}${value}`
      faults.push({ offset: range![0], message })
    },
  })
  return faults
}

/** The parser compares each key with each other one. */
function faultsOfKeys(map: YAMLMap): Fault[] {
  const seen = new Set<string>()
  const faults: Fault[] = []
  for (const { key } of map.items) {
    if (isMap(key) || isSeq(key)) faults.push({ offset: startOf(key) ?? 0, message: KEY })
    if (!isScalar(key)) continue
    const name = String(key.value)
    if (seen.has(name)) faults.push({ offset: startOf(key) ?? 0, message: 'Map keys must be unique' })
    seen.add(name)
  }
  return faults
}

/** Permissions are read and written in octal: of any other number nobody knows what was meant. */
function faultsOfMode(map: YAMLMap): Fault[] {
  const mode: unknown = map.has('address') ? map.get('mode', true) : undefined
  if (!isScalar(mode) || typeof mode.value !== 'number' || /^0(?:o|\d)/.test(mode.source ?? '')) return []
  const message = `found ${mode.source}, which is no octal number: write permissions as 0o660 or '0660'`
  return [{ offset: startOf(mode) ?? 0, message }]
}

/** Where an alias is that stands for nothing. */
export function aliasIn(document: Document): number | undefined {
  let found: number | undefined
  visit(document, {
    Alias(_, node) {
      if (node.resolve(document) !== undefined) return undefined
      found = node.range?.[0]
      return visit.BREAK
    },
  })
  return found
}

/** Says where an option is, by its path; of one that is missing, where it would belong. */
export function offsetsIn(root: ParsedNode | null): (path: string) => number {
  const indexes = new WeakMap<YAMLMap, Map<string, unknown>>()
  const pairOf = (map: YAMLMap, name: string): unknown => {
    let index = indexes.get(map)
    if (index === undefined) {
      index = new Map(map.items.map((pair) => [String(pair.key), pair]))
      indexes.set(map, index)
    }
    return index.get(name)
  }
  return (path) => {
    const parts = partsOf(path)
    let node: unknown = root
    let offset = 0
    for (let at = 0; at < parts.length; at++) {
      let next: unknown
      if (isMap(node)) {
        for (let end = at + 1; end <= parts.length && next === undefined; end++) {
          next = pairOf(node, parts.slice(at, end).join('.'))
          if (next !== undefined) at = end - 1
        }
      } else next = (node as { items?: unknown[] } | null)?.items?.[Number(parts[at])]
      if (next === undefined) break
      const pair = isPair(next) ? next : undefined
      offset = startOf(pair?.key ?? next) ?? offset
      node = pair === undefined ? next : pair.value
      // What is wrong with a value is shown there.
      if (at === parts.length - 1) offset = startOf(node) ?? offset
    }
    return offset
  }
}

/** `a.b[1].c` in parts. A name may have a dot in it: so the longest that is there counts, when it is looked up. */
function partsOf(path: string): string[] {
  return path.split(/\.|\[(\d+)\]/, MOST_PARTS).filter((part) => part !== undefined && part !== '')
}

function startOf(node: unknown): number | undefined {
  return (node as Node | null)?.range?.[0]
}
