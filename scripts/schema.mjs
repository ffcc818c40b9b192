// Writes config.schema.json, the JSON Schema of configuration files for editors, out of the rules that check them.
// A test says when it is to be run.
import { writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')
const { schema } = createRequire(import.meta.url)(join(root, 'dist/cjs/cli/index.js'))
writeFileSync(join(root, 'config.schema.json'), `${JSON.stringify(await schema(), undefined, 2)}\n`)
