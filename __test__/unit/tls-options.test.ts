// Wrong options of TLS are refused when they are given, with their paths, and no key is ever shown.
import { expect, test } from 'vitest'
import { UsageError } from '../../ts/errors.js'
import { DemoOrigin, selfSigned, type TlsOptions } from '../../ts/index.js'
import { HttpPeer, type HttpPeerOptions } from '../../ts/peer.js'
import { HttpProxy, type HttpProxyOptions } from '../../ts/proxy.js'
import { bytes, ca, certs, pair } from '../support/tls.js'

const peer = new HttpPeer('127.0.0.1:80')
const proxy = () => new HttpProxy({ upstreamPeer: peer })

/** Path, and what was found, of every problem; the whole message is in `message`. */
function refused(run: () => unknown): { problems: [string, unknown][]; message: string } {
  try {
    run()
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    expect(error.code).toBe('INVALID_OPTIONS')
    return { problems: error.problems.map(({ path, found }) => [path, found]), message: error.message }
  }
  throw new Error('it was accepted')
}

const key = bytes('localhost').key.toString()

const ENCRYPTED =
  '-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n'

test.each<[string, unknown, [string, unknown][]]>([
  ['nothing', {}, [['cert', undefined]]],
  ['no object', 5, [['options', 5]]],
  ['a certificate without a key', { cert: certs('example.pem') }, [['key', undefined]]],
  ['a key without a certificate', { key }, [['cert', undefined]]],
  ['no file', { ...pair('example'), cert: 'no/such.pem' }, [['cert', 'no/such.pem (ENOENT)']]],
  ['another kind', { ...pair('example'), cert: 5 }, [['cert', 5]]],
  ['no PEM', { cert: 'no\nPEM', key }, [['cert', 'there is no certificate in it']]],
  ['an expired one', pair('expired'), [['cert', `${certs('expired.pem')}: the certificate has expired`]]],
  ['a strange key', { ...pair('example'), key }, [['key', 'the key does not belong to the certificate']]],
  [
    'a key where the certificate should be',
    { certificates: [{ cert: key, key }] },
    [['certificates[0].cert', 'there is no certificate in it']],
  ],
  ['an empty list', { certificates: [] }, [['cert', undefined]]],
  ['no list', { certificates: pair('example') }, [['certificates', pair('example')]]],
  [
    'half ones in a list',
    { certificates: [pair('example'), { cert: certs('example.pem'), nmaes: [] }] },
    [
      ['certificates[1].nmaes', []],
      ['certificates[1].key', undefined],
    ],
  ],
  [
    'names that it is not for',
    { certificates: [{ ...pair('example'), names: ['example.test', 'other.test'] }] },
    [['certificates[0].names[1]', 'the certificate is not for "other.test"']],
  ],
  [
    'names that are none',
    { certificates: [{ ...pair('example'), names: ['a b'] }] },
    [['certificates[0].names[0]', 'a b']],
  ],
  [
    'both',
    { ...pair('example'), certificates: [pair('example')] },
    [
      ['cert', 'certificates as well'],
      ['key', 'certificates as well'],
    ],
  ],
  ['h2 and alpn', { ...pair('example'), h2: true, alpn: ['h2'] }, [['alpn', ['h2']]]],
  [
    'other protocols',
    { ...pair('example'), alpn: ['h2', 'spdy', 'h2'] },
    [
      ['alpn[1]', 'spdy'],
      ['alpn[2]', 'h2'],
    ],
  ],
  ['no protocols', { ...pair('example'), alpn: [] }, [['alpn', []]]],
  ['no names', { certificates: [{ ...pair('example'), names: [] }] }, [['certificates[0].names', []]]],
  [
    'an address for a name',
    { certificates: [{ ...pair('example'), names: ['::1', '127.0.0.1'] }] },
    [
      ['certificates[0].names[0]', '::1'],
      ['certificates[0].names[1]', '127.0.0.1'],
    ],
  ],
  ['a cache of nothing', { ...pair('example'), sniCacheTtlMs: 5 }, [['sniCacheTtlMs', 5]]],
  [
    'half of a certificate',
    { cert: bytes('example').cert.toString().slice(0, 200), key },
    [['cert', 'not valid PEM: it is cut off, as a section has no end']],
  ],
  [
    'a key that is encrypted',
    { cert: bytes('localhost').cert, key: ENCRYPTED },
    [['key', 'the key is encrypted']],
  ],
  ['a version', { ...pair('example'), minVersion: 'TLSv1.1' }, [['minVersion', 'TLSv1.1']]],
  ['a callback', { sniCallback: 'me' }, [['sniCallback', 'me']]],
  ['no time', { ...pair('example'), handshakeTimeoutMs: 0 }, [['handshakeTimeoutMs', 0]]],
  [
    'client certificates',
    { ...pair('example'), clientAuth: { mode: 'maybe' } },
    [
      ['clientAuth.ca', undefined],
      ['clientAuth.mode', 'maybe'],
    ],
  ],
  [
    'a ca that is none',
    { ...pair('example'), clientAuth: { ca: key, mode: 'require' } },
    [['clientAuth.ca', 'there is no certificate in it']],
  ],
])('addTls refuses %s', (_, tls, problems) => {
  const error = refused(() => proxy().addTls('127.0.0.1:0', tls as TlsOptions))
  expect(error.problems).toEqual(problems)
  expect(error.message).not.toContain('PRIVATE')
})

test('one error lists what is wrong with the address, the sockets and TLS', () => {
  const run = () => proxy().addTls('nowhere', { h2: 1 } as unknown as TlsOptions, { backlog: 0 })
  expect(refused(run).problems).toEqual([
    ['address', 'nowhere'],
    ['options.backlog', 0],
    ['h2', 1],
  ])
})

test('a service that does not speak HTTP/2 cannot offer it', () => {
  const origin = new DemoOrigin()
  expect(refused(() => origin.addTls('127.0.0.1:0', { ...pair('example'), h2: true })).problems).toEqual([
    ['h2', true],
  ])
  origin.addTls('127.0.0.1:0', pair('example'))
})

test.each<[string, string, HttpPeerOptions, [string, unknown][]]>([
  [
    'options without TLS',
    'http://a',
    { sni: 'a', ca, verifyCert: false },
    [
      ['sni', 'a'],
      ['ca', 'PEM'],
      ['verifyCert', false],
    ],
  ],
  ['a contradiction', 'https://a', { tls: false }, [['tls', false]]],
  ['another', 'http://a', { tls: true }, [['tls', true]]],
  ['a ca that is none', 'https://a', { ca: key }, [['ca', 'there is no certificate in it']]],
  [
    'half a certificate',
    'https://a',
    { cert: certs('client.pem') },
    [['key', 'the certificate needs its key']],
  ],
  ['the other half', 'https://a', { key }, [['cert', 'the key needs its certificate']]],
  [
    'a strange key',
    'https://a',
    { cert: certs('client.pem'), key },
    [['key', 'the key does not belong to the certificate']],
  ],
  [
    'names',
    'https://a',
    { sni: 'a b', alternativeName: '' },
    [
      ['sni', 'a b'],
      ['alternativeName', ''],
    ],
  ],
  [
    'h2 options with h1',
    'http://a',
    { h2MaxStreams: 5, h2PingIntervalMs: 1 },
    [
      ['h2MaxStreams', 5],
      ['h2PingIntervalMs', 1],
    ],
  ],
  ['a protocol', 'http://a', { protocol: 'h3' as 'h2' }, [['protocol', 'h3']]],
  [
    'what is not looked at',
    'https://a',
    { verifyCert: false, ca, alternativeName: 'b' },
    [
      ['ca', 'PEM'],
      ['alternativeName', 'b'],
    ],
  ],
  [
    'a name that is not looked at',
    'https://a',
    { verifyHostname: false, alternativeName: 'b' },
    [['alternativeName', 'b']],
  ],
  [
    'a ca that has expired',
    'https://a',
    { ca: certs('expired.pem') },
    [['ca', `${certs('expired.pem')}: all certificates in it have expired`]],
  ],
  [
    'headers for a proxy that are none',
    'https://a',
    { connectProxy: { address: 'p:1', headers: { 'content-length': '5', 'x y': '1', fine: 'x' } } },
    [
      ['connectProxy.headers["content-length"]', '5'],
      ['connectProxy.headers["x y"]', '1'],
    ],
  ],
])('HttpPeer refuses %s', (_, address, options, problems) => {
  const error = refused(() => new HttpPeer(address, options))
  expect(error.problems).toEqual(problems)
  expect(error.message).not.toContain('PRIVATE')
})

test('options of HTTP/2 have their path', () => {
  const options = { http2: { maxConcurrentStreams: 0, nope: 1 } } as HttpProxyOptions
  expect(refused(() => new HttpProxy({ upstreamPeer: peer }, options)).problems).toEqual([
    ['http2.nope', 1],
    ['http2.maxConcurrentStreams', 0],
  ])
  expect(
    refused(() => new HttpProxy({ upstreamPeer: peer }, { http2: null } as unknown as HttpProxyOptions))
      .problems,
  ).toEqual([['http2', null]])
})

test.each([[[]], [['ü']], [['a b']], [[5]]])('selfSigned refuses %j', (names) => {
  expect(refused(() => selfSigned(...(names as string[]))).problems).toHaveLength(1)
})
