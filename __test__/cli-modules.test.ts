// What a module may export for the command line, in JavaScript and in TypeScript, and where its mistakes are.
import { describe, expect, test, vi } from 'vitest'
import { Folder } from './support/cli.js'

vi.setConfig({ testTimeout: 30_000 })

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
    const deep = { 'gateway.js': "import './lib/a.js'\nexport default {}\n", 'lib/a.js': '\n\n  let 5\n' }
    expect(await wrong(deep, 'gateway.js')).toMatch(/^lib\/a\.js:3:\d+: /)
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
