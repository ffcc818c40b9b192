#!/usr/bin/env node
import { createRequire } from 'node:module'

// That nobody reads what it says does not end a server.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})

const { main } = createRequire(import.meta.url)('../dist/cjs/cli/index.js')
const code = await main(process.argv.slice(2))
// What the program has left behind does not keep the process, and what was printed goes out first, where
// somebody reads it.
const written = [process.stdout, process.stderr].map(
  (stream) => new Promise((done) => stream.write('', () => done(undefined))),
)
await Promise.race([Promise.all(written), new Promise((done) => setTimeout(done, 1_000))])
process.exit(code)
