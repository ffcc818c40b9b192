// What the package exports, and that nothing of it is without a test of its type.
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import * as main from '../ts/index.js'
import * as testing from '../ts/testing/index.js'

const read = (file: string) => readFileSync(file, 'utf8')

/** The names that a module of re-exports has. */
function exported(file: string): string[] {
  const lists = [...read(file).matchAll(/^export (?:type )?{([^}]+)}/gms)].map(([, list]) => list!)
  return lists.flatMap((list) => [...list.matchAll(/(?:type )?(\w+),?/g)].map(([, name]) => name!)).sort()
}

test.each(['ts/index.ts', 'ts/testing/index.ts'])('each name of %s has a test of its type', (file) => {
  const tests = ['types', 'types-api'].map((name) => read(`__test__/${name}.test-d.ts`)).join('\n')
  // Of imports a name is no test.
  const [, ...rest] = tests.split(/^} from '.+'$/m)
  const names = exported(file)
  expect(names.length).toBeGreaterThan(15)
  for (const name of names) expect(rest.join('\n'), name).toMatch(new RegExp(`\\b${name}\\b`))
})

test('the values are these', () => {
  expect(Object.keys(main).sort()).toEqual([
    'BackgroundService',
    'Connector',
    'DemoOrigin',
    'ERROR_CODES',
    'Endpoint',
    'HttpApp',
    'HttpPeer',
    'HttpProxy',
    'PHASES',
    'ProxyError',
    'Server',
    'Service',
    'TcpApp',
    'TcpConnection',
    'TcpPeer',
    'TcpProxy',
    'TlsEndpoint',
    'UsageError',
    'definePart',
    'definePhases',
    'selfSigned',
  ])
  expect(Object.keys(testing).sort()).toEqual(['InjectedResponse', 'Message', 'UpstreamRequest', 'inject'])
})
