// Makes the API documentation from the docstrings of ts/, in target/api-docs; a docstring that is missing,
// or leads nowhere, is an error. TypeDoc needs the compiler of TypeScript 6 as a library, which TypeScript 7
// does not have: both are installed here, apart from all else.
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const folder = dirname(fileURLToPath(import.meta.url))
const version = (file) => JSON.parse(readFileSync(join(folder, file), 'utf8')).version
const wanted = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).devDependencies.typedoc

const windows = process.platform === 'win32'
const run = (command, args, options = {}) => {
  const { status, error } = spawnSync(command, args, { cwd: folder, stdio: 'inherit', ...options })
  if (error !== undefined) console.error(`docs:api: ${command} could not be run: ${error.message}`)
  if (status !== 0) process.exit(status ?? 1)
}

const typedoc = 'node_modules/typedoc/package.json'
if (!existsSync(join(folder, typedoc)) || version(typedoc) !== wanted)
  run(windows ? 'npm.cmd' : 'npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], { shell: windows })
run(process.execPath, ['node_modules/typedoc/bin/typedoc', '--options', 'typedoc.json', '--logLevel', 'Warn'])
