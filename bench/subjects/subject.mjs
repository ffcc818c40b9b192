// What every subject in JavaScript has in common: `node SUBJECT.mjs ORIGIN [VARIANT [CERT KEY PROTOCOL]]`.
export const [, , origin, variant, cert, key, protocol] = process.argv

/** Says where the subject listens, and ends the process when the benchmark is gone. */
export function serveUntilAbandoned(port) {
  console.log(`127.0.0.1:${port}`)
  process.stdin.on('end', () => process.exit()).resume()
}
