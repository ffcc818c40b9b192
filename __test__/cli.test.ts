// The command line: what it is asked, what it runs, how it ends.
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { describe, expect, test, vi } from 'vitest'
import { ANSWERING, Folder } from './support/cli.js'

vi.setConfig({ testTimeout: 30_000 })

const version = JSON.parse(readFileSync('package.json', 'utf8')).version as string
const LISTEN = ['--listen', '127.0.0.1:0']

describe('the arguments', () => {
  test('--version and --help end well, and say nothing else', async () => {
    const folder = new Folder({})
    for (const flag of ['--version', '-v'])
      expect(await folder.run([flag])).toEqual({ code: 0, out: `${version}\n`, err: '' })
    for (const args of [['--help'], ['-h'], []]) {
      const { code, out, err } = await folder.run(args)
      expect([code, err]).toEqual([0, ''])
      expect(out).toContain('millrace run MODULE')
    }
  })

  test.each([
    [['fly'], "there is no command 'fly'"],
    [['gateway.ts'], "there is no command 'gateway.ts': millrace run gateway.ts"],
    [['run'], 'run: the module is missing'],
    [['run', ''], 'run: the module is missing'],
    [['run', 'a.js', 'b.js'], "run: one module, and not also 'b.js'"],
    [['run', 'a.js', '--thread', '2'], "Unknown option '--thread'"],
    [['run', 'a.js', '--config'], "Option '--config <value>' argument missing"],
    [['run', 'a.js', '--threads', 'two'], "--threads: found 'two', allowed: a number"],
    [['run', 'a.js', '--threads', '0'], '--threads: found 0, allowed: an integer from 1 to 1024'],
    [
      ['run', 'a.js', '--listen', 'localhost'],
      '--listen: found "localhost", allowed: an IP address and a port',
    ],
    [
      ['run', 'a.js', '--listen', '[fe80::1%lo]:0'],
      '--listen: found "[fe80::1%lo]:0", allowed: an IP address and a port',
    ],
    [['--test'], 'a command is missing'],
  ])('%j is wrong usage, which is 2', async (args, said) => {
    const { code, out, err } = await new Folder({}).run(args)
    expect([code, out]).toEqual([2, ''])
    expect(err).toContain(`millrace: ${said}`)
    expect(err).toMatch(/millrace: --help says what there is\n$/)
  })

  test('without the addon it can say its version', async () => {
    const env = { MILLRACE_BINARY: '/nothing/there' }
    expect((await new Folder({}).run(['--version'], env)).code).toBe(0)
    const { code, err } = await new Folder({ 'a.js': ANSWERING }).run(['run', 'a.js'], env)
    expect(code).toBe(1)
    expect(err).toMatch(/^millrace: the binary of millrace .* could not be loaded/)
    expect(err).not.toContain('    at ')
  })
})

describe('run', () => {
  test('serves until SIGTERM, and ends well', async () => {
    const started = new Folder({ 'gateway.js': ANSWERING }).start(['run', 'gateway.js', ...LISTEN])
    const [url] = await started.urls()
    expect(await (await fetch(`${url}/a`)).text()).toBe('got /a')
    started.child.kill('SIGTERM')
    expect(await started.ended).toEqual({ code: 0, out: `millrace: proxy: listening on ${url}\n`, err: '' })
  })

  test('lets requests end that are under way', async () => {
    const gateway = `import { definePhases, HttpPeer } from 'millrace'
      export default definePhases({
        async requestFilter() {
          process.kill(process.pid, 'SIGTERM')
          await new Promise((resolve) => setTimeout(resolve, 200))
          return { status: 200, body: 'whole' }
        },
        upstreamPeer: new HttpPeer('http://127.0.0.1:1'),
      })`
    const started = new Folder({ 'gateway.js': gateway }).start(['run', 'gateway.js', ...LISTEN])
    const [url] = await started.urls()
    expect(await (await fetch(url!)).text()).toBe('whole')
    expect((await started.ended).code).toBe(0)
  })

  test('ends although the module has left something that would hold the process', async () => {
    const gateway = `${ANSWERING}setInterval(() => {}, 1000)`
    const started = new Folder({ 'gateway.js': gateway }).start(['run', 'gateway.js', ...LISTEN])
    await started.urls()
    started.child.kill('SIGINT')
    expect((await started.ended).code).toBe(0)
  })

  test('with an address that is taken fails, which is 1', async () => {
    const taken = createServer()
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
    const { port } = taken.address() as { port: number }
    const args = ['run', 'gateway.js', '--listen', `127.0.0.1:${port}`]
    const { code, out, err } = await new Folder({ 'gateway.js': ANSWERING }).run(args)
    taken.close()
    expect([code, out]).toEqual([1, ''])
    expect(err).toContain(`127.0.0.1:${port}`)
    expect(err).not.toContain('    at ')
  })

  test('without an address fails, and says how to give one', async () => {
    const { code, err } = await new Folder({ 'gateway.js': ANSWERING }).run(['run', 'gateway.js'])
    expect(code).toBe(1)
    expect(err).toMatch(/^millrace: gateway.js: nothing says where to listen: --listen/)
  })

  test('several addresses are all listened on', async () => {
    const args = ['run', 'gateway.js', ...LISTEN, '--listen', '[::1]:0']
    const started = new Folder({ 'gateway.js': ANSWERING }).start(args)
    const urls = await started.urls(2)
    expect(urls[1]).toMatch(/^http:\/\/\[::1\]:\d+$/)
    for (const url of urls) expect((await fetch(url)).status).toBe(200)
  })

  test('by another copy of the command is done by the one that the module imports', async () => {
    // The copy of the module says another version, by a binary that is not there: that one is used.
    const folder = new Folder({
      'node_modules/millrace/package.json':
        '{ "name": "millrace", "exports": { "./package.json": "./package.json" } }',
      'node_modules/millrace/dist/cjs/cli/index.js':
        'exports.main = async (argv) => { console.log(JSON.stringify(argv)); return 0 }',
      'node_modules/millrace/dist/cjs/package.json': '{ "type": "commonjs" }',
      'package.json': '{ "type": "module" }',
      'gateway.js': 'export default {}',
    })
    const { code, out } = await folder.run(['run', 'gateway.js', '--test'])
    expect([code, out]).toEqual([0, '["run","gateway.js","--test"]\n'])
  })
})

describe('a module that has a server of its own', () => {
  const server = `import { DemoOrigin, Server } from 'millrace'
const server = new Server()
server.addService(new DemoOrigin()).addTcp('127.0.0.1:0')
`

  test.each([
    ['await server.run()', 4, 14],
    ['server.run()\nexport default server', 4, 8],
    ['export default () => {\n  server.run()\n  return server\n}', 5, 10],
  ])('and runs it itself is told to leave that to the command: %j', async (code, line, column) => {
    const folder = new Folder({ 'gateway.js': server + code })
    for (const args of [[], ['--test'], LISTEN])
      expect(await folder.run(['run', 'gateway.js', ...args])).toEqual({
        code: 1,
        out: '',
        err: `millrace: gateway.js:${line}:${column}: millrace run runs the server: export it as default, without a call of run()\n`,
      })
  })

  test('may start it, but then nobody says any more where it listens', async () => {
    const folder = new Folder({ 'gateway.js': `${server}await server.start()\nexport default server` })
    const started = folder.start(['run', 'gateway.js'])
    await started.urls()
    started.child.kill('SIGTERM')
    expect(await started.ended).toMatchObject({ code: 0, err: '' })
    const { code, err } = await folder.run(['run', 'gateway.js', ...LISTEN])
    expect([code, err]).toEqual([
      1,
      'millrace: --listen: gateway.js has started its server already, where it said: leave start() to the command\n',
    ])
  })
})

describe('--test', () => {
  test('says what would be served, and binds nothing', async () => {
    const taken = createServer()
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
    const { port } = taken.address() as { port: number }
    const folder = new Folder({ 'gateway.js': `${ANSWERING}setInterval(() => {}, 1000)` })
    const { code, out, err } = await folder.run([
      'run',
      'gateway.js',
      '--test',
      '--listen',
      `127.0.0.1:${port}`,
    ])
    taken.close()
    expect([code, err]).toEqual([0, ''])
    expect(out).toBe(`millrace: gateway.js: ok: proxy on 127.0.0.1:${port}\n`)
  })

  test('refuses a module that starts its server itself', async () => {
    const gateway = `import { DemoOrigin, Server } from 'millrace'
      const server = new Server()
      server.addService(new DemoOrigin()).addTcp('127.0.0.1:0')
      await server.start()
      export default server`
    const { code, err } = await new Folder({ 'gateway.js': gateway }).run(['run', 'gateway.js', '--test'])
    expect(code).toBe(1)
    expect(err).toMatch(/^millrace: gateway.js:\d+:\d+: this is a check, in which no server starts/)
  })

  test('reads certificates', async () => {
    const folder = new Folder({
      'gateway.js': ANSWERING,
      'conf/own.yaml':
        'listen:\n  - address: 127.0.0.1:0\n    tls:\n      cert: cert.pem\n      key: key.pem\n',
      'conf/cert.pem': 'nothing\nof a certificate',
    })
    const args = ['run', 'gateway.js', '--test', '--config', 'conf/own.yaml']
    const missing = await folder.run(args)
    expect(missing.code).toBe(1)
    expect(missing.err).toContain(
      `conf/own.yaml:5:12: listen[0].tls.key: found "${folder.path}/conf/key.pem (ENOENT)"`,
    )
    folder.write({ 'conf/key.pem': 'nothing\nof a key' })
    const wrong = await folder.run(args)
    expect(wrong.code).toBe(1)
    expect(wrong.err).toMatch(/^millrace: conf\/own\.yaml:4:13: listen\[0\]\.tls\.cert: /)
    const of = (file: string) => readFileSync(`__test__/certs/${file}`, 'utf8')
    folder.write({ 'conf/cert.pem': of('localhost.pem'), 'conf/key.pem': of('localhost.key') })
    expect(await folder.run(args)).toMatchObject({ code: 0, err: '' })
  })
})
