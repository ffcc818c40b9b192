/** The one of some names that is the same but for case and underscores, or one edit away: what was meant, probably. */
export function nearest(name: string, names: readonly string[]): string | undefined {
  const plain = bare(name)
  return names.find((one) => bare(one) === plain) ?? names.find((one) => isOneEdit(plain, bare(one)))
}

function bare(name: string): string {
  return name.replaceAll('_', '').toLowerCase()
}

/** Whether two words are the same, or one letter more, less, other or two swapped apart. */
function isOneEdit(a: string, b: string): boolean {
  if (Math.abs(a.length - b.length) > 1) return false
  let start = 0
  while (start < a.length && a[start] === b[start]) start++
  let end = 0
  while (end < Math.min(a.length, b.length) - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++
  const [left, right] = [a.length - start - end, b.length - start - end]
  if (left <= 1 && right <= 1) return true
  return left === 2 && right === 2 && a[start] === b[start + 1] && a[start + 1] === b[start]
}
