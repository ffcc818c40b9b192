// `--test` finds what would keep a module from starting, and runs nothing of it.
import { expect, test, vi } from 'vitest'
import { Folder } from './support/cli.js'

vi.setConfig({ testTimeout: 60_000 })

const HEAD = `import { BackgroundService, HttpApp, HttpPeer, HttpProxy, Server } from 'millrace'
const server = new Server()
const app = () => server.addService(new HttpApp(() => 200)).addTcp('127.0.0.1:0')
const proxy = (options) => new HttpProxy(new URL('./phases.mjs', import.meta.url), options)
const background = (name) => new BackgroundService(name, { start() { console.log('started') } })
`
const WELL = `import { HttpPeer } from 'millrace'
export default { upstreamPeer: new HttpPeer('http://127.0.0.1:1') }
`

/** What a module has below the head, the phases beside it, and what is said of them. */
const WRONG: [what: string, code: string, phases: string | undefined, said: string | RegExp][] = [
  [
    'phases that are not there',
    "server.addService(proxy()).addTcp('127.0.0.1:0')",
    undefined,
    /^gateway\.mjs: Cannot find module '\S+phases\.mjs'/,
  ],
  [
    'phases that fail',
    "server.addService(proxy()).addTcp('127.0.0.1:0')",
    "\n throw new Error('down')",
    'phases.mjs:2:8: down',
  ],
  [
    'a misspelt phase in two threads',
    "server.addService(proxy({ jsThreads: 2 })).addTcp('127.0.0.1:0')",
    `${WELL.trimEnd().slice(0, -1)}, requestFiltr() {} }`,
    /requestFiltr: found function requestFiltr, allowed: no such phase; did you mean requestFilter\?$/,
  ],
  [
    'phases without a peer',
    "server.addService(proxy()).addTcp('127.0.0.1:0')",
    'export default { requestFilter() {} }',
    /upstreamPeer: found undefined, allowed: an HttpPeer or a function$/,
  ],
  [
    'services that depend on each other',
    `const [a, b] = ['a', 'b'].map(background)
     server.addService(a, { dependsOn: [b] })
     server.addService(b, { dependsOn: [a] })`,
    WELL,
    'gateway.mjs: services depend on each other: b → a → b',
  ],
  [
    'one that depends on a service of nobody',
    "server.addService(background('a'), { dependsOn: [background('b')] })",
    WELL,
    'gateway.mjs: the service a depends on b, which this server does not have',
  ],
  ['a server without services', '', WELL, 'gateway.mjs: its server has no services: see addService'],
  ['a closed server', 'app()\nawait server.close()', WELL, 'gateway.mjs: its server is closed'],
  [
    'a processor that is not there',
    "server.addService(new HttpApp(() => 200, { cpus: [1023] })).addTcp('127.0.0.1:0')",
    WELL,
    /^gateway\.mjs: service app: processor 1023 is none of those to run on: /,
  ],
  [
    'a server that it starts itself, and does not wait for',
    'app()\nserver.run()',
    WELL,
    'gateway.mjs:7:8: this is a check, in which no server starts',
  ],
  [
    'a server that it starts itself, and does not look after',
    'app()\nserver.start().catch(() => {})',
    WELL,
    'gateway.mjs:7:8: this is a check, in which no server starts',
  ],
  [
    'another server that it starts itself a moment later',
    'app()\nqueueMicrotask(() => void new Server().start())',
    WELL,
    'gateway.mjs:7:40: this is a check, in which no server starts',
  ],
  [
    'a rejection that nobody looks after',
    "app()\nvoid Promise.reject(new TypeError('lost'))",
    WELL,
    'gateway.mjs:7:21: TypeError: lost',
  ],
]

test.each(WRONG)('%s fails it', async (_what, code, phases, said) => {
  const files = { 'gateway.mjs': `${HEAD}${code}\nexport default server\n` }
  const folder = new Folder(phases === undefined ? files : { ...files, 'phases.mjs': phases })
  const { code: rc, out, err } = await folder.run(['run', 'gateway.mjs', '--test'])
  const told = err.replace(/^millrace: /gm, '').trimEnd()
  if (typeof said === 'string') expect(told).toBe(said)
  else expect(told).toMatch(said)
  expect([rc, out]).toEqual([1, ''])
  expect(err).not.toContain('    at ')
})

test.each(WRONG.filter(([what]) => what.startsWith('a server without') || what === 'a closed server'))(
  '%s is not run either',
  async (_what, code, _phases, said) => {
    const folder = new Folder({ 'gateway.mjs': `${HEAD}${code}\nexport default server\n` })
    expect(await folder.run(['run', 'gateway.mjs'])).toEqual({ code: 1, out: '', err: `millrace: ${said}\n` })
  },
)

test('loads phases of modules, and begins no service', async () => {
  const code = `server.addService(proxy({ jsThreads: 2 })).addTcp('127.0.0.1:1')
server.addService(background('worker'))
export default server`
  const phases = `import { threadId } from 'node:worker_threads'\nif (threadId === 0) throw new Error('here')\n${WELL}`
  const folder = new Folder({ 'gateway.mjs': HEAD + code, 'phases.mjs': phases })
  expect(await folder.run(['run', 'gateway.mjs', '--test'])).toEqual({
    code: 0,
    out: 'millrace: gateway.mjs: ok: proxy on 127.0.0.1:1; worker\n',
    err: '',
  })
})
