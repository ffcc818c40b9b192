import { expect, test } from 'vitest'
import { ProxyError, UsageError } from '../../ts/errors.js'
import { HttpPeer } from '../../ts/peer.js'
import type { AnyPhases } from '../../ts/phases.js'
import { HttpProxy } from '../../ts/proxy.js'
import { Server } from '../../ts/server.js'
import { codeOf } from './fake.js'

const peer = new HttpPeer('127.0.0.1:80')

/** Path and found of every problem. */
function problemsOf(run: () => unknown): unknown[] {
  try {
    run()
  } catch (error) {
    if (error instanceof UsageError) return error.problems.map(({ path, found }) => [path, found])
    throw error
  }
  return []
}

test('one error lists every wrong option, with what is allowed', () => {
  const options = { threads: 0, workStealing: 'yes', nmae: 'x', requestTimeoutMs: 1.5 } as object
  expect(problemsOf(() => new HttpProxy({ upstreamPeer: peer }, options))).toEqual([
    ['nmae', 'x'],
    ['threads', 0],
    ['workStealing', 'yes'],
    ['requestTimeoutMs', 1.5],
  ])
  expect(() => new HttpProxy({ upstreamPeer: peer }, options)).toThrow(
    /threads: found 0, allowed: an integer from 1 to 1024/,
  )
  expect(codeOf(() => new HttpProxy({ upstreamPeer: peer }, 5 as unknown as object))).toBe('INVALID_OPTIONS')
})

test('null and what is no service are wrong options, not surprises', () => {
  const nothing = null as unknown as object
  expect(codeOf(() => new HttpProxy({ upstreamPeer: peer }, nothing))).toBe('INVALID_OPTIONS')
  expect(codeOf(() => new HttpPeer('a:1', nothing))).toBe('INVALID_OPTIONS')
  expect(codeOf(() => new Server(nothing))).toBe('INVALID_OPTIONS')
  for (const service of [{}, undefined, null, 'proxy', Object.create(HttpProxy.prototype)])
    expect(problemsOf(() => new Server().addService(service as HttpProxy))).toEqual([['service', service]])
})

test('nested options have their path', () => {
  const tcpKeepalive = { idleMs: 5, retries: 3 } as object
  expect(problemsOf(() => new HttpPeer('a:1', { tcpKeepalive }))).toEqual([
    ['tcpKeepalive.retries', 3],
    ['tcpKeepalive.idleMs', 5],
  ])
})

test.each([
  ['http://10.0.0.1', '10.0.0.1:80'],
  ['https://api.example', 'api.example:443'],
  ['https://api.example:8443', 'api.example:8443'],
  ['http://api.example:8080/', 'api.example:8080'],
  ['10.0.0.1:8080', '10.0.0.1:8080'],
  ['[::1]:90', '[::1]:90'],
  ['unix:/run/app.sock', 'unix:/run/app.sock'],
])('the peer %s is %s', (given, address) => {
  expect(new HttpPeer(given).address).toBe(address)
})

test.each([
  'ftp://a',
  'http://a/path',
  'http://a?q',
  'http://u:p@a',
  'a',
  'a:',
  'a:0',
  'a:70000',
  'unix:app',
  '',
  'a:1/x',
])('the peer %j is refused', (address) => {
  expect(problemsOf(() => new HttpPeer(address))).toEqual([['address', address]])
})

test('a peer is frozen', () => {
  expect(Object.isFrozen(peer)).toBe(true)
})

test('misspelt phases are refused', () => {
  class Gateway {
    upstreamPeer = peer
    request_filter() {}
    helper() {}
    requestFiltr = () => {}
  }
  expect(() => new HttpProxy(new Gateway())).toThrow(
    /requestFiltr: .* did you mean requestFilter[\s\S]*request_filter/,
  )
  const paths = (phases: object) =>
    problemsOf(() => new HttpProxy(phases as AnyPhases)).map((problem) => (problem as [string])[0])
  expect(paths({ upstreamPeer: peer, helper: 1, Logging() {} })).toEqual(['helper', 'Logging'])
  expect(paths({ upstreamPeer: peer, requestFilter: 5 })).toEqual(['requestFilter'])
  expect(paths({})).toEqual(['upstreamPeer'])
  class Base {
    requestFilter() {}
    get lazy(): never {
      throw new Error('a getter must not run')
    }
  }
  class Derived extends Base {
    upstreamPeer = () => peer
    #private() {}
    use() {
      this.#private()
    }
  }
  expect(paths(new Derived())).toEqual([])
  expect(new HttpProxy(new Derived()).native.fallback.phases).toBe((1 << 2) | (1 << 4))
})

test('addresses to listen on are checked, and unknown before the start', () => {
  const proxy = new HttpProxy({ upstreamPeer: peer })
  for (const address of ['localhost:80', '127.0.0.1', '::1:80', '127.0.0.1:70000', '[127.0.0.1]:80'])
    expect(problemsOf(() => proxy.addTcp(address))).toEqual([['address', address]])
  const endpoint = proxy.addTcp('[::1]:0', { backlog: 5 })
  expect(codeOf(() => endpoint.url)).toBe('NOT_STARTED')
  expect(codeOf(() => endpoint.address)).toBe('NOT_STARTED')
  expect(endpoint.options).toEqual({ backlog: 5, reusePort: false })
})

test('a ProxyError checks its status, code and headers', () => {
  expect(new ProxyError({ code: 'OVERLOADED' }).status).toBe(503)
  expect(codeOf(() => new ProxyError({ status: 200 }))).toBe('INVALID_OPTIONS')
  expect(codeOf(() => new ProxyError({ code: 'NOPE' as 'INTERNAL' }))).toBe('INVALID_OPTIONS')
  expect(codeOf(() => new ProxyError({ headers: { 'a b': '1' } }))).toBe('INVALID_HEADER')
})
