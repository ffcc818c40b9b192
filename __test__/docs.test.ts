// What the documents say is what the code does.
import { spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { DemoOrigin, ERROR_CODES, PHASES, ProxyError, Server } from '../ts/index.js'
import { runExample } from './support/example.js'

const read = (file: string) => readFileSync(file, 'utf8')

/** The rows of the tables beneath a heading, each as its cells. */
function rows(file: string, heading: string): string[][] {
  const [, section] = read(file).split(new RegExp(`^## ${heading}$`, 'm'))
  const lines = section!.split(/^## /m)[0]!.split('\n')
  return lines
    .filter((line) => line.startsWith('| `'))
    .map((line) => line.split('|').slice(1, -1))
    .map((cells) => cells.map((cell) => cell.trim()))
}

const bare = (cell: string) => cell.replaceAll('`', '')

describe('docs/errors.md', () => {
  test('has each code of a request with its status and source, as crates/error and ts/ have them', () => {
    const documented = rows('docs/errors.md', 'Codes of a request').map(([code, status, source]) => [
      bare(code!),
      Number(status),
      source!,
    ])
    const rust = [...read('crates/error/src/code.rs').matchAll(/ = "(\w+)", (\d+), (\w+);/g)]
    expect(documented).toEqual(
      rust.map(([, code, status, source]) => [code, Number(status), source!.toLowerCase()]),
    )
    expect(documented.map(([code]) => code).sort()).toEqual([...ERROR_CODES].sort())
    for (const code of ERROR_CODES)
      expect([code, new ProxyError({ code }).status]).toEqual(
        documented.find(([name]) => name === code)!.slice(0, 2),
      )
  })

  test('has each code of a mistake', () => {
    const documented = rows('docs/errors.md', 'Codes of a mistake').map(([code]) => bare(code!))
    const [type] = /export type UsageCode =(.+?)\n\n/s.exec(read('ts/errors.ts'))!
    expect(documented).toEqual([...type!.matchAll(/\| '(\w+)'/g)].map(([, code]) => code))
  })
})

// Where each set of options is declared: its interface, and the rules that check it.
const OPTIONS = [
  ['Server', 'ts/server-options.ts', 'ServerOptions', 'serverRules'],
  ['Upgrade', 'ts/upgrade.ts', 'UpgradeOptions', 'upgradeRules'],
  ['HttpProxy', 'ts/proxy.ts', 'HttpProxyOptions', 'proxyRules'],
  ['Services that listen', 'ts/listening.ts', 'ListeningOptions', 'listeningRules'],
  ['HttpProxy and HttpApp', 'ts/downstream.ts', 'DownstreamOptions', 'downstreamRules'],
  ['HttpApp', 'ts/app/http-app.ts', 'HttpAppOptions', 'httpAppRules'],
  ['TcpProxy and TcpApp', 'ts/tcp/options.ts', 'TcpServiceOptions', 'tcpServiceRules'],
  ['TcpProxy', 'ts/tcp/tcp-proxy.ts', 'TcpProxyOptions', 'tcpProxyRules'],
  ['TcpApp', 'ts/tcp/tcp-app.ts', 'TcpAppOptions', 'tcpAppRules'],
  ['TcpPeer', 'ts/tcp/peer.ts', 'TcpPeerOptions', 'tcpPeerRules'],
  ['Connector', 'ts/connector.ts', 'ConnectorOptions', 'connectorRules'],
  ['addTcp', 'ts/socket-options.ts', 'SocketOptions', 'socketRules'],
  ['addUnix', 'ts/socket-options.ts', 'UnixSocketOptions', 'unixRules'],
  ['owner', 'ts/socket-options.ts', 'SocketOwner', 'ownerRules'],
  ['Admission', 'ts/admission.ts', 'AdmissionOptions', 'admissionRules'],
  ['connectionFilter', 'ts/admission.ts', 'ConnectionFilterOptions', 'filterRules'],
  ['http2', 'ts/http2.ts', 'Http2Options', 'http2Rules'],
  ['forwarding', 'ts/forwarding.ts', 'ForwardingOptions', 'forwardingRules'],
  ['Values', 'ts/routes/values.ts', 'RouteValues', 'valueRules'],
  ['routes', 'ts/routes/routes.ts', 'Route', 'routeRules'],
  ['match', 'ts/routes/match.ts', 'RequestMatch', 'matchRules'],
  ['addTls', 'ts/tls/options.ts', 'TlsOptions', 'tlsRules'],
  ['TLS of a peer', 'ts/tls/peer-tls.ts', 'PeerTlsOptions', 'peerTlsRules'],
  ['HttpPeer', 'ts/peer.ts', 'HttpPeerOptions', 'rules'],
  ['tcpKeepalive', 'ts/peer.ts', 'TcpKeepalive', 'keepaliveRules'],
  ['BackgroundService', 'ts/background.ts', 'BackgroundServiceOptions', 'rules'],
  ['DemoOrigin', 'ts/demo-origin.ts', 'DemoOriginOptions', 'rules'],
] as const

describe('docs/options.md', () => {
  test.each(OPTIONS)('has each option of %s with its default', (heading, file, type, rules) => {
    const source = read(file)
    const [, members] = new RegExp(`export interface ${type}(?: extends [\\w, ]+)? {(.+?)\\n}`, 's').exec(
      source,
    )!
    const declared = [...members!.matchAll(/\/\*\*((?:(?!\*\/).)+)\*\/\s+(\w+)\?:/gs)].map(
      ([, comment, name]) => [
        name!,
        bare(/Default: (.+)\.$/.exec(comment!.replace(/\s*\n\s*\*\s*/g, ' ').trim())![1]!),
      ],
    )
    const documented = rows('docs/options.md', heading).map(([name, , value]) => [bare(name!), bare(value!)])
    expect(documented).toEqual(declared)

    const [, checks] = new RegExp(`const ${rules} = {(.+?)\\n}`, 's').exec(source)!
    const checked = [...checks!.matchAll(/^ {2}(\w+): (?:\w+(?:<[^(]+>)?\(\s*([^,)\s]+)|[\w.]+,)/gm)]
    expect(checked.map(([, name]) => name).sort()).toEqual(documented.map(([name]) => name).sort())
    for (const [, name, fallback] of checked) {
      const value = documented.find(([each]) => each === name)![1]!
      // A rule of others, absent, or a group of options of its own: the table says what that means.
      if (fallback === undefined || fallback === 'undefined' || /^[A-Z]+$|Rules$/.test(fallback!)) continue
      const [plain] = value.replace(/,(?=\d{3})/g, '').split(/[ ,]/)
      expect([name, plain!.replaceAll("'", '')]).toEqual([name, fallback!.replace(/[_']/g, '')])
    }
  })
})

const page = (phase: string) =>
  `docs/phases/${phase.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}.md`

describe('docs/phases', () => {
  const index = [...read('docs/phases/README.md').matchAll(/^\| \[`(\w+)`\]\((.+?)\)/gm)]
  test('lists the phases in call order', () => {
    expect(index.map(([, name, file]) => [name, `docs/phases/${file}`])).toEqual(
      PHASES.map((name) => [name, page(name)]),
    )
  })

  test.each(PHASES)('has a page of %s with its type and what holds for it', (phase) => {
    const text = read(page(phase))
    const type = /^```ts\n(.+?)\n```$/ms.exec(text)![1]!
    expect(text.startsWith(`# ${phase}\n\n`)).toBe(true)
    expect(type.startsWith(phase)).toBe(true)
    if (phase !== 'newCtx') expect(read('ts/phases.ts')).toContain(`\n  ${type}\n`)
    for (const what of ['When', 'What it may do', 'If it fails|What it costs', 'Without it|in place of'])
      expect(text, what).toMatch(new RegExp(`\\*\\*[^*]*(?:${what})`))
  })

  test.each(PHASES)('quotes the examples as they are on the page of %s', (phase) => {
    for (const [, file, quoted] of read(page(phase)).matchAll(
      /^In \[(examples\/[\w-]+\.ts)\][^:]+:\n\n```ts\n(.+?)```/gms,
    )) {
      const lines = read(file!)
        .split('\n')
        .map((line) => line.trim())
      for (const line of quoted!.trim().split('\n')) expect(lines, file).toContain(line.trim())
    }
  })
})

describe('README.md', () => {
  test('lists the phases in call order', () => {
    expect(rows('README.md', 'The phases').map(([name]) => bare(name!))).toEqual(PHASES)
  })

  test('shows examples/first-proxy.ts, which works', async () => {
    expect(read('README.md')).toContain(`\`\`\`ts\n${read('examples/first-proxy.ts')}\`\`\``)

    const server = new Server()
    const origin = server.addService(new DemoOrigin()).addTcp('127.0.0.1:0')
    await server.start()
    onTestFinished(async () => {
      await server.close({ graceMs: 0 })
    })
    const { at, child, ended } = await runExample('first-proxy', origin.url)

    const ask = (path: string) => fetch(`http://${at}${path}`)
    const internal = await ask('/internal/x')
    expect(internal.status).toBe(403)
    expect(await (await ask('/some/page')).text()).toMatch(/^GET \/some\/page\n.*x-via: millrace\n/s)
    child.kill('SIGTERM')
    expect(await ended).toEqual([0, null])
  })
})

test('the command of README.md compiles the example in a folder of one’s own', { timeout: 60_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  mkdirSync(`${folder}/node_modules`, { recursive: true })
  writeFileSync(`${folder}/package.json`, '{ "type": "module" }')
  writeFileSync(`${folder}/gateway.ts`, read('examples/first-proxy.ts'))
  symlinkSync(process.cwd(), `${folder}/node_modules/millrace`)
  symlinkSync(`${process.cwd()}/node_modules/@types`, `${folder}/node_modules/@types`)
  const [, flags] = /npx tsc (.+) gateway\.ts &&/.exec(read('README.md'))!
  for (const more of [
    [],
    ['--module', 'preserve', '--moduleResolution', 'bundler', '--skipLibCheck', 'false'],
  ]) {
    const args = [...flags!.split(' '), ...more, 'gateway.ts']
    const tsc = spawnSync(`${process.cwd()}/node_modules/.bin/tsc`, args, { cwd: folder, encoding: 'utf8' })
    expect(tsc).toMatchObject({ status: 0, stdout: '', stderr: '' })
  }
})

describe('links', () => {
  const docs = readdirSync('docs', { recursive: true })
    .map((name) => `docs/${name}`)
    .filter((name) => name.endsWith('.md'))
  const files = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'SECURITY.md', 'bench/README.md', ...docs]
  /** The headings of a document as links name them. */
  const anchors = (file: string) =>
    [...read(file).matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
      heading!
        .toLowerCase()
        .replace(/[^\w\- ]/g, '')
        .replaceAll(' ', '-'),
    )
  test.each(files)('of %s lead somewhere', (file) => {
    for (const [, target, anchor] of read(file).matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)/g)) {
      const place = target === '' ? file : join(dirname(file), target!)
      expect(existsSync(place), `${file}: ${target}`).toBe(true)
      if (anchor !== undefined) expect(anchors(place), `${file}: ${target}`).toContain(anchor)
    }
  })

  test('docs/life-of-a-request.md names files that are there', () => {
    const named = [...read('docs/life-of-a-request.md').matchAll(/`((?:crates|src|ts)\/[\w./-]+)`/g)]
    expect(named.length).toBeGreaterThan(20)
    for (const [, path] of named) expect(existsSync(path!), path).toBe(true)
  })
})
