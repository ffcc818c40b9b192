// What a system does not have is refused when it is asked for, and never ignored.
import { readFileSync } from 'node:fs'
import { afterEach, expect, test } from 'vitest'
import { UsageError } from '../../ts/errors.js'
import { HttpPeer } from '../../ts/peer.js'
import { FEATURES, has } from '../../ts/platform.js'
import { HttpProxy } from '../../ts/proxy.js'
import { Server } from '../../ts/server.js'
import { selfSigned } from '../../ts/tls/self-signed.js'

const here = process.platform
const pretend = (platform: string) => Object.defineProperty(process, 'platform', { value: platform })
afterEach(() => void pretend(here))

const proxy = () => new HttpProxy({ upstreamPeer: new HttpPeer('127.0.0.1:80') })
const on = '127.0.0.1:0'

/** How each feature is asked for, and where its problem is. */
const ASKED = {
  batchThreads: [['batchJsThread', () => new Server({ batchJsThread: true })]],
  reusePort: [
    ['reusePort', () => proxy().addTcp(on, { reusePort: true })],
    ['options.reusePort', () => proxy().addTls(on, selfSigned('localhost'), { reusePort: true })],
  ],
  fastOpen: [
    ['fastOpen', () => proxy().addTcp(on, { fastOpen: 16 })],
    ['options.fastOpen', () => proxy().addTls(on, selfSigned('localhost'), { fastOpen: 16 })],
  ],
  abstractSockets: [['path', () => proxy().addUnix('@app')]],
  affinity: [
    ['cpus', () => new HttpProxy({ upstreamPeer: new HttpPeer('127.0.0.1:80') }, { cpus: 'spread' })],
    ['cpus', () => new HttpProxy({ upstreamPeer: new HttpPeer('127.0.0.1:80') }, { cpus: [0] })],
  ],
  upgradeSocket: [['upgradeSocket', () => new Server({ upgradeSocket: '/run/proxy.sock' })]],
  unixSockets: [
    ['path', () => proxy().addUnix('/run/app.sock', { mode: 0o660 })],
    ['address', () => new HttpPeer('unix:/run/app.sock')],
    [
      'connectProxy.address',
      () => new HttpPeer('10.0.0.1:80', { connectProxy: { address: 'unix:/run/proxy.sock' } }),
    ],
  ],
} as const satisfies Record<(typeof FEATURES)[number], readonly (readonly [string, () => unknown])[]>

const ways = FEATURES.flatMap((feature) =>
  ASKED[feature].flatMap(([path, ask]) =>
    ['linux', 'darwin', 'win32'].map((system) => [path, system, has(feature, system), ask] as const),
  ),
)

test.each(ways)('%s on %s: %s', (path, system, isThere, ask) => {
  pretend(system)
  if (isThere) {
    ask()
    return
  }
  let error: unknown
  try {
    ask()
  } catch (thrown) {
    error = thrown
  }
  expect(error).toBeInstanceOf(UsageError)
  const { code, message, problems } = error as UsageError
  expect(code).toBe('UNSUPPORTED_PLATFORM')
  expect(problems).toMatchObject([{ path, platform: system }])
  expect(message).toContain(`${system} does not have what these options of`)
})

test.each(['darwin', 'win32'])('what is asked for by nobody is no error on %s', (system) => {
  pretend(system)
  new Server()
  new Server({ batchJsThread: false })
  proxy().addTcp(on, { reusePort: false, tcpKeepalive: {}, backlog: 16 })
  proxy().addTcp('[::1]:0', { ipv6Only: true, recvBuffer: 65_536, sendBuffer: 65_536 })
  new HttpPeer('10.0.0.1:80', { bindTo: '10.0.0.2', tcpKeepalive: { idleMs: 1_000, count: 2 } })
})

test('an option that is wrong everywhere is INVALID_OPTIONS, which lists the others too', () => {
  pretend('win32')
  const ask = () => proxy().addTcp(on, { reusePort: true, backlog: 0 })
  expect(ask).toThrow(/invalid options of addTcp:\n {2}backlog.+\n {2}reusePort: .+ false on win32/)
  expect(ask).toThrow(expect.objectContaining({ code: 'INVALID_OPTIONS' }))
})

test('docs/compatibility.md has a row for each feature, with the systems that have it', () => {
  const page = readFileSync('docs/compatibility.md', 'utf8')
  const [, section] = page.split('## What Windows and macOS lack\n')
  const rows = [...section!.split('\n## ')[0]!.matchAll(/^\| .+ \| (yes|no) \| (yes|no) \| (yes|no) \|.*$/gm)]
  const told = rows.map(([row, ...cells]) => [row.includes('UNSUPPORTED_PLATFORM'), cells])
  const is = (feature: (typeof FEATURES)[number]) =>
    ['linux', 'darwin', 'win32'].map((system) => (has(feature, system) ? 'yes' : 'no'))
  expect(told.filter(([refused]) => refused)).toEqual(FEATURES.map((feature) => [true, is(feature)]))
})
