// Where it listens in place of what the module says, and what stays of that.
import { connect } from 'node:net'
import { resolve } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { describe, expect, test, vi } from 'vitest'
import { type Ended, Folder } from './support/cli.js'
import { ca, shake } from './support/tls.js'

vi.setConfig({ testTimeout: 30_000 })

const pem = (name: string) => JSON.stringify(resolve(`__test__/certs/${name}`))
const LOCALHOST = `{ cert: ${pem('localhost.pem')}, key: ${pem('localhost.key')} }`
const EXAMPLE = `{ cert: ${pem('example.pem')}, key: ${pem('example.key')} }`

/** A module with one app, and what more there is to be done with it. */
const module = (more: string) => `import { HttpApp, Server } from 'millrace'
const server = new Server({ graceMs: 100 })
const app = server.addService(new HttpApp(() => ({ status: 200, body: 'served' })))
${more}
export default server
`

const run = (code: string, args: string[], files: Record<string, string> = {}) =>
  new Folder({ 'm.mjs': code, ...files }).run(['run', 'm.mjs', '--test', ...args])

/** What is said of a module, in lines. */
const said = ({ code, err }: Ended) => [code, ...err.trim().split('\n')]

/** Starts it, with the URLs that it listens on. */
async function start(code: string, args: string[], files: Record<string, string> = {}, count = 1) {
  const started = new Folder({ 'm.mjs': code, ...files }).start(['run', 'm.mjs', ...args])
  return { started, urls: await started.urls(count) }
}

/** What a connection in the clear gets; nothing where it is closed at once. */
function rawAnswer(url: string): Promise<string> {
  const { hostname, port } = new URL(url)
  return new Promise((resolve) => {
    let text = ''
    const socket = connect(Number(port), hostname, () => socket.write('GET / HTTP/1.0\r\n\r\n'))
    socket.on('data', (data) => {
      text += data
    })
    socket.on('error', () => undefined)
    socket.on('close', () => resolve(text))
  })
}

/** For whom the certificate is that is shown. */
function shown(url: string, servername = 'localhost'): Promise<string> {
  const { hostname, port } = new URL(url)
  return new Promise((resolve, reject) => {
    const socket = connectTls({
      host: hostname,
      port: Number(port),
      ca,
      servername,
      checkServerIdentity: () => undefined,
    })
    socket.once('secureConnect', () => {
      resolve(String(socket.getPeerCertificate().subjectaltname))
      socket.destroy()
    })
    socket.once('error', reject)
  })
}

const TWO = ['--listen', '127.0.0.1:0', '--listen', '127.0.0.1:0']

describe('an endpoint that something else is said in place of', () => {
  test('is the object that the module has: its address, and to close it', async () => {
    const code = module(`const endpoint = app.addTcp('127.0.0.1:1')
      server.on('state', async (state) => {
        if (state !== 'running') return
        console.log('the module has', endpoint.url, endpoint === app.endpoints[0])
        await endpoint.close()
        console.log('closed', app.endpoints.length)
      })`)
    const started = new Folder({ 'm.mjs': code }).start(['run', 'm.mjs', '--listen', '127.0.0.1:0'])
    await vi.waitFor(() => expect(started.printed.out).toContain('closed 0'), 5_000)
    const [, url] = /^the module has (http:\S+) true$/m.exec(started.printed.out)!
    expect(await rawAnswer(url!)).toBe('')
  })

  test('of several each is one, in their order, and further ones say that they are none', async () => {
    const code = module(`const all = ['127.0.0.1:1', '127.0.0.1:2'].map((address) => app.addTcp(address))
      server.on('state', (state) => {
        if (state !== 'running') return
        for (const endpoint of all)
          try { console.log('has', endpoint.url) } catch ({ code, message }) { console.log('has', code, message) }
      })`)
    const both = await start(code, TWO, {}, 2)
    const hasBoth = `has ${both.urls[0]}\nhas ${both.urls[1]}\n`
    await vi.waitFor(() => expect(both.started.printed.out).toContain(hasBoth), 5_000)
    const one = await start(code, ['--listen', '127.0.0.1:0'])
    const has = `has ${one.urls[0]}\nhas NOT_STARTED 127.0.0.1:2 is not listened on, as a configuration says others in its place\n`
    await vi.waitFor(() => expect(one.started.printed.out).toContain(has), 5_000)
  })

  test.each([
    ['a flag', TWO, ''],
    ['a file', ['--config', 'c.yaml'], `listen: ['127.0.0.1:0', { address: '127.0.0.1:0', backlog: 5 }]\n`],
  ])(
    'keeps its TLS and its options where %s says an address, and renews its certificates',
    async (_, args, conf) => {
      const code =
        module(`const endpoint = app.addTls('127.0.0.1:1', ${LOCALHOST}, { connectionFilter: ({ client }) => client.host !== '127.0.0.9' })
      process.on('SIGHUP', () => {
        endpoint.updateCertificates(${EXAMPLE})
        console.log('renewed')
      })`)
      const { started, urls } = await start(code, args, { 'c.yaml': conf }, 2)
      for (const url of urls) {
        expect(url).toMatch(/^https:/)
        expect(await rawAnswer(url)).not.toContain('HTTP')
        expect(await shown(url)).toContain('localhost')
      }
      started.child.kill('SIGHUP')
      await vi.waitFor(() => expect(started.printed.out).toContain('renewed'), 5_000)
      for (const url of urls) expect(await shown(url, 'a.example')).toContain('example')
    },
  )

  test.each([
    ['lists', `{ deny: ['loopback'] }`, ''],
    ['a function', '() => false', ''],
    ['a function, beside the lists of a file', '() => false', 'connectionFilter: { deny: [10.0.0.0/8] }'],
    ['lists, beside those of a file', `{ deny: ['loopback'] }`, 'connectionFilter: { allow: [127.0.0.0/8] }'],
  ])('keeps its connectionFilter: %s', async (_, filter, more) => {
    const code = module(`app.addTcp('127.0.0.1:1', { connectionFilter: ${filter} })`)
    const conf = `listen:\n  - address: 127.0.0.1:0\n    ${more}\n`
    const args = more === '' ? ['--listen', '127.0.0.1:0'] : ['--config', 'c.yaml']
    const { urls } = await start(code, args, { 'c.yaml': conf })
    expect(await rawAnswer(urls[0]!)).toBe('')
  })

  test('keeps its PROXY protocol, and leaves what an address of another kind cannot have', async () => {
    const code = module(
      `app.addTcp('[::1]:1', { proxyProtocol: { from: ['loopback', 'unix'] }, ipv6Only: true, reusePort: ${process.platform === 'linux'} })`,
    )
    const { urls } = await start(code, ['--listen', '127.0.0.1:0'])
    expect(await rawAnswer(urls[0]!)).toBe('')
    if (process.platform !== 'win32')
      expect(await run(code, ['--listen', 'unix:/tmp/none.sock'])).toMatchObject({ code: 0, err: '' })
  })

  test('has TLS as a file says, over what it had', async () => {
    const code = module(`app.addTls('127.0.0.1:1', { ...${LOCALHOST}, h2: false })`)
    const conf = (tls: string) => ({ 'c.yaml': `listen:\n  - address: 127.0.0.1:0\n    tls: ${tls}\n` })
    const other = await start(code, ['--config', 'c.yaml'], conf(EXAMPLE))
    expect(await shown(other.urls[0]!, 'a.example')).toContain('example')
    // Certificates that it was given meanwhile stay too.
    const renewed = code.replace('false })', `false }).updateCertificates(${EXAMPLE})`)
    const kept = await start(renewed, ['--config', 'c.yaml'], conf('{ minVersion: TLSv1.3 }'))
    expect(await shown(kept.urls[0]!)).toContain('example')
    const same = await start(code, ['--config', 'c.yaml'], conf('{ minVersion: TLSv1.3, alpn: [h2] }'))
    const { port } = new URL(same.urls[0]!)
    const socket = await shake(
      { host: '127.0.0.1', port: Number(port) },
      { ALPNProtocols: ['h2', 'http/1.1'] },
    )
    expect([socket.alpnProtocol, socket.getProtocol()]).toEqual(['h2', 'TLSv1.3'])
    socket.destroy()
  })

  test('is what a file says of it: a flag or a variable keeps its TLS and who may connect', async () => {
    const conf = (more: string) => ({ 'c.yaml': `listen: [{ address: '127.0.0.1:0', ${more} }]` })
    const args = ['--config', 'c.yaml', '--listen', '127.0.0.1:0']
    const secure = await start(module(''), args, conf(`tls: ${LOCALHOST}`))
    expect(secure.urls[0]).toMatch(/^https:/)
    expect(await shown(secure.urls[0]!)).toContain('localhost')
    const closed = await start(module(''), args, conf("connectionFilter: { deny: ['loopback'] }"))
    expect(await rawAnswer(closed.urls[0]!)).toBe('')
    const lost = await run(module(''), ['--config', 'c.yaml', ...TWO, '--listen', '127.0.0.1:0'], {
      'c.yaml': `listen: [{ address: '127.0.0.1:0', tls: ${LOCALHOST} }, '127.0.0.1:0']`,
    })
    expect(said(lost)[0]).toBe(2)
  })

  test('has none where a file says false', async () => {
    const code = module(`const endpoint = app.addTls('127.0.0.1:1', ${LOCALHOST})
      server.on('state', (state) => {
        if (state !== 'running') return
        endpoint.updateCertificates(${EXAMPLE})
        console.log('renewed')
      })`)
    const conf = { 'c.yaml': 'listen: [{ address: "127.0.0.1:0", tls: false }]\n' }
    const { started, urls } = await start(code, ['--config', 'c.yaml'], conf)
    expect(await rawAnswer(urls[0]!)).toContain('served')
    await vi.waitFor(() => expect(started.printed.out).toContain('renewed'), 5_000)
  })
})

describe('what would be open without a word is refused', () => {
  const two = module(`app.addTcp('127.0.0.1:1')\napp.addTls('127.0.0.1:2', ${LOCALHOST})`)

  test('where there are not as many', async () => {
    expect(said(await run(two, ['--listen', '127.0.0.1:0']))).toEqual([
      2,
      'millrace: --listen: 1 in place of the 2 addresses that m.mjs says (127.0.0.1:1, 127.0.0.1:2): as these are not as many, tls of 127.0.0.1:2 would be lost, and what is new be open to everybody: say as many, in their order, or tls of each, as listen in a configuration file',
      'millrace: --help says what there is',
    ])
    expect(await run(two, TWO)).toMatchObject({ code: 0 })
    const conf = (text: string) => run(two, ['--config', 'c.yaml'], { 'c.yaml': `listen:\n  - ${text}\n` })
    expect(said(await conf('127.0.0.1:0'))).toEqual([
      1,
      expect.stringMatching(/^millrace: c\.yaml:2:3: 1 in place/),
    ])
    expect(said(await conf('address: 127.0.0.1:0'))).toEqual([
      1,
      expect.stringMatching(/tls of 127.0.0.1:2 would be lost/),
    ])
    expect(await conf('{ address: "127.0.0.1:0", tls: false }')).toMatchObject({ code: 0 })
    const filtered = module(
      `app.addTcp('127.0.0.1:1', { connectionFilter: () => true })\napp.addTcp('127.0.0.1:2')`,
    )
    expect(said(await run(filtered, ['--listen', '127.0.0.1:0']))[1]).toContain(
      'connectionFilter of 127.0.0.1:1 would be lost',
    )
    const same = module(
      `const tls = ${LOCALHOST}\nfor (const port of [1, 2]) app.addTls('127.0.0.1:' + port, tls)`,
    )
    const refusal = said(await run(same, ['--listen', '127.0.0.1:0']))[1]
    expect(refusal).toContain('tls of 127.0.0.1:1, 127.0.0.1:2 would be lost')
    expect(refusal).not.toContain('same')
    const plain = module(`app.addTcp('127.0.0.1:1', { backlog: 5 })\napp.addTcp('127.0.0.1:2')`)
    expect(await run(plain, ['--listen', '127.0.0.1:0'])).toMatchObject({ code: 0 })
  })

  test.skipIf(process.platform === 'win32')('a Unix socket in place of one with TLS', async () => {
    const code = module(`app.addTls('127.0.0.1:2', ${LOCALHOST})`)
    expect(said(await run(code, ['--listen', 'unix:/tmp/none.sock'])).slice(0, 2)).toEqual([
      2,
      'millrace: --listen: unix:/tmp/none.sock has no TLS, and 127.0.0.1:2 of m.mjs, in whose place it is, has: it would be open; tls: false in a configuration file says that it may be',
    ])
    const conf = { 'c.yaml': 'listen: [{ address: "unix:/tmp/none.sock", tls: false }]\n' }
    expect(await run(code, ['--config', 'c.yaml'], conf)).toMatchObject({ code: 0, err: '' })
  })
})

describe('listen', () => {
  const several = module(`const admin = server.addService(new HttpApp(() => 200, { name: 'admin' }))`)
  const conf = 'listen: ["127.0.0.2:0"]\nservices:\n  admin: { listen: ["127.0.0.3:0"] }\n'

  test('is for the service that the file says nothing of', async () => {
    const by = await run(several, ['--config', 'c.yaml'], { 'c.yaml': conf })
    expect(by).toMatchObject({ out: 'millrace: m.mjs: ok: app on 127.0.0.2:0; admin on 127.0.0.3:0\n' })
    const flag = await run(several, ['--config', 'c.yaml', '--listen', '127.0.0.4:0'], { 'c.yaml': conf })
    expect(flag).toMatchObject({ out: 'millrace: m.mjs: ok: app on 127.0.0.4:0; admin on 127.0.0.3:0\n' })
  })

  test('of which there is one', async () => {
    expect(said(await run(several, ['--listen', '127.0.0.1:0'])).slice(0, 2)).toEqual([
      2,
      'millrace: --listen: m.mjs has 2 services that listen (app, admin): say it of each, as services.NAME.listen in a configuration file',
    ])
    const all = { 'c.yaml': `${conf}  app: { listen: ["127.0.0.5:0"] }\n` }
    expect(said(await run(several, ['--config', 'c.yaml'], all))).toEqual([
      1,
      'millrace: c.yaml:1:9: m.mjs has no service without a services.NAME.listen of its own',
    ])
    const three = `${several}server.addService(new HttpApp(() => 200, { name: 'third' }))\n`
    expect(said(await run(three, ['--config', 'c.yaml'], { 'c.yaml': conf }))).toEqual([
      1,
      'millrace: c.yaml:1:9: m.mjs has 2 services without a services.NAME.listen (app, third): say it of each, as services.NAME.listen in a configuration file',
    ])
  })

  test('may have addresses change places', async () => {
    const code = module(`app.addTcp('127.0.0.2:1')
      server.addService(new HttpApp(() => 200, { name: 'admin' })).addTcp('127.0.0.2:2')`)
    const conf = 'services: { app: { listen: ["127.0.0.2:2"] }, admin: { listen: ["127.0.0.2:1"] } }\n'
    const { out } = await run(code, ['--config', 'c.yaml'], { 'c.yaml': conf })
    expect(out).toContain('app on 127.0.0.2:2; admin on 127.0.0.2:1')
  })
})
