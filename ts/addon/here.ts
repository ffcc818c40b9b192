/**
 * Where this code lies: in the package, or in the bundle it went into. A bundle says it in either way, as it is
 * CommonJS or a module; webpack writes the path of the package at build time for the second.
 */
export const here: readonly (string | undefined)[] = [ofCommonJs(), import.meta.url]

/** Not asked by `typeof`, which webpack answers at build time, for modules too. */
function ofCommonJs(): string | undefined {
  try {
    return __filename
  } catch {
    return undefined
  }
}
