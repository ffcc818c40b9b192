// The links of pages that are packed: what they lead to is not in the package with all of them.
import { posix } from 'node:path'

const LINK = /\[([^[\]]*)\]\(([^()\s#:]+)(#[^()\s]*)?\)/g

/**
 * A page, `at` its path from the root, whose relative links lead to what is packed, or else beneath `base`: an address
 * that ends in a slash. Without one those others are their words alone. `packed` says whether a path is in the package.
 */
export function withLinks(text, at, { packed, base }) {
  return text.replace(LINK, (whole, words, target, fragment = '') => {
    const path = posix.join(posix.dirname(at), target)
    if (packed(path)) return whole
    return base === undefined ? words : `[${words}](${base}${path}${fragment})`
  })
}
