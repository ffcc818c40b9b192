// Configuration: by file, environment and flags, what goes before what, and where mistakes are.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { HttpApp } from '../ts/app/http-app.js'
import { BackgroundService } from '../ts/background.js'
import { fromEnvironment, variables } from '../ts/cli/config/environment.js'
import { readConfig } from '../ts/cli/config/file.js'
import { configSchema } from '../ts/cli/config/rules.js'
import { DemoOrigin } from '../ts/demo-origin.js'
import type { Schema } from '../ts/options.js'
import { merged, type Overrides, refusalOf, type Said, setOverrides } from '../ts/overrides.js'
import { proxyRules } from '../ts/proxy.js'
import { serverRules } from '../ts/server-options.js'
import { TcpApp } from '../ts/tcp/tcp-app.js'
import { TcpProxy } from '../ts/tcp/tcp-proxy.js'
import { Folder } from './support/cli.js'

vi.setConfig({ testTimeout: 30_000 })

/** Phases with options of their own, which print those that hold. */
const GATEWAY = `import { HttpPeer, HttpProxy, Server } from 'millrace'
const phases = { upstreamPeer: new HttpPeer('http://127.0.0.1:1') }
const server = new Server({ graceMs: 1 })
const proxy = new HttpProxy(phases, { threads: 1, maxHeaders: 11, upgrades: ['a'], http2: { maxResets: 5, maxFaultResets: 6 } })
server.addService(proxy).addTcp('127.0.0.1:0')
const { threads, maxHeaders, upgrades, http2, maxQueued } = proxy.native
console.log(JSON.stringify({ threads, maxHeaders, upgrades, maxResets: http2.maxResets, maxFaultResets: http2.maxFaultResets, maxQueued }))
export default server
`

/** What holds of the options, and where it would listen. */
async function holds(
  folder: Folder,
  args: string[],
  env: Record<string, string> = {},
): Promise<Record<string, unknown>> {
  const { code, out, err } = await folder.run(['run', 'gateway.js', '--test', ...args], env)
  expect([code, err]).toEqual([0, ''])
  const [options, line] = out.trim().split('\n')
  return { ...JSON.parse(options!), on: /proxy on (.*)$/.exec(line!)![1] }
}

/** What is said of a configuration. */
function said(text: string, name = 'conf.yaml'): string[] {
  const folder = new Folder({ [name]: text })
  const file = join(folder.path, name)
  try {
    readConfig(file)
  } catch (error) {
    return (error as Error).message.replaceAll(file, name).split('\n')
  }
  return []
}

describe('what goes before what', () => {
  const own = {
    threads: 1,
    maxHeaders: 11,
    upgrades: ['a'],
    maxResets: 5,
    maxFaultResets: 6,
    maxQueued: 8192,
    on: '127.0.0.1:0',
  }
  const file = `proxy:\n  threads: 2\n  maxHeaders: 22\n  upgrades: [b, c]\n  http2: { maxResets: 50 }\nlisten: ['127.0.0.2:0']\n`

  test('the module says it where nobody else does', async () => {
    expect(await holds(new Folder({ 'gateway.js': GATEWAY }), [])).toEqual(own)
  })

  test('a file goes before the module: groups in part, lists as a whole', async () => {
    const folder = new Folder({ 'gateway.js': GATEWAY, 'conf.yaml': file })
    const by = { ...own, threads: 2, maxHeaders: 22, upgrades: ['b', 'c'], maxResets: 50, on: '127.0.0.2:0' }
    expect(await holds(folder, ['--config', 'conf.yaml'])).toEqual(by)
    expect(await holds(folder, [], { MILLRACE_CONFIG: 'conf.yaml' })).toEqual(by)
  })

  test('the environment goes before the file, and a flag before both', async () => {
    const folder = new Folder({ 'gateway.js': GATEWAY, 'conf.yaml': file })
    const env = {
      MILLRACE_CONFIG: 'none.yaml',
      MILLRACE_LISTEN: '127.0.0.3:0, [::1]:0',
      MILLRACE_PROXY_THREADS: '3',
      MILLRACE_PROXY_UPGRADES: 'd,e',
      MILLRACE_PROXY_HTTP2_MAX_FAULT_RESETS: '60',
    }
    const args = ['--config', 'conf.yaml']
    const by = {
      ...own,
      threads: 3,
      maxHeaders: 22,
      upgrades: ['d', 'e'],
      maxResets: 50,
      maxFaultResets: 60,
      on: '127.0.0.3:0, [::1]:0',
    }
    expect(await holds(folder, args, env)).toEqual(by)
    const flags = [...args, '--threads', '4', '--listen', '127.0.0.4:0']
    expect(await holds(folder, flags, env)).toEqual({ ...by, threads: 4, on: '127.0.0.4:0' })
  })

  test('what a file says of one service goes before what it says of all, and after the environment', async () => {
    const named = `${file}services:\n  proxy:\n    maxHeaders: 33\n    maxQueued: 44\n    listen: ['127.0.0.5:0']\n`
    const folder = new Folder({ 'gateway.js': GATEWAY, 'conf.yaml': named })
    const args = ['--config', 'conf.yaml']
    const by = {
      ...own,
      threads: 2,
      maxHeaders: 33,
      upgrades: ['b', 'c'],
      maxResets: 50,
      maxQueued: 44,
      on: '127.0.0.5:0',
    }
    expect(await holds(folder, args)).toEqual(by)
    const env = { MILLRACE_PROXY_MAX_QUEUED: '55', MILLRACE_LISTEN: '127.0.0.6:0' }
    expect(await holds(folder, args, env)).toEqual({ ...by, maxQueued: 55, on: '127.0.0.6:0' })
  })

  test('of several services each is told where to listen', async () => {
    const two = `import { DemoOrigin, HttpPeer, HttpProxy, Server } from 'millrace'
      const server = new Server()
      server.addService(new HttpProxy({ upstreamPeer: new HttpPeer('http://127.0.0.1:1') }, { name: 'front' }))
      server.addService(new DemoOrigin()).addTcp('127.0.0.1:0')
      export default server`
    const folder = new Folder({
      'gateway.js': two,
      'all.yaml': '\nlisten: ["127.0.0.1:0"]\n',
      'each.yaml': 'services:\n  front:\n    listen: ["127.0.0.7:0"]\n',
      'none.yaml': 'services:\n  frond: {}\n',
    })
    const args = ['run', 'gateway.js', '--test', '--config']
    const all = await folder.run([...args, 'all.yaml'])
    expect([all.code, all.err]).toEqual([
      1,
      expect.stringContaining('all.yaml:2:9: gateway.js has 2 services that listen'),
    ])
    const each = await folder.run([...args, 'each.yaml'])
    expect(each).toMatchObject({ code: 0, out: expect.stringContaining('front on 127.0.0.7:0; ') })
    const none = await folder.run([...args, 'none.yaml'])
    expect(none.err).toMatch(
      /^millrace: none\.yaml:2:10: services\.frond: gateway\.js has no service of this name, it has front, /,
    )
  })

  test('a service in the background is told nothing', async () => {
    const code = `import { BackgroundService, HttpPeer, HttpProxy, Server } from 'millrace'
      const server = new Server()
      server.addService(new BackgroundService('clock', ({ ready, signal }) => {
        ready()
        return new Promise((resolve) => signal.addEventListener('abort', () => resolve()))
      }))
      server.addService(new HttpProxy({ upstreamPeer: new HttpPeer('http://127.0.0.1:1') }))
      export default server`
    const args = ['run', 'gateway.js', '--test', '--listen', '127.0.0.8:0']
    const { code: rc, out } = await new Folder({ 'gateway.js': code }).run(args)
    expect([rc, out]).toEqual([0, 'millrace: gateway.js: ok: clock; proxy on 127.0.0.8:0\n'])
  })
})

describe('a file', () => {
  test('may be YAML or JSON, and empty', () => {
    expect(said('')).toEqual([])
    expect(said('# nothing\n')).toEqual([])
    expect(
      said('{\n\t"$schema": "./x.json",\n\t"proxy": {\n\t\t"threads": 2\n\t}\n}\n', 'conf.json'),
    ).toEqual([])
  })

  test.each([
    ['proxy:\n  threads: 0\n', 'conf.yaml:2:12: proxy.threads: found 0, allowed: an integer from 1 to 1024'],
    [
      'proxy:\n  thread: 2\n',
      'conf.yaml:2:11: proxy.thread: found 2, allowed: no such option; did you mean threads?',
    ],
    [
      'proxi: {}\n',
      'conf.yaml:1:8: proxi: found an object (Object), allowed: no such option; did you mean proxy?',
    ],
    ['extra: {}\n', 'conf.yaml:1:8: extra: found an object (Object), allowed: no such option; there are: '],
    ['proxy:\n', 'conf.yaml:1:7: proxy: found null, allowed: an object'],
    ['- a\n', 'conf.yaml:1:1: options: found an array of 1, allowed: an object'],
    ['server:\n  graceMs: 1s\n', 'conf.yaml:2:12: server.graceMs: found "1s", allowed: milliseconds, '],
    ['server: { logger: false }\n', 'conf.yaml:1:19: server.logger: found false, allowed: no such option'],
    ['listen: []\n', 'conf.yaml:1:9: listen: found an array of 0, allowed: a list, not empty; each: '],
    [
      'listen:\n  - 127.0.0.1:0\n  - localhost:80\n',
      'conf.yaml:3:5: listen[1]: found "localhost:80", allowed: an IP',
    ],
    [
      'listen:\n  - backlog: 5\n',
      'conf.yaml:2:5: listen[0].address: found undefined, allowed: an IP address',
    ],
    [
      'listen:\n  - address: 127.0.0.1:0\n    tls: { minVersion: TLSv1 }\n',
      "conf.yaml:3:24: listen[0].tls.minVersion: found \"TLSv1\", allowed: 'TLSv1.2' or 'TLSv1.3'",
    ],
    [
      'services:\n  a.b:\n    threads: x\n',
      'conf.yaml:3:14: services.a.b.threads: found "x", allowed: an integer',
    ],
    ['proxy:\n  threads: 1\n  threads: 2\n', 'conf.yaml:3:3: Map keys must be unique'],
    ['proxy: {\n', 'conf.yaml:2:1: '],
    ['proxy:\n\tthreads: 2\n', 'conf.yaml:2:1: Tabs are not allowed as indentation'],
    ['proxy: *nothing\n', 'conf.yaml:1:8: '],
  ])('%j is told with its place', (text, first) => {
    expect(said(text)[0]).toContain(first)
  })

  test.skipIf(process.platform === 'win32')('may name Unix sockets, with their options', async () => {
    const folder = new Folder({ 'gateway.js': GATEWAY })
    const path = join(folder.path, 's.sock')
    folder.write({ 'conf.yaml': `listen:\n  - unix:${path}\n  - address: unix:${path}2\n    mode: 0o600\n` })
    const args = ['--config', 'conf.yaml']
    expect(await holds(folder, args)).toMatchObject({ on: `unix:${path}, unix:${path}2` })
    const mode = (text: string) => said(`listen:\n  - address: unix:/a\n    mode: ${text}\n`)[0]
    expect(mode('0o1000')).toContain('conf.yaml:3:11: listen[0].mode: found 512')
    // YAML 1.1 has read it as octal, so people write it; 1.2 has not: it would be 0670.
    expect(mode('0440')).toBe('conf.yaml:3:11: found 0440, which means 440 here: write 0o440 (octal) or 440')
    expect(mode('432')).toBe(
      "conf.yaml:3:11: found 432, which is no octal number: write permissions as 0o660 or '0660'",
    )
    const allowed = "allowed: permissions in octal: 0o660 or '0660', from 0o000 to 0o777"
    for (const [text, found] of [
      ["'0680'", '"0680"'],
      ["'8'", '"8"'],
      ['rw', '"rw"'],
      ['[1]', 'an array of 1'],
    ])
      expect(mode(text!)).toBe(`conf.yaml:3:11: listen[0].mode: found ${found}, ${allowed}`)
    for (const text of ['0o440', "'0440'", '"440"']) {
      const { path } = new Folder({ 'conf.yaml': `listen: [{ address: unix:/a, mode: ${text} }]` })
      expect(readConfig(join(path, 'conf.yaml')).config.listen).toEqual([{ address: 'unix:/a', mode: 0o440 }])
    }
    expect(said('listen:\n  - address: unix:/a\n    reusePort: true\n')[0]).toContain(
      'listen[0].reusePort: found true, allowed: no such',
    )
    expect(said('listen: [unix:a]\n')[0]).toContain('conf.yaml:1:10: listen[0]: found "unix:a"')
  })

  test('has names and words for keys', () => {
    expect(said('a: 1\n---\nb: 2\n')).toEqual(['conf.yaml:2:1: a configuration is one document'])
    // An address without quotes is a list, which Node.js would warn of.
    expect(said('listen: [[::1]:8080]\n')[0]).toMatch(/^conf\.yaml:1:10: a key is a word; .* "\[::1\]:8080"$/)
    expect(said('? [a]\n: 1\n')[0]).toContain('conf.yaml:1:3: a key is a word')
    expect(said('proxy:\n  maxHeaders: 0100\n')).toEqual([
      'conf.yaml:2:15: found 0100, which means 100 here: write 0o100 (octal) or 100',
    ])
    expect(said('listen: [8080]\n')[0]).toMatch(
      /^conf\.yaml:1:10: listen\[0\]: found 8080, allowed: an IP address and a port .*, or an object with/,
    )
    expect(said('services: { proxy: { name: a, x: 1, htp2: {}, http2: { y: 1 } } }\n')).toEqual([
      'conf.yaml:1:28: services.proxy.name: found "a", allowed: nothing: its name is the key that it stands under, and that which the module gives it',
      'conf.yaml:1:34: services.proxy.x: found 1, allowed: no such option of a service of any kind',
      expect.stringContaining('did you mean http2?'),
      expect.stringContaining('services.proxy.http2.y: found 1, allowed: no such option; there are: '),
    ])
  })

  test.each([
    ['keys that are none', Array.from({ length: 50_000 }, (_, at) => `key${at}: 1\n`).join(''), 49_980],
    ['keys that are there twice', 'key: 1\n'.repeat(50_000), 49_979],
    ['options that are none', `proxy:\n${'  k: 1\n'.repeat(2)}`, 0],
    ['what is wrong in a list', `listen: [${'8,'.repeat(100_000)}]`, 99_980],
    ['brackets', '['.repeat(20_000), undefined],
    ['brackets that close', `a: ${'['.repeat(200_000)}${']'.repeat(200_000)}`, undefined],
    ['dots', `proxy:\n  ${'a.'.repeat(200_000)}: 1\n`, undefined],
    ['one word', `${'a'.repeat(1_000_000)}: 1\n`, undefined],
  ])('tells little of a lot, and soon: %s', (_, text, more) => {
    const start = performance.now()
    const lines = said(text)
    expect(performance.now() - start).toBeLessThan(10_000)
    expect(lines.length).toBeLessThanOrEqual(21)
    expect(lines.join('').length).toBeLessThan(20_000)
    if (more) expect(lines.at(-1)).toBe(`and ${more} more`)
    expect(lines[0]).toMatch(/^conf\.yaml:/)
  })

  test('tells all of it at once', () => {
    // In the order of the file.
    const told = said('proxy:\n  threads: 0\n  maxQueue: 0\nserver:\n  graceMs: -1\nx: 1\n')
    expect(told.map((line) => /^conf\.yaml:(\d)/.exec(line)?.[1])).toEqual(['2', '3', '5', '6'])
  })

  test('that is a bomb, too large or not there is refused', () => {
    const bomb = `a: &a [x,x,x,x,x,x,x,x,x]\n${'bcdefgh'
      .split('')
      .map((name, at) => `${name}: &${name} [${`*${'abcdefg'[at]},`.repeat(9)}]\n`)
      .join('')}`
    expect(said(bomb)[0]).toMatch(/^conf\.yaml: .*alias/)
    expect(said('#'.repeat(1024 * 1024 + 1))[0]).toBe('conf.yaml: a configuration has at most 1048576 bytes')
    expect(() => readConfig('/nothing/here.yaml')).toThrow(
      /^\/nothing\/here\.yaml: the configuration cannot be read: ENOENT/,
    )
  })
})

describe('the environment', () => {
  test('has a variable for each option that fits a line', () => {
    const names = [...variables().keys()]
    expect(names).toContain('MILLRACE_SERVER_GRACE_MS')
    expect(names).toContain('MILLRACE_PROXY_FORWARDING_TRUSTED_PROXIES')
    expect(new Set(names).size).toBe(names.length)
  })

  test('has processors as numbers, or spread', () => {
    expect(fromEnvironment({ MILLRACE_PROXY_CPUS: '0,1' }).proxy).toEqual({ cpus: [0, 1] })
    expect(fromEnvironment({ MILLRACE_PROXY_CPUS: 'spread' }).proxy).toEqual({ cpus: 'spread' })
    expect(() => fromEnvironment({ MILLRACE_PROXY_CPUS: 'all' })).toThrow(
      'MILLRACE_PROXY_CPUS: proxy.cpus: found "all"',
    )
  })

  test('is read as what the option is', () => {
    const config = fromEnvironment({
      MILLRACE_SERVER_GRACE_MS: '100',
      MILLRACE_PROXY_H2C: 'false',
      MILLRACE_PROXY_FORWARDING_VIA: 'true',
      MILLRACE_PROXY_FORWARDING_TRUSTED_PROXIES: 'loopback, 10.0.0.0/8',
      MILLRACE_PROXY_UPGRADES: '',
      MILLRACE_BINARY: '/x',
      MILLRACE_OTHER: 'y',
    })
    expect(config).toEqual({
      server: { graceMs: 100 },
      proxy: {
        h2c: false,
        upgrades: [],
        forwarding: { via: true, trustedProxies: ['loopback', '10.0.0.0/8'] },
      },
    })
    expect(fromEnvironment({ MILLRACE_PROXY_FORWARDING_VIA: 'gw' }).proxy).toEqual({
      forwarding: { via: 'gw' },
    })
  })

  test.each([
    ['MILLRACE_PROXY_THREADS', 'two', 'proxy.threads: found "two", allowed: an integer from 1 to 1024'],
    ['MILLRACE_PROXY_THREADS', '', 'proxy.threads: found "", allowed: an integer'],
    ['MILLRACE_PROXY_H2C', 'yes', 'proxy.h2c: found "yes", allowed: true or false'],
    ['MILLRACE_PROXY_THREAD', '2', 'there is no such option; did you mean MILLRACE_PROXY_THREADS?'],
    ['MILLRACE_SERVER_GRACEMS', '2', 'there is no such option; did you mean MILLRACE_SERVER_GRACE_MS?'],
    ['MILLRACE_SERVER_LOGGER', 'false', 'there is no such option'],
    ['MILLRACE_LISTEN', 'localhost', 'listen[0]: found "localhost", allowed: an IP address and a port'],
  ])('%s=%s is told by its name', (name, value, what) => {
    expect(() => fromEnvironment({ [name]: value })).toThrow(`${name}: ${what}`)
  })
})

describe('the schema', () => {
  test('is the file in the package', () => {
    // `npm run build` writes it.
    expect(JSON.parse(readFileSync('config.schema.json', 'utf8'))).toEqual(
      JSON.parse(JSON.stringify(configSchema())),
    )
  })

  test('refuses what a user would write by mistake, and nothing that is right', () => {
    const listen = configSchema().definitions!.listen!.items!.anyOf!
    const [text, tcp, unix] = [listen[0], ...listen.slice(1).map(({ properties }) => properties!.address)]
    const fits = (schema: Schema | undefined, given: string) => new RegExp(schema!.pattern!).test(given)
    const rights = ['127.0.0.1:80', '[::1]:0', '[fe80::1%1]:443', 'unix:/run/a.sock', 'unix:@name']
    const wrongs = [
      'localhost:80',
      ':80',
      '80',
      '127.0.0.1',
      '::1:80',
      '[fe80::1%lo]:443',
      'x',
      '',
      'unix:a',
      'unix:',
      'http://a:1',
    ]
    expect(rights.map((one) => [fits(text, one), fits(tcp, one), fits(unix, one)])).toEqual([
      [true, true, false],
      [true, true, false],
      [true, true, false],
      [true, false, true],
      [true, false, true],
    ])
    for (const one of wrongs) expect([fits(text, one), fits(tcp, one), fits(unix, one)]).not.toContain(true)
    expect(listen[1]!.properties!.tls!.anyOf![1]!.dependencies).toEqual({ cert: ['key'], key: ['cert'] })
    const { server, proxy } = configSchema().properties!
    expect(fits(server!.properties!.upgradeSocket, '')).toBe(false)
    expect(proxy!.properties!.cpus!.anyOf![1]!.minItems).toBe(1)
    expect(proxy!.properties!.jsBlockedTimeoutMs!.default).toBe(10_000)
  })

  test('has the options of each kind of service', () => {
    const kinds = (configSchema().properties!.services!.additionalProperties as Schema).anyOf!
    expect(kinds.map(({ title }) => title)).toEqual([
      'HttpProxy',
      'HttpApp',
      'TcpProxy',
      'TcpApp',
      'DemoOrigin',
      'BackgroundService',
    ])
    const having = (option: string) =>
      kinds.filter(({ properties }) => option in properties!).map(({ title }) => title)
    expect(having('maxRetries')).toEqual(['HttpProxy'])
    expect(having('sourceTimeoutMs')).toEqual(['HttpApp'])
    expect(having('idleTimeoutMs')).toEqual(['TcpProxy', 'TcpApp'])
    expect(having('listen')).not.toContain('BackgroundService')
    expect(having('name')).toEqual([])
  })

  test('has each option that is not a function, and says what is allowed', () => {
    const { server, proxy } = configSchema().properties!
    const lacks = (schema: Schema, rules: object) =>
      Object.keys(rules).filter((name) => !(name in schema.properties!))
    expect(lacks(server!, serverRules)).toEqual(['logger', 'onLog'])
    expect(lacks(proxy!, proxyRules)).toEqual([
      'name',
      'routes',
      'requestHeaders',
      'responseHeaders',
      'redirect',
      'rewrite',
      'respond',
    ])
    const walk = (schema: Schema, path: string): void => {
      expect(schema.description ?? schema.properties ?? schema.type ?? schema.$ref, path).toBeDefined()
      for (const [name, one] of Object.entries(schema.properties ?? {})) walk(one, `${path}.${name}`)
    }
    walk(configSchema(), '')
    for (const one of Object.values(configSchema().definitions!)) walk(one, '')
  })
})

test('options are merged in groups, and never into what was given', () => {
  const given = { a: 1, group: { b: 2, list: [1, 2] } }
  expect(merged(given, { group: { list: [3], c: 4 }, d: 5 })).toEqual({
    a: 1,
    group: { b: 2, list: [3], c: 4 },
    d: 5,
  })
  expect(given).toEqual({ a: 1, group: { b: 2, list: [1, 2] } })
  expect(merged(given, JSON.parse('{ "__proto__": { "polluted": 1 } }'))).not.toHaveProperty('polluted')
})

test.each([
  ['app', (options: object) => new HttpApp(() => 200, options)],
  ['tcp-app', (options: object) => new TcpApp(() => {}, options)],
  ['tcp-proxy', (options: object) => new TcpProxy('127.0.0.1:1', options)],
  ['demo-origin', (options: object) => new DemoOrigin(options)],
  ['clock', (options: object) => new BackgroundService('clock', () => {}, options)],
])('a %s takes what is said of it by name, and nothing that is said of proxies', (name, make) => {
  onTestFinished(() => setOverrides(undefined))
  const said = (options: object): Said => ({
    options,
    tell: ({ path }) => `told ${path}`,
    place: (path) => path,
  })
  const nothing = { isCheck: false, server: [], proxy: [], services: {}, last: [] }
  const refused = (overrides: Partial<Overrides>, given: object = {}) => {
    setOverrides({ ...nothing, ...overrides })
    try {
      make(given)
      return []
    } catch (error) {
      const told = refusalOf(error)
      expect(told?.rest).toBe(undefined)
      return told!.told('m.mjs')
    }
  }
  expect(refused({ last: [said({ threads: 0 })], proxy: [said({ threads: 0 })] })).toEqual([])
  const option = name === 'clock' ? 'readyTimeoutMs' : 'maxConnections'
  const services = { [name]: said({ [option]: -1, tries: 5 }), other: said({ [option]: -2 }) }
  expect(refused({ services })).toEqual(['told tries', `told ${option}`])
  if (name !== 'clock') expect(refused({ services }, { name: 'other' })).toEqual([`told ${option}`])
})
