#!/usr/bin/env node
import { createRequire } from 'node:module'

const streams = [process.stdout, process.stderr]
// That nobody reads what it says does not end a server.
for (const stream of streams) stream.on('error', () => {})

const { main } = createRequire(import.meta.url)('../dist/cjs/cli/index.js')
// Not awaited here: of a program that never settles, newer versions of Node.js would tell by this place.
main(process.argv.slice(2)).then(async (code) => {
  // What the program has left behind does not keep the process, and what was printed goes out first, where
  // somebody reads it.
  const written = streams.map((stream) => new Promise((done) => stream.write('', () => done(undefined))))
  await Promise.race([Promise.all(written), new Promise((done) => setTimeout(done, 1_000))])
  process.exit(code)
})
