import { type ErrorCode, type ErrorSource, type ProxyError, withoutStack } from './errors.js'

/** The error that the addon gives by lines, in the place of a piece. */
export function pieceError(words: string): ProxyError {
  const [code, source, status] = words.split('\n', 3) as [ErrorCode, ErrorSource, string]
  const message = words.split('\n').slice(3).join(' ')
  return withoutStack({ code, source, status: Number(status), message })
}
