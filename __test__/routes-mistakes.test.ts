// Routes that are wrong: what is refused when they are made, and how it is told.
import { describe, expect, test } from 'vitest'
import { type AnyPhases, HttpPeer, HttpProxy, type HttpProxyOptions, type UsageError } from '../ts/index.js'

describe('mistakes', () => {
  const peer = new HttpPeer('127.0.0.1:1')
  const problems = (options: unknown, phases: unknown = { upstreamPeer: peer }) => {
    try {
      new HttpProxy(phases as AnyPhases, options as HttpProxyOptions)
    } catch (error) {
      return (error as UsageError).problems.map(({ path, found, allowed }) => [path, found, allowed] as const)
    }
    return []
  }
  const paths = (options: unknown, phases?: unknown) => problems(options, phases).map(([path]) => path)

  test.each<[string, unknown, string[]]>([
    ['no list', { routes: {} }, ['routes']],
    ['no object', { routes: [1] }, ['routes[0]']],
    ['unknown options', { routes: [{ matches: {} }] }, ['routes[0].matches']],
    ['a pattern of a path', { routes: [{}, { match: { path: 'a' } }].reverse() }, ['routes[0].match.path']],
    [
      'one of several',
      { routes: [{ match: { path: ['/a', '/b*'], host: ['a', 'b:1'] } }] },
      ['routes[0].match.host[1]', 'routes[0].match.path[1]'],
    ],
    ['an expression that can be slow', { routes: [{ match: { path: /(?=a)/ } }] }, ['routes[0].match.path']],
    ['flags', { routes: [{ match: { path: /a/g } }] }, ['routes[0].match.path']],
    ['what no request has', { routes: [{ match: { path: ['/a', '/b%2Fc'] } }] }, ['routes[0].match.path[1]']],
    [
      'methods and headers',
      { routes: [{ match: { method: ['G T'], header: { 'a b': true, c: 1, d: 'a\nb' } } }] },
      [
        'routes[0].match.method[0]',
        'routes[0].match.header.a b',
        'routes[0].match.header.c',
        'routes[0].match.header.d',
      ],
    ],
    ['a method', { routes: [{ match: { method: 'G T' } }] }, ['routes[0].match.method']],
    [
      'empty lists',
      { routes: [{ match: { host: [], path: [] } }] },
      ['routes[0].match.host', 'routes[0].match.path'],
    ],
    ['a scheme', { routes: [{ match: { scheme: 'ws' } }] }, ['routes[0].match.scheme']],
    ['a peer', { routes: [{ upstreamPeer: '127.0.0.1:1' }] }, ['routes[0].upstreamPeer']],
    [
      'phases',
      { routes: [{ phases: { requestFiltr() {}, requestFilter: 1 } }] },
      ['routes[0].phases.requestFilter', 'routes[0].phases.requestFiltr', 'routes[0].upstreamPeer'],
    ],
    ['nowhere to go', { routes: [{ phases: {} }] }, ['routes[0].upstreamPeer']],
    [
      'headers',
      { requestHeaders: { set: { connection: 'x', host: 'a', a: 'b\r\nc: d' }, add: {}, remove: ['a b'] } },
      [
        'requestHeaders.add',
        'requestHeaders.set.connection',
        'requestHeaders.set.host',
        'requestHeaders.set.a',
        'requestHeaders.remove[0]',
      ],
    ],
    [
      'redirections',
      { routes: [{ match: { path: '/a' }, redirect: '//x' }, { redirect: { to: '/', status: 200 } }] },
      ['routes[0].redirect', 'routes[1].redirect'],
    ],
    [
      'where they lead',
      { routes: [{ match: { path: '/a' }, redirect: '//x' }, { redirect: { to: '/{id}' } }] },
      ['routes[0].redirect', 'routes[1].redirect.to'],
    ],
    ['line ends', { redirect: '/\r\nset-cookie: a=b' }, ['redirect']],
    [
      'rewriting',
      { routes: [{ match: { path: '/:id' }, rewrite: '/{ib}' }, { rewrite: { prefix: '/' } }] },
      ['routes[0].rewrite', 'routes[1].rewrite'],
    ],
    ['names', { routes: [{ match: { path: '/:id' }, rewrite: '/{ib}' }] }, ['routes[0].rewrite']],
    [
      'answers',
      { respond: { status: 99 }, routes: [{ respond: new Response('') }] },
      ['routes[0].respond', 'respond'],
    ],
    [
      'several actions',
      { routes: [{ redirect: '/a', respond: 200, rewrite: '/b' }] },
      ['routes[0].rewrite', 'routes[0].respond'],
    ],
    [
      'what an answer does not need',
      { routes: [{ respond: 200, upstreamPeer: peer, requestHeaders: {} }] },
      ['routes[0].upstreamPeer', 'routes[0].requestHeaders'],
    ],
    [
      'a route that is never reached',
      { routes: [{ match: { path: '/a/*' } }, { match: { path: '/a/b', method: 'GET' } }] },
      ['routes[1].match'],
    ],
    ['a route behind all', { routes: [{}, { match: { path: '/a' } }] }, ['routes[1].match']],
    ['encodedSlashes', { encodedSlashes: true }, ['encodedSlashes']],
  ])('%s', (_name, options, expected) => {
    const found = paths(options)
    expect(found.sort()).toEqual(expected.sort())
  })

  test('what was found and what is allowed is said', () => {
    expect(problems({ routes: [{ match: { path: ['/a', '/b/*/c'] } }] })).toEqual([
      ['routes[0].match.path[1]', '/b/*/c', 'a path with * only as its last segment'],
    ])
    const [, , allowed] = problems({ routes: [{}, { match: { host: 'a' } }] })[0]!
    expect(allowed).toBe('some request that routes[0] does not take before it')
  })

  test('filters', () => {
    const handler = () => undefined
    const phases = {
      upstreamPeer: peer,
      requestFilter: { match: { path: 'x' }, handler },
      responseFilter: { match: { paths: '/x' }, handler },
      logging: { handler: 1, more: 2 },
    }
    expect(paths({}, phases)).toEqual([
      'responseFilter.match.paths',
      'logging.more',
      'logging.handler',
      'logging.match',
      'requestFilter.match.path',
    ])
    expect(paths({}, { upstreamPeer: peer, requestFilter: { match: { path: 'x' }, handler } })).toEqual([
      'requestFilter.match.path',
    ])
    expect(paths({}, { upstreamPeer: { match: {}, handler } })).toEqual(['upstreamPeer'])
    class Misspelt {
      upstreamPeer = peer
      requestFiltr = { match: {}, handler }
    }
    expect(paths({}, new Misspelt())).toEqual(['requestFiltr'])
    const parts = [{ upstreamPeer: peer }, { logging: { match: { host: ['a', 'b:1'] }, handler } }]
    expect(problems({}, parts).map(([path, found]) => [path, found])).toEqual([
      ['phases[1].logging.match.host[1]', 'b:1'],
    ])
    expect(paths({ routes: [{ phases: { logging: { match: { host: '*' }, handler } } }] })).toContain(
      'routes[0].upstreamPeer',
    )
    const route = { upstreamPeer: peer, phases: { logging: { match: { host: '*' }, handler } } }
    expect(paths({ routes: [route] })).toEqual(['routes[0].phases.logging.match.host'])
  })

  test('a peer is asked for where nothing else says where requests go', () => {
    expect(paths({}, {})).toEqual(['upstreamPeer'])
    expect(paths({ rewrite: '/a' }, {})).toEqual(['upstreamPeer'])
    expect(paths({ respond: 200 }, {})).toEqual([])
    expect(paths({ routes: [{ match: { path: '/a' }, respond: 200 }] }, {})).toEqual([])
    expect(paths({ routes: [{ match: { path: '/a' } }] }, {})).toEqual(['routes[0].upstreamPeer'])
  })
})
