/**
 * Where this code lies: in the package, or in the bundle it went into. A bundle says it in either way, as it is
 * CommonJS or a module; webpack writes the path of the package at build time for the second.
 */
export const here: readonly (string | undefined)[] = [
  typeof __filename === 'string' ? __filename : undefined,
  import.meta.url,
]
