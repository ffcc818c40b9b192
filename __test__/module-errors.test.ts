// What cannot be loaded is told in a line, the same for the command line, for threads and for a reload: what is wrong,
// in which file, at which line and column, and nothing of millrace's own.
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect, test, vi } from 'vitest'
import { Folder } from './support/cli.js'
import { plan } from './support/threads.js'

vi.setConfig({ testTimeout: 60_000 })

const WELL = `import { HttpPeer } from 'millrace'
export default { upstreamPeer: new HttpPeer('http://127.0.0.1:1') }
`

/** What a module has below what is well, the files beside, and what is said of it. */
const WRONG: [what: string, code: string, files: Record<string, string>, said: string | RegExp][] = [
  ['a missing file', "  import './nope.js'", {}, "GATEWAY:3:10: Cannot find module './nope.js'"],
  [
    'a missing file two imports deep',
    "import './lib/a.mjs'",
    {
      'lib/a.mjs': "export * from './b.mjs'\n",
      'lib/b.mjs': "// './nope.js'\nimport { x } from './nope.js'\n",
    },
    "lib/b.mjs:2:19: Cannot find module './nope.js'",
  ],
  [
    'a missing file in an import of several lines',
    "/* from './nope.js' */ import {\n  a,\n} from\n  './nope.js'",
    {},
    "GATEWAY:6:3: Cannot find module './nope.js'",
  ],
  [
    'a missing file that is imported as it runs',
    "await import(/* now */ './no%20pe.js?a=b')",
    {},
    "GATEWAY:3:24: Cannot find module './no%20pe.js?a=b'",
  ],
  [
    'a file without its ending',
    "import './lib/a'",
    { 'lib/a.ts': '' },
    "GATEWAY:3:8: Cannot find module './lib/a'; there is ./lib/a.ts: imports name the file as it is, with its ending",
  ],
  [
    'a directory',
    "import './lib'",
    { 'lib/index.js': '' },
    "GATEWAY:3:8: './lib' is a directory; there is ./lib/index.js: imports name the file",
  ],
  [
    'JSON without an attribute',
    "import x from './x.json'",
    { 'x.json': '{}' },
    "GATEWAY:3:15: './x.json' needs an import attribute: from './x.json' with { type: 'json' }",
  ],
  [
    'JSON that is wrong',
    "import x from './x.json' with { type: 'json' }",
    { 'x.json': '{\n  "a": 1,\n}' },
    'x.json:3:1: Expected double-quoted property name in JSON',
  ],
  [
    'a package that is not installed',
    "import './lib/a.mjs'",
    { 'lib/a.mjs': "import { a } from '@none/such/a.js'\n" },
    "lib/a.mjs:1:19: Cannot find package '@none/such': it is not installed",
  ],
  [
    'a path that is taken for a package',
    "import 'lib.js'",
    { 'lib.js': '' },
    "GATEWAY:3:8: Cannot find package 'lib.js': it is not installed; there is ./lib.js: paths of files begin with ./",
  ],
  [
    'what a package does not export',
    "import 'millrace/nope'",
    {},
    /^GATEWAY:3:8: Package subpath '\.\/nope' is not defined by "exports" in \S+package\.json$/,
  ],
  [
    'a name that is not exported',
    "import { HttpPear } from 'millrace'",
    {},
    /^GATEWAY:3:10: The requested module 'millrace' does not provide an export named 'HttpPear'/,
  ],
  [
    'a name that a module of its own does not export',
    "import './lib/a.mjs'",
    { 'lib/a.mjs': "\nimport { a, nope } from './b.mjs'\n", 'lib/b.mjs': 'export const a = 1\n' },
    "lib/a.mjs:2:13: The requested module './b.mjs' does not provide an export named 'nope'",
  ],
  [
    'a name that CommonJS does not export',
    "import { nope } from './a.cjs'",
    { 'a.cjs': 'module.exports = JSON.parse("{}")\n' },
    "GATEWAY:3:10: './a.cjs' is CommonJS, and what it exports as 'nope' is not seen before it runs: import it whole, import all from './a.cjs'",
  ],
  [
    'an ending that is not known',
    "import './x.css'",
    { 'x.css': '' },
    /^GATEWAY:3:8: Unknown file extension "\.css"/,
  ],
  [
    'a module of Node.js that there is not',
    "import 'node:nope'",
    {},
    'GATEWAY:3:8: No such built-in module: node:nope',
  ],
  ['an address', "import 'https://a.example/x.js'", {}, /^GATEWAY:3:8: Only URLs with a scheme in: file/],
  ['a syntax error', 'const x = ;', {}, /^GATEWAY:3:11: /],
  [
    'a syntax error two imports deep',
    "import './lib/a.mjs'",
    { 'lib/a.mjs': "import './b.mjs'\n", 'lib/b.mjs': '\n\n  let 5\n' },
    /^lib\/b\.mjs:3:\d+: /,
  ],
  ['a syntax error in CommonJS', "import './a.cjs'", { 'a.cjs': '\n\n  let 5\n' }, /^a\.cjs:3:\d+: /],
  ['what only an engine finds', 'let a = 1\nlet a = 2', {}, /^GATEWAY:4:\d+: .*\ba\b/],
  [
    'what is not there in CommonJS',
    "import './a.cjs'",
    { 'a.cjs': "\nrequire('./nope')\n" },
    "a.cjs:2:1: Cannot find module './nope'",
  ],
  [
    'an error',
    "import './lib/a.mjs'",
    { 'lib/a.mjs': "\n  throw new TypeError('down')\n" },
    'lib/a.mjs:2:9: TypeError: down',
  ],
]

/** Some with each ending: how a module is told apart is not the same. */
const cases = WRONG.flatMap(([what, code, files, said], at) =>
  (['mjs', 'js', 'ts'] as const)
    .filter((end) => end === 'mjs' || at % 3 === (end === 'js' ? 1 : 2))
    .map((end) => ({ what, end, code, files, said })),
)

function expected(said: string | RegExp, entry: string): RegExp {
  const escaped = typeof said === 'string' ? `^${said.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$` : said.source
  return new RegExp(escaped.replace('GATEWAY', entry.replace('.', '\\.')))
}

test.each(cases)('$what is told in a line (.$end)', async ({ code, end, files, said }) => {
  const entry = `gateway.${end}`
  const folder = new Folder({
    ...files,
    [entry]: `${WELL}${code}\n`,
    'server.js': `import { HttpProxy, Server } from 'millrace'
const server = new Server()
server.addService(new HttpProxy(new URL('./${entry}', import.meta.url))).addTcp('127.0.0.1:0')
export default server`,
  })
  const [checked, started] = await Promise.all([
    folder.run(['run', entry, '--test', '--listen', '127.0.0.1:0']),
    folder.run(['run', 'server.js']),
  ])
  for (const { code, out, err } of [checked, started]) {
    expect(err.replace(/^millrace: /, '').trimEnd()).toMatch(expected(said, entry))
    expect([code, out, err.trimEnd().split('\n').length]).toEqual([1, '', 1])
  }
})

test.each([
  ['that is not there', {}, 'phases.js: Cannot find module: there is no such file'],
  [
    'of another ending',
    { 'phases.ts': '' },
    'phases.js: Cannot find module: there is no such file; there is phases.ts',
  ],
  ['that ends', { 'phases.js': 'process.exit(4)' }, 'phases.js: it ended with exit code 4'],
  [
    'that leaves a rejection alone',
    { 'phases.js': "Promise.reject(new TypeError('no'))\nawait new Promise(() => {})" },
    'phases.js:1:16: TypeError: no',
  ],
  [
    'without a default export',
    { 'phases.js': 'export const a = 1' },
    'phases.js: invalid options of the module:\n  export default: found undefined, allowed: phases, or a function or class that makes them',
  ],
  [
    'with phases that are none',
    { 'phases.js': `${WELL}`.replace('upstreamPeer', 'upstreamPear') },
    /^phases\.js: invalid options of the phases of phases\.js:\n {2}upstreamPear: /,
  ],
] as [string, Record<string, string>, string | RegExp][])(
  'a module %s is told by its name',
  async (_what, files, said) => {
    const server = `import { HttpProxy, Server } from 'millrace'
const server = new Server()
server.addService(new HttpProxy(new URL('./phases.js', import.meta.url))).addTcp('127.0.0.1:0')
export default server`
    const { code, err } = await new Folder({ ...files, 'server.js': server }).run(['run', 'server.js'])
    expect(code).toBe(1)
    expect(err.replaceAll(/^millrace: /gm, '').trimEnd()).toMatch(expected(said, 'phases.js'))
  },
)

test.each(cases.filter(({ end }) => end === 'mjs'))(
  '$what is told by reload() too, and what was before goes on',
  async ({ code, files, said }) => {
    const folder = new Folder({ 'gateway.mjs': WELL })
    const at = (path: string) => join(folder.path, path)
    const { server, proxy } = plan(pathToFileURL(at('gateway.mjs')))
    await server.start()
    folder.write({ ...files, 'gateway.mjs': `${WELL}${code}\n` })
    const error = await proxy.reload().then(
      () => undefined,
      (error: Error) => error,
    )
    const begin = `the module ${at('gateway.mjs')} could not be loaded: `
    const message = error!.message
    expect(message.startsWith(begin)).toBe(true)
    expect(message.slice(begin.length).replace(`${folder.path}/`, '')).toMatch(expected(said, 'gateway.mjs'))
    expect(message.split('\n')).toHaveLength(1)
    folder.write({ 'gateway.mjs': WELL })
    await proxy.reload()
  },
)
