// What a module may export for the command line, in JavaScript and in TypeScript, and where its mistakes are.
import { describe, expect, test, vi } from 'vitest'
import { Folder } from './support/cli.js'

vi.setConfig({ testTimeout: 30_000 })

const stripsTypes = Boolean((process.features as { typescript?: unknown }).typescript)
const LISTEN = ['--listen', '127.0.0.1:0']
const HEAD = `import { definePart, definePhases, DemoOrigin, HttpPeer, HttpProxy, Server } from 'millrace'
const upstreamPeer = new HttpPeer('http://127.0.0.1:1')
const phases = { upstreamPeer, requestFilter: () => 418 }
`
const CLASS = `class Gateway {
  upstreamPeer = upstreamPeer
  status = 418
  requestFilter() { return this.status }
}
`

/** What the gateway of a module answers with. */
async function status(files: Record<string, string>, entry: string, args = LISTEN): Promise<number> {
  const started = new Folder(files).start(['run', entry, ...args])
  const [url] = await started.urls()
  const { status } = await fetch(url!)
  started.child.kill('SIGTERM')
  expect(await started.ended).toMatchObject({ code: 0, err: '' })
  return status
}

/** What `--test` says of a module that is wrong. */
async function wrong(files: Record<string, string>, entry: string): Promise<string> {
  const { code, out, err } = await new Folder(files).run(['run', entry, '--test', ...LISTEN])
  expect([code, out]).toEqual([1, ''])
  expect(err).not.toContain('    at ')
  return err.replace(/^millrace: /gm, '').trimEnd()
}

describe('a default export', () => {
  test.each([
    ['phases', 'export default phases'],
    ['parts', 'export default [{ requestFilter: () => 418 }, { upstreamPeer }]'],
    ['an object of a class', `${CLASS}export default new Gateway()`],
    ['a class', `${CLASS}export default Gateway`],
    ['a function that makes phases', 'export default () => phases'],
    ['an async function', 'export default async () => phases'],
    ['a promise', 'export default Promise.resolve(phases)'],
    ['a proxy', 'export default new HttpProxy(phases)'],
    ['a function that makes a class', `${CLASS}export default () => Gateway`],
    ['a promise of a class', `${CLASS}export default Promise.resolve(Gateway)`],
    [
      'a function that asks for its place',
      'export default ({ index, count }) => ({ upstreamPeer, requestFilter: () => 417 + index + count })',
    ],
    [
      'a class that asks for its place',
      `export default class {
        upstreamPeer = upstreamPeer
        constructor({ index, count }) { this.status = 417 + index + count }
        requestFilter() { return this.status }
      }`,
    ],
    [
      'a class of a server',
      'export default class extends Server { own = this.addService(new HttpProxy(phases)) }',
    ],
    ['a function that makes a proxy', 'export default () => new HttpProxy(phases)'],
    [
      'a server',
      'const server = new Server()\nserver.addService(new HttpProxy(phases))\nexport default server',
    ],
  ])('may be %s', async (_name, code) => {
    expect(await status({ 'gateway.js': HEAD + code }, 'gateway.js')).toBe(418)
  })

  test('may be of CommonJS, also as compilers write it', async () => {
    const head = HEAD.replace(/import (.*) from 'millrace'/, "const $1 = require('millrace')")
    expect(await status({ 'gateway.cjs': `${head}module.exports = phases` }, 'gateway.cjs')).toBe(418)
    const compiled = `Object.defineProperty(exports, '__esModule', { value: true })\n${head}exports.default = phases`
    expect(await status({ 'gateway.cjs': compiled }, 'gateway.cjs')).toBe(418)
  })

  test('of phases is loaded in as many threads as are asked for', async () => {
    const code = `export default ({ index, count }) => ({ upstreamPeer, requestFilter: () => 412 + 2 * count + 0 * index })`
    const files = { 'gateway.js': HEAD + code, 'own.yaml': 'proxy: { jsThreads: 3 }' }
    expect(await status(files, 'gateway.js', [...LISTEN, '--config', 'own.yaml'])).toBe(418)
  })

  test.each(['a class', 'a promise'])('of threads may be %s that comes of a function', async (what) => {
    const made = what === 'a class' ? '() => Gateway' : 'Promise.resolve(() => new Gateway())'
    const server = `${HEAD}const server = new Server()
      server.addService(new HttpProxy(new URL('./phases.js', import.meta.url)))
      export default server`
    const files = { 'server.js': server, 'phases.js': `${HEAD}${CLASS}export default ${made}` }
    expect(await status(files, 'server.js')).toBe(418)
  })

  test('with endpoints of its own needs no others', async () => {
    const code = `${HEAD}const proxy = new HttpProxy(phases)\nproxy.addTcp('127.0.0.1:0')\nexport default proxy`
    expect(await status({ 'gateway.js': code }, 'gateway.js', [])).toBe(418)
  })

  test.each([
    ['', 'gateway.js: it has no default export, which may be a server, '],
    ['export const gateway = phases', 'gateway.js: it has no default export, which may be a server, '],
    ['export default 5', 'gateway.js: its default export is 5: it may be a server, '],
    ['export default () => {}', 'its default export is undefined: it may be a server, '],
    ['export default {}', 'gateway.js: invalid options of HttpProxy:'],
    ['export default { upstreamPeer, requestFiltr() {} }', 'requestFiltr'],
  ])('%j is told', async (code, said) => {
    expect(await wrong({ 'gateway.js': HEAD + code }, 'gateway.js')).toContain(said)
  })
})

describe('TypeScript', () => {
  test('is run without its types, also what it imports', async () => {
    const files = {
      'gateway.ts': `import type { Session } from 'millrace'\nimport { answer } from './lib/answer.ts'
        import { HttpPeer } from 'millrace'
        interface Ctx { readonly seen: string[] }
        abstract class Base<T> { abstract requestFilter(session: Session, ctx: T): number }
        class Gateway extends Base<Ctx> {
          declare readonly never: string
          upstreamPeer = new HttpPeer('http://127.0.0.1:1') as HttpPeer
          newCtx(): Ctx { return { seen: [] } satisfies Ctx }
          override requestFilter(session: Session, ctx: Ctx): number { ctx.seen.push(session.id!); return answer<number>(418) }
        }
        export default Gateway`,
      'lib/answer.ts': 'export function answer<T>(value: T): T { return value }',
    }
    expect(await status(files, 'gateway.ts')).toBe(418)
    const { 'gateway.ts': code, ...rest } = files
    expect(await status({ ...rest, 'gateway.mts': code }, 'gateway.mts')).toBe(418)
  })

  test('in a package without a type is run too', async () => {
    const files = {
      'inner/package.json': '{ "name": "inner" }',
      'inner/gateway.ts':
        "import { HttpPeer } from '../millrace.js'\nexport default { upstreamPeer: new HttpPeer('http://127.0.0.1:1') as HttpPeer, requestFilter: (): number => 418 }",
      'millrace.js': "export * from 'millrace'",
    }
    expect(await status(files, 'inner/gateway.ts')).toBe(418)
  })

  test('in a package of CommonJS, as npm init makes it, is run too', async () => {
    const files = {
      'inner/package.json': '{ "name": "inner", "type": "commonjs" }',
      'inner/phases.ts': `import { HttpPeer } from '../millrace.js'
        import { status } from './status.ts'
        export default { upstreamPeer: new HttpPeer('http://127.0.0.1:1') as HttpPeer, requestFilter: (): number => status }`,
      'inner/status.ts': 'export const status: number = 418',
      'inner/server.ts': `import { HttpProxy, Server } from '../millrace.js'
        const server: Server = new Server()
        server.addService(new HttpProxy(new URL('./phases.ts', import.meta.url), { jsThreads: 2 }))
        export default server`,
      'inner/server.mjs': "export { default } from './server.ts'",
      'millrace.js': "export * from 'millrace'",
    }
    for (const entry of ['phases.ts', 'server.ts', 'server.mjs'])
      expect(await status(files, `inner/${entry}`)).toBe(418)
  })

  test.runIf(stripsTypes)('that is CommonJS stays that', async () => {
    const files = {
      'inner/package.json': '{ "type": "commonjs" }',
      'inner/gateway.ts': `${HEAD.replace(/import (.*) from 'millrace'/, "const $1 = require('millrace')")}module.exports = phases as object`,
    }
    expect(await status(files, 'inner/gateway.ts')).toBe(418)
  })

  test('with types alone in a namespace is run on each Node.js', async () => {
    const code = `${HEAD}namespace A { export type X = 1 }\nexport default phases as A.X extends 1 ? object : never`
    expect(await status({ 'gateway.ts': code }, 'gateway.ts')).toBe(418)
  })

  test.each([
    [
      'enum Level { Low }',
      'gateway.ts:2:1: enum: not supported. Millrace, as Node.js, removes types and translates nothing',
    ],
    ['namespace A { export const b = 1 }', 'gateway.ts:2:1: namespace declaration: not supported.'],
    ['class A { constructor(private b: number) {} }', 'gateway.ts:2:31: parameter property: not supported.'],
    [
      'const d = (..._: unknown[]): void => {}\n@d class A {}',
      'gateway.ts:3:1: decorators are not supported: millrace, as Node.js, removes types',
    ],
    ...[
      ['class A { constructor(@d b: number) {} }', 23],
      ['class A { @d() m() {} }', 11],
      ['export const A = @d() class { }', 18],
    ].map(([code, column]): [string, string] => [
      `const d = (..._: unknown[]): any => {}\n${code}`,
      `gateway.ts:3:${column}: decorators are not supported: millrace, as Node.js, removes types`,
    ]),
    ['let x: number =\n  const;', /^gateway\.ts:3:\d+: /],
  ])('with %j is told in a sentence, with the place', async (code, said) => {
    const err = await wrong({ 'gateway.ts': `export default {} as object\n${code}\n` }, 'gateway.ts')
    if (typeof said === 'string') expect(err).toContain(said)
    else expect(err).toMatch(said)
    expect(err.split('\n')).toHaveLength(1)
  })

  test('two imports deep is told of where it is', async () => {
    const files = {
      'gateway.ts': "import './lib/a.ts'\nexport default {} as object",
      'lib/a.ts': "import './b.ts'\n",
      'lib/b.ts': '// nothing\n  enum B { C }\n',
    }
    expect(await wrong(files, 'gateway.ts')).toMatch(/^lib\/b\.ts:2:3: enum: not supported/)
  })
})

describe('a module that is wrong', () => {
  test('in its syntax is told of with the place', async () => {
    expect(await wrong({ 'gateway.js': 'export default {}\nconst x = ;\n' }, 'gateway.js')).toBe(
      'gateway.js:2:11: Expression expected',
    )
    expect(await wrong({ 'gateway.js': 'export default {}\nconst b = (' }, 'gateway.js')).toMatch(
      /^gateway\.js:2:\d+: /,
    )
    const deep = { 'gateway.js': "import './lib/a.js'\nexport default {}\n", 'lib/a.js': '\n\n  let 5\n' }
    expect(await wrong(deep, 'gateway.js')).toMatch(/^lib\/a\.js:3:\d+: /)
  })

  test('in JavaScript that is CommonJS by its package is told of with what to do', async () => {
    const files = { 'inner/package.json': '{ "type": "commonjs" }', 'inner/gateway.js': '' }
    const said = `it has import or export, and is CommonJS by "type": "commonjs" in package.json: say "type": "module" there, or name it gateway.mjs`
    for (const code of [
      `${HEAD}export default phases`,
      'export default {}',
      'module.exports = import.meta.url',
    ]) {
      files['inner/gateway.js'] = code
      expect(await wrong(files, 'inner/gateway.js')).toMatch(
        new RegExp(`^inner/gateway\\.js:1(?::\\d+)?: ${said}$`),
      )
    }
    const ending = await wrong({ 'gateway.cjs': 'export default {}' }, 'gateway.cjs')
    expect(ending).toMatch(/^gateway\.cjs:1(?::1)?: .* its ending is that of CommonJS: name it gateway\.mjs$/)
  })

  test('as it runs is told of with the place of the first frame of the program', async () => {
    const files = {
      'gateway.js': "import { fail } from './lib/fail.js'\nfail()\n",
      'lib/fail.js': "export const fail = () => {\n  throw new TypeError('down')\n}\n",
    }
    expect(await wrong(files, 'gateway.js')).toBe('lib/fail.js:2:9: TypeError: down')
  })

  test('in its options is told of where it gives them', async () => {
    const code = `${HEAD}\nexport default new HttpProxy(phases, {\n  threads: 0,\n})\n`
    expect(await wrong({ 'gateway.js': code }, 'gateway.js')).toBe(
      'gateway.js:5:16: invalid options of HttpProxy:\n  threads: found 0, allowed: an integer from 1 to 1024',
    )
  })

  test('in a function that makes phases is told of there', async () => {
    const code = "export default async () => {\n  await null\n  throw new Error('no key')\n}\n"
    expect(await wrong({ 'gateway.js': code }, 'gateway.js')).toBe('gateway.js:3:9: no key')
  })

  test('that throws what is no error is told of all the same', async () => {
    expect(await wrong({ 'gateway.js': 'throw 5' }, 'gateway.js')).toBe('gateway.js: it threw 5')
  })

  test('that is not there, or imports what is not, is told of', async () => {
    expect(await wrong({}, 'gateway.js')).toBe('gateway.js: there is no such file')
    const typed = await wrong({ 'gateway.ts': '' }, 'gateway.js')
    expect(typed).toBe('gateway.js: there is no such file; there is gateway.ts')
    const options = await wrong({ 'conf.yaml': '' }, 'conf.yaml')
    expect(options).toBe('conf.yaml: it is no module: a file of options is for --config')
    const bare = await wrong({ 'lib/index.ts': '' }, 'lib')
    expect(bare).toBe('lib: it is a directory: the module is a file')
    const code = "import './lib.js'\nexport default {}"
    const err = await wrong({ 'gateway.ts': code, 'lib.ts': '' }, 'gateway.ts')
    expect(err).toBe(
      "gateway.ts:1:8: Cannot find module './lib.js'; there is ./lib.ts: imports name the file as it is, with its ending",
    )
    const name = await wrong({ 'gateway.js': "\nimport { nothing } from 'millrace'" }, 'gateway.js')
    expect(name).toMatch(/^gateway\.js:2:10: .*nothing/)
  })
})

test('a module that ends the process with a code of its own is told of, and the code is that of a failure', async () => {
  const said = 'gateway.js: it did not load: it ended the process with 7'
  expect(await wrong({ 'gateway.js': 'process.exit(7)' }, 'gateway.js')).toBe(said)
  // With 1 it may have said why.
  expect(await wrong({ 'gateway.js': "console.error('no key')\nprocess.exit(1)" }, 'gateway.js')).toBe(
    'no key',
  )
})

test.each([
  'export default new Promise(() => {})',
  'await new Promise(() => {})\nexport default 5',
  'process.exit(0)',
])('%j is told as what did not load', async (code) => {
  const said = 'gateway.js: it did not load: it ended the process, or what it awaits never settles'
  expect(await wrong({ 'gateway.js': code }, 'gateway.js')).toBe(said)
  const { code: rc } = await new Folder({ 'gateway.js': code }).run(['run', 'gateway.js', ...LISTEN])
  expect(rc).toBe(1)
})
