#!/usr/bin/env node
import { createRequire } from 'node:module'

const { main } = createRequire(import.meta.url)('../dist/cjs/cli/index.js')
const code = await main(process.argv.slice(2))
// What the program has left behind does not keep the process, and what was printed goes out first.
for (const stream of [process.stdout, process.stderr]) await new Promise((done) => stream.write('', done))
process.exit(code)
