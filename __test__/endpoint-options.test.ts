// What is wrong with endpoints and with lists of options is refused when it is said, before anything binds, and is
// told by its place.
import { join } from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import { DemoOrigin, HttpPeer, HttpProxy, Server, TcpPeer } from '../ts/index.js'
import { Folder } from './support/cli.js'
import { problems, wrongPaths } from './support/refusals.js'

vi.setConfig({ testTimeout: 30_000 })

const peer = new HttpPeer('127.0.0.1:1')
const proxyOf = (options: object = {}) => new HttpProxy({ upstreamPeer: peer }, options)
const PEM = { cert: '__test__/certs/localhost.pem', key: '__test__/certs/localhost.key' }
/** As long as the address of a Unix socket may be on Linux, and longer by one. */
const [longest, tooLong] = [`/${'x'.repeat(106)}`, `/${'x'.repeat(107)}`]

describe('ipv6Only', () => {
  test.each([true, false])('%s is for addresses of IPv6', (ipv6Only) => {
    const allowed = 'nothing for an address of IPv4'
    expect(problems(() => proxyOf().addTcp('127.0.0.1:0', { ipv6Only }))).toEqual([
      { path: 'ipv6Only', found: ipv6Only, allowed },
    ])
    expect(wrongPaths(() => proxyOf().addTls('127.0.0.1:0', PEM, { ipv6Only }))).toContain('options.ipv6Only')
    expect(wrongPaths(() => proxyOf().addTcp('[::1]:0', { ipv6Only }))).toEqual([])
    expect(wrongPaths(() => proxyOf().addTcp('127.0.0.1:0', { ipv6Only: undefined } as object))).toEqual([])
  })

  test.skipIf(process.platform === 'win32')('is not for Unix sockets', () => {
    expect(wrongPaths(() => proxyOf().addUnix('/tmp/a', { ipv6Only: true } as object))).toEqual(['ipv6Only'])
  })
})

describe.skipIf(process.platform !== 'linux')('the path of a Unix socket', () => {
  test('is no longer than its address can be', async () => {
    for (const [path, what] of [
      [tooLong, 'path'],
      [`/${'ü'.repeat(54)}`, 'path'],
      [`@${'x'.repeat(108)}`, 'name'],
    ] as const)
      expect(problems(() => proxyOf().addUnix(path))).toEqual([
        {
          path: 'path',
          found: path,
          allowed: `a ${what} of at most 107 bytes, as the address of a Unix socket`,
        },
      ])
    for (const path of [longest, `@${'x'.repeat(107)}`])
      expect(wrongPaths(() => proxyOf().addUnix(path))).toEqual([])
    const server = new Server()
    server.addService(proxyOf()).addUnix(`@${'x'.repeat(107)}`)
    await server.start()
    await server.close({ graceMs: 0 })
  })

  test('of a peer, or of a proxy on the way, too', () => {
    expect(wrongPaths(() => new HttpPeer(`unix:${tooLong}`))).toEqual(['address'])
    expect(wrongPaths(() => new TcpPeer(`unix:${tooLong}`))).toEqual(['address'])
    expect(wrongPaths(() => new HttpPeer('a:1', { connectProxy: { address: `unix:${tooLong}` } }))).toEqual([
      'connectProxy.address',
    ])
    expect(wrongPaths(() => new HttpPeer(`unix:${longest}`))).toEqual([])
  })

  test('is absolute, which is said wherever one is taken', () => {
    const refused = (make: () => unknown) => problems(make).map(({ path, allowed }) => `${path}: ${allowed}`)
    for (const path of ['rel.sock', './rel.sock', '', '/']) {
      const address = `unix:${path}`
      const allowed = 'unix: and an absolute path'
      expect(refused(() => new HttpPeer(address))).toEqual([`address: ${allowed}`])
      expect(refused(() => new TcpPeer(address))).toEqual([`address: ${allowed}`])
      expect(refused(() => new HttpPeer('a:1', { connectProxy: { address } }))).toEqual([
        `connectProxy.address: ${allowed}`,
      ])
      expect(refused(() => proxyOf().addUnix(path))).toEqual(['path: an absolute path, or on Linux @name'])
      const socket = /^upgradeSocket: an absolute path of at most 103 bytes$/
      if (path !== '/') expect(refused(() => new Server({ upgradeSocket: path })).join()).toMatch(socket)
    }
    expect(refused(() => new HttpPeer('unix:/a\nb'))).toEqual([
      'address: unix: and an absolute path, without NUL or a line break',
    ])
    expect(refused(() => new TcpPeer('unix:@name'))).toEqual(['address: unix: and an absolute path'])
    expect(refused(() => new TcpPeer('tls://a'))[0]).toMatch(/^address: tcp:\/\/host:port, /)
  })
})

describe('a list of options', () => {
  test('names the one that is wrong', () => {
    const cpus = (cpus: unknown) => problems(() => proxyOf({ cpus }))
    if (process.platform === 'linux') {
      expect(cpus([0, 1024, -1])).toMatchObject([
        { path: 'cpus[1]', found: 1024, allowed: 'an integer from 0 to 1023' },
        { path: 'cpus[2]', found: -1 },
      ])
      expect(cpus([])).toMatchObject([{ path: 'cpus' }])
    }
    const dependsOn = [new DemoOrigin(), 'origin', {}]
    expect(problems(() => new Server().addService(proxyOf(), { dependsOn } as object))).toEqual([
      { path: 'dependsOn[1]', found: 'origin', allowed: 'a service' },
      { path: 'dependsOn[2]', found: {}, allowed: 'a service' },
    ])
    expect(problems(() => proxyOf({ upgrades: ['websocket', 5] }))).toMatchObject([{ path: 'upgrades[1]' }])
    expect(
      wrongPaths(() =>
        proxyOf({
          requestHeaders: { set: { a: ['b', 'c\n'] }, append: { d: 'e\n' }, remove: ['f', 'g g', 5] },
        }),
      ),
    ).toEqual([
      'requestHeaders.set.a[1]',
      'requestHeaders.append.d',
      'requestHeaders.remove[1]',
      'requestHeaders.remove[2]',
    ])
    const match = { header: { a: ['b', 'c\n'], d: [], e: 5 }, host: ['a.example', 5], path: ['/', 'a'] }
    expect(wrongPaths(() => proxyOf({ routes: [{ match }] }))).toEqual([
      'routes[0].match.host[1]',
      'routes[0].match.header.a[1]',
      'routes[0].match.header.d',
      'routes[0].match.header.e',
      'routes[0].match.path[1]',
    ])
  })
})

describe('an address', () => {
  const allowed = 'an address that no other endpoint of the server has, unless both have reusePort'

  test('is for one endpoint of a service', () => {
    const proxy = proxyOf()
    proxy.addTcp('127.0.0.1:8080')
    expect(problems(() => proxy.addTcp('127.0.0.1:8080'))).toEqual([
      { path: 'address', found: '127.0.0.1:8080', allowed },
    ])
    expect(wrongPaths(() => proxy.addTls('127.0.0.1:8080', PEM))).toEqual(['address'])
    expect(proxy.endpoints).toHaveLength(1)
    proxy.addTcp('127.0.0.2:8080')
    proxy.addTcp('[::1]:8080')
    expect(wrongPaths(() => proxy.addTcp('[0:0::1]:8080'))).toEqual(['address'])
  })

  test('is free again when its endpoint is closed, and port 0 always is', async () => {
    const proxy = proxyOf()
    await proxy.addTcp('127.0.0.1:8080').close()
    proxy.addTcp('127.0.0.1:8080')
    for (const _ of [1, 2]) proxy.addTcp('127.0.0.1:0')
    expect(proxy.endpoints).toHaveLength(3)
  })

  test.skipIf(process.platform !== 'linux')('may be for several where all have reusePort', () => {
    const proxy = proxyOf()
    for (const _ of [1, 2]) proxy.addTcp('127.0.0.1:8080', { reusePort: true })
    expect(wrongPaths(() => proxy.addTcp('127.0.0.1:8080'))).toEqual(['address'])
  })

  test.skipIf(process.platform === 'win32')('of a Unix socket is for one too', () => {
    const proxy = proxyOf()
    proxy.addUnix('/tmp/a.sock')
    expect(problems(() => proxy.addUnix('/tmp//a.sock'))).toMatchObject([
      { path: 'path', allowed: 'a path that no other endpoint of the server has' },
    ])
  })

  test('is for one service of a server, whichever is told first', () => {
    const server = new Server()
    const first = server.addService(proxyOf())
    first.addTcp('127.0.0.1:8080')
    const second = proxyOf({ name: 'second' })
    second.addTcp('127.0.0.1:8080')
    expect(problems(() => server.addService(second))).toEqual([
      { path: 'service.endpoints[0]', found: '127.0.0.1:8080', allowed },
    ])
    const third = server.addService(proxyOf({ name: 'third' }))
    expect(wrongPaths(() => third.addTcp('127.0.0.1:8080'))).toEqual(['address'])
    // It was not taken.
    new Server().addService(second)
  })
})

describe('the command', () => {
  const GATEWAY = `import { HttpPeer, HttpProxy, Server } from 'millrace'
const server = new Server()
for (const name of ['a', 'b'])
  server.addService(new HttpProxy({ upstreamPeer: new HttpPeer('http://127.0.0.1:1') }, { name })).addTcp(name === 'a' ? '127.0.0.1:1111' : '127.0.0.1:2222')
export default server
`
  const ONE = `import { HttpPeer } from 'millrace'\nexport default { upstreamPeer: new HttpPeer('http://127.0.0.1:1') }\n`
  const said = async (files: Record<string, string>, ...args: string[]) => {
    const { code, err } = await new Folder(files).run(['run', 'gateway.js', '--test', ...args])
    return [code, err.replaceAll('millrace: ', '').trimEnd().split('\n')[0]]
  }
  const TWICE = 'allowed: an address that no other endpoint of the server has, unless both have reusePort'

  test('refuses an address that is given twice, by whoever gives it', async () => {
    const twice = ['--listen', '127.0.0.1:8080', '--listen', '127.0.0.1:8080']
    expect(await said({ 'gateway.js': ONE }, ...twice)).toEqual([
      2,
      `--listen: found "127.0.0.1:8080", ${TWICE}`,
    ])
    const file = (text: string, code = ONE) =>
      said({ 'gateway.js': code, 'conf.yaml': text }, '--config', 'conf.yaml')
    expect(await file('listen:\n  - 127.0.0.1:8080\n  - address: 127.0.0.1:8080\n')).toEqual([
      1,
      `conf.yaml:3:14: listen[1].address: found "127.0.0.1:8080", ${TWICE}`,
    ])
    expect(await file('listen: [127.0.0.1:8080, 127.0.0.1:8080]\n')).toEqual([
      1,
      `conf.yaml:1:26: listen[1]: found "127.0.0.1:8080", ${TWICE}`,
    ])
    const each = (a: string, b: string) => `services:\n  a: { listen: ['${a}'] }\n  b: { listen: ['${b}'] }\n`
    expect(await file(each('127.0.0.1:8080', '127.0.0.1:8080'), GATEWAY)).toEqual([
      1,
      `conf.yaml:3:17: services.b.listen[0]: found "127.0.0.1:8080", ${TWICE}`,
    ])
    // Each gets what the other has in the module.
    expect((await file(each('127.0.0.1:2222', '127.0.0.1:1111'), GATEWAY))[0]).toBe(0)
    const { err } = await new Folder({ 'gateway.js': ONE }).run(['run', 'gateway.js', '--test'], {
      MILLRACE_LISTEN: '127.0.0.1:80,127.0.0.1:80',
    })
    expect(err).toBe(`millrace: MILLRACE_LISTEN: found "127.0.0.1:80", ${TWICE}\n`)
  })

  test('tells of ipv6Only with its place', async () => {
    const text = 'listen:\n  - address: 127.0.0.1:8080\n    ipv6Only: true\n'
    expect(await said({ 'gateway.js': ONE, 'conf.yaml': text }, '--config', 'conf.yaml')).toEqual([
      1,
      'conf.yaml:3:15: listen[0].ipv6Only: found true, allowed: nothing for an address of IPv4',
    ])
  })

  test('tells of a path that is not absolute', async () => {
    const allowed = 'allowed: unix: and an absolute path, or on Linux @name'
    expect(await said({ 'gateway.js': ONE }, '--listen', 'unix:rel.sock')).toEqual([
      2,
      `--listen: found "unix:rel.sock", ${allowed}`,
    ])
    const files = { 'gateway.js': ONE, 'conf.yaml': 'listen:\n  - unix:rel.sock\n' }
    expect(await said(files, '--config', 'conf.yaml')).toEqual([
      1,
      `conf.yaml:2:5: listen[0]: found "unix:rel.sock", ${allowed}`,
    ])
  })

  test.skipIf(process.platform !== 'linux')('tells of a path that is too long', async () => {
    expect((await said({ 'gateway.js': ONE }, '--listen', `unix:${tooLong}`)).join()).toMatch(
      /^2,--listen: found "unix:\/x+….*, allowed: .*at most 107 bytes/,
    )
    const folder = new Folder({ 'gateway.js': ONE, 'conf.yaml': `listen:\n  - unix:${tooLong}\n` })
    const { code, err } = await folder.run([
      'run',
      'gateway.js',
      '--test',
      '--config',
      join(folder.path, 'conf.yaml'),
    ])
    expect([code, err]).toEqual([
      1,
      expect.stringMatching(/^millrace: \S+conf\.yaml:2:5: listen\[0\]: found .*at most 107 bytes/),
    ])
  })

  test.skipIf(process.platform !== 'linux')('tells which of a list is wrong, and where', async () => {
    const text = 'proxy:\n  cpus:\n    - 0\n    - 1024\n'
    expect(await said({ 'gateway.js': ONE, 'conf.yaml': text }, '--config', 'conf.yaml')).toEqual([
      1,
      'conf.yaml:4:7: proxy.cpus[1]: found 1024, allowed: an integer from 0 to 1023',
    ])
  })
})
