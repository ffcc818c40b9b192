#!/usr/bin/env node
import { createRequire } from 'node:module'

const { main } = createRequire(import.meta.url)('../dist/cjs/cli/index.js')
// Not awaited here: of a program that never settles, newer versions of Node.js would tell by this place.
main(process.argv.slice(2)).then(async (code) => {
  // What the program has left behind does not keep the process, and what was printed goes out first.
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', () => {}) // nobody reads it
    await new Promise((done) => stream.write('', done))
  }
  process.exit(code)
})
