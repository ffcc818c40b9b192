// Whose options a configuration says, and how what is refused of them is told: with who said it.
import { describe, expect, test, vi } from 'vitest'
import { fromEnvironment } from '../ts/cli/config/environment.js'
import { ANSWERING, Folder } from './support/cli.js'

vi.setConfig({ testTimeout: 30_000 })

/** A proxy, an app and others, which print the threads that they get. */
const SEVERAL = `import { BackgroundService, DemoOrigin, HttpApp, HttpPeer, HttpProxy, Server, TcpApp, TcpProxy } from 'millrace'
const server = new Server()
const front = new HttpProxy({ upstreamPeer: new HttpPeer('http://127.0.0.1:1') }, { name: 'front', threads: 1 })
server.addService(front).addTcp('127.0.0.1:0')
server.addService(new HttpApp(() => 200, { name: 'admin', threads: 1 })).addTcp('127.0.0.1:0')
server.addService(new TcpProxy('127.0.0.1:1', { threads: 1 })).addTcp('127.0.0.1:0')
server.addService(new TcpApp(() => {}, { threads: 1 })).addTcp('127.0.0.1:0')
server.addService(new DemoOrigin()).addTcp('127.0.0.1:0')
server.addService(new BackgroundService('clock', ({ ready }) => ready()))
console.log('front has', front.native.threads)
export default server
`
const APP = `import { HttpApp, Server } from 'millrace'
const server = new Server()
server.addService(new HttpApp(() => 200)).addTcp('127.0.0.1:0')
export default server
`

/** What `--test` says of a module and a configuration, or of variables and flags. */
async function checked(
  module: string,
  { conf, env, flags = [] }: { conf?: string; env?: Record<string, string>; flags?: string[] },
) {
  const folder = new Folder({ 'm.mjs': module, ...(conf === undefined ? {} : { 'conf.yaml': conf }) })
  const config = conf === undefined ? [] : ['--config', 'conf.yaml']
  return folder.run(['run', 'm.mjs', '--test', ...config, ...flags], env)
}

describe('options of proxies', () => {
  test.each([
    ['a file', { conf: 'proxy: { threads: 2 }\n' }],
    ['a variable', { env: { MILLRACE_PROXY_THREADS: '2' } }],
    ['a flag', { flags: ['--threads', '2'] }],
  ])('said by %s are those of every HttpProxy, and of no other service', async (_, by) => {
    // Each other service would refuse one that it does not have.
    const rest = { MILLRACE_PROXY_MAX_RETRIES: '1', ...('env' in by ? by.env : {}) }
    const { code, out, err } = await checked(SEVERAL, { ...by, env: rest })
    expect([code, err]).toEqual([0, ''])
    expect(out).toContain('front has 2')
  })

  test.each([
    [{ conf: '\nproxy: { threads: 2 }\n' }, 1, 'conf.yaml:2:8: proxy'],
    [{ env: { MILLRACE_PROXY_HTTP2_MAX_RESETS: '2' } }, 1, 'MILLRACE_PROXY_HTTP2_MAX_RESETS'],
    [{ flags: ['--threads', '2'] }, 2, '--threads'],
  ])('where there is none they are refused: %j', async (by, rc, who) => {
    const { code, err } = await checked(APP, by)
    expect([code, err.split('\n')[0]]).toEqual([
      rc,
      `millrace: ${who}: m.mjs has no HttpProxy; options of another service are said in a configuration file, as services.NAME`,
    ])
  })

  test('an empty group says nothing', async () => {
    expect(await checked(APP, { conf: 'proxy: { http2: {} }\n' })).toMatchObject({ code: 0 })
  })
})

describe('options of a service', () => {
  test('are those of its kind', async () => {
    const conf = `services:
  front: { threads: 3, maxRetries: 2, forwarding: { via: true } }
  admin: { threads: 3, sourceTimeoutMs: 5, trustedProxies: [loopback], trustedField: forwarded }
  tcp-proxy: { idleTimeoutMs: 5 }
  tcp-app: { idleTimeoutMs: 5, halfClose: true, maxQueued: 5 }
  demo-origin: { threads: 2, pauseMs: 1 }
  clock: { readyTimeoutMs: 5, onFailure: restart }
`
    const { code, out, err } = await checked(SEVERAL, { conf })
    expect([code, err]).toEqual([0, ''])
    expect(out).toContain('front has 3')
  })

  test.each([
    ['admin', 'maxRetries', '2', 'no such option; '],
    ['front', 'sourceTimeoutMs', '2', 'no such option; '],
    ['tcp-proxy', 'halfClose', 'true', 'no such option; '],
    ['demo-origin', 'idleTimeoutMs', '2', 'no such option; '],
    ['clock', 'threads', '2', 'no such option; '],
    ['clock', 'maxRestartDelayMs', '5', 'at least restartDelayMs, 1000'],
    ['front', 'jsThreads', '2', 'nothing with phases that are given as an object'],
  ])('%s: one that it cannot have is told with its place: %s', async (name, option, value, allowed) => {
    const conf = `services:\n  ${name}:\n    ${option}: ${value}\n`
    const { code, err } = await checked(SEVERAL, { conf })
    const start = `millrace: conf.yaml:3:${option.length + 7}: services.${name}.${option}: found ${value}, allowed: ${allowed}`
    expect([code, err.slice(0, start.length)]).toEqual([1, start])
    expect(err.trim().split('\n')).toHaveLength(1)
  })

  describe('that are wrong beside another', () => {
    const clock = (options: object) => `import { BackgroundService, Server } from 'millrace'
const server = new Server()
const options = ${JSON.stringify(options)}
server.addService(new BackgroundService('clock', ({ ready }) => ready(), options))
export default server
`
    const said = async (module: string, given: Parameters<typeof checked>[1]) => {
      const { code, err } = await checked(module, given)
      return { code, lines: err.trim().split('\n') }
    }

    test('of the module are told with both places', async () => {
      const conf = 'services:\n  clock: { restartDelayMs: 9000 }\n'
      expect(await said(clock({ maxRestartDelayMs: 5000 }), { conf })).toEqual({
        code: 1,
        lines: [
          'millrace: conf.yaml:2:28: services.clock.restartDelayMs: found 9000, allowed: what goes with maxRestartDelayMs, which is 5000 in m.mjs:4:19; that may be at least restartDelayMs, 9000',
        ],
      })
      const proxy = `import { HttpProxy } from 'millrace'
export default new HttpProxy({}, {
  encodedSlashes: 'keep',
  routes: [{ match: { path: '/a%2Fb' }, respond: 200 }],
})
`
      const flags = ['--listen', '127.0.0.1:0']
      expect(await checked(proxy, { flags })).toMatchObject({ code: 0 })
      const start =
        'what goes with routes[0].match.path, which is "/a%2Fb" in m.mjs:2:16; that may be a path without'
      const refused = await said(proxy, { flags, conf: 'proxy: { encodedSlashes: refuse }\n' })
      expect(refused.lines[0]).toContain(
        `conf.yaml:1:26: proxy.encodedSlashes: found "refuse", allowed: ${start}`,
      )
      const byVariable = await said(proxy, { flags, env: { MILLRACE_PROXY_ENCODED_SLASHES: 'refuse' } })
      expect(byVariable.lines[0]).toContain(
        `MILLRACE_PROXY_ENCODED_SLASHES: proxy.encodedSlashes: found "refuse", allowed: ${start}`,
      )
    })

    test('of the module are the other way round, too', async () => {
      const conf = 'services:\n  clock: { maxRestartDelayMs: 5000 }\n'
      expect(await said(clock({ restartDelayMs: 9000 }), { conf })).toEqual({
        code: 1,
        lines: [
          'millrace: conf.yaml:2:31: services.clock.maxRestartDelayMs: found 5000, allowed: at least restartDelayMs, 9000; restartDelayMs in m.mjs:4:19 is 9000',
        ],
      })
    })

    test('of the same are told as any', async () => {
      const both = { restartDelayMs: 9000, maxRestartDelayMs: 5000 }
      const conf = `services:\n  clock: ${JSON.stringify(both)}\n`
      expect(await said(clock({}), { conf })).toEqual({
        code: 1,
        lines: [
          expect.stringMatching(
            /^millrace: conf\.yaml:2:\d+: services\.clock\.maxRestartDelayMs: found 5000, allowed: at least restartDelayMs, 9000$/,
          ),
        ],
      })
      expect(await said(clock(both), {})).toEqual({
        code: 1,
        lines: [
          expect.stringMatching(/^millrace: m\.mjs:4:19: invalid options of BackgroundService:/),
          expect.stringContaining('maxRestartDelayMs: found 5000, allowed: at least restartDelayMs, 9000'),
        ],
      })
    })
  })

  test('none has is told before the module is loaded', async () => {
    const { code, err } = await checked('throw new Error("loaded")', {
      conf: 'services: { a: { tires: 2 } }\n',
    })
    expect([code, err]).toEqual([1, expect.stringContaining('conf.yaml:1:25: services.a.tires: found 2')])
    expect(err).not.toContain('loaded')
  })

  test('that has the name of another are refused', async () => {
    const two = `${APP}server.addService(new HttpApp(() => 200)).addTcp('127.0.0.1:0')\n`
    const { code, err } = await checked(two, { conf: 'services: { app: { threads: 2 } }\n' })
    expect([code, err]).toEqual([
      1,
      'millrace: conf.yaml:1:18: services.app: m.mjs has 2 services of this name: give each its own, as the option name\n',
    ])
    expect(await checked(two, {})).toMatchObject({ code: 0 })
  })

  test('in the background are no addresses', async () => {
    const { code, err } = await checked(SEVERAL, {
      conf: 'services: { clock: { listen: ["127.0.0.1:0"] } }\n',
    })
    expect([code, err]).toEqual([1, expect.stringContaining('conf.yaml:1:30: services.clock.listen: found')])
  })
})

describe('what a constructor refuses is told with who said it', () => {
  test.each([
    [
      { env: { MILLRACE_PROXY_JS_THREADS: '2' } },
      'MILLRACE_PROXY_JS_THREADS: proxy.jsThreads: found 2, allowed: nothing',
    ],
    [{ conf: 'proxy:\n  jsThreads: 2\n' }, 'conf.yaml:2:14: proxy.jsThreads: found 2, allowed: nothing'],
    [
      { env: { MILLRACE_SERVER_UPGRADE: 'true' } },
      'MILLRACE_SERVER_UPGRADE: server.upgrade: found true, allowed: true together',
    ],
    [
      { conf: 'server: { upgrade: true }\n' },
      'conf.yaml:1:20: server.upgrade: found true, allowed: true together',
    ],
    [{ flags: ['--upgrade'] }, '--upgrade: found true, allowed: true together with upgradeSocket'],
  ])('%j', async (by, said) => {
    const { code, err } = await checked(SEVERAL, by)
    expect([code, err.slice(0, said.length + 10)]).toEqual([1, `millrace: ${said}`])
    expect(err.trim().split('\n')).toHaveLength(1)
  })

  test("a flag before a variable before a file; and what the module says as the module's", async () => {
    const { code, err } = await checked(
      SEVERAL.replace("name: 'front',", "name: 'front', maxHeaders: 0, jsBlockedTimeoutMs: 5,"),
      {
        conf: 'proxy: { jsThreads: 2 }\n',
        env: { MILLRACE_PROXY_JS_BLOCKED_TIMEOUT_MS: '6' },
      },
    )
    expect(code).toBe(1)
    const [first, second, third, fourth] = err.split('\n')
    expect([first, second].toSorted()).toEqual([
      expect.stringMatching(
        /^millrace: MILLRACE_PROXY_JS_BLOCKED_TIMEOUT_MS: proxy\.jsBlockedTimeoutMs: found 6/,
      ),
      expect.stringMatching(/^millrace: conf\.yaml:1:21: proxy\.jsThreads: found 2/),
    ])
    expect(third).toMatch(/^millrace: m\.mjs:3:15: invalid options of HttpProxy:$/)
    expect(fourth).toMatch(/^millrace: {3}maxHeaders: found 0/)
  })
})

describe('how it is said', () => {
  test.each([
    ['--config', 'a.yaml', 'b.yaml'],
    ['--threads', '2', '3'],
  ])('%s twice is wrong usage', async (flag, one, other) => {
    const { code, err } = await new Folder({ 'm.mjs': ANSWERING }).run([
      'run',
      'm.mjs',
      flag,
      one,
      flag,
      other,
    ])
    expect([code, err.split('\n')[0]]).toEqual([2, `millrace: ${flag}: once, and not also '${other}'`])
  })

  test('a configuration that does not end is not read to its end', async () => {
    const { code, err } = await new Folder({ 'm.mjs': ANSWERING }).run([
      'run',
      'm.mjs',
      '--test',
      '--config',
      '/dev/zero',
    ])
    expect([code, err]).toEqual([1, 'millrace: /dev/zero: a configuration has at most 1048576 bytes\n'])
  })

  test('a folder is no configuration', async () => {
    const { code, err } = await new Folder({ 'm.mjs': ANSWERING }).run([
      'run',
      'm.mjs',
      '--test',
      '--config',
      '.',
    ])
    expect([code, err]).toEqual([
      1,
      expect.stringMatching(/^millrace: \.: the configuration cannot be read: EISDIR/),
    ])
  })

  test('what Kubernetes says of services is none of it', () => {
    const ofService = (service: string, port: number) => ({
      [`${service}_SERVICE_HOST`]: '10.0.0.1',
      [`${service}_SERVICE_PORT`]: `${port}`,
      [`${service}_SERVICE_PORT_HTTP`]: `${port}`,
      [`${service}_PORT`]: `tcp://10.0.0.1:${port}`,
      [`${service}_PORT_${port}_TCP`]: `tcp://10.0.0.1:${port}`,
      [`${service}_PORT_${port}_TCP_PROTO`]: 'tcp',
      [`${service}_PORT_${port}_TCP_PORT`]: `${port}`,
      [`${service}_PORT_${port}_TCP_ADDR`]: '10.0.0.1',
    })
    const env = {
      ...ofService('MILLRACE_PROXY', 80),
      ...ofService('MILLRACE_SERVER_EU', 443),
      MILLRACE_PROXY_THREADS: '2',
    }
    expect(fromEnvironment(env)).toEqual({ proxy: { threads: 2 } })
    expect(() => fromEnvironment({ ...env, MILLRACE_PROXY_PROT: '1' })).toThrow(
      /^MILLRACE_PROXY_PROT: there is no such option/,
    )
    expect(() => fromEnvironment({ MILLRACE_PROXY_PORT: '80' })).toThrow(
      'MILLRACE_PROXY_PORT: there is no such',
    )
  })
})
