import { type ErrorCode, type ErrorSource, type ProxyError, withoutStack } from './errors.js'

/** The error that the addon gives by lines, in the place of a piece. */
export function pieceError(words: string): ProxyError {
  const [code, source, retry, status, ...lines] = words.split('\n') as [
    ErrorCode,
    ErrorSource,
    string,
    string,
    ...string[],
  ]
  const message = lines.join(' ')
  return withoutStack({ code, source, canRetry: retry === '1', status: Number(status), message })
}
