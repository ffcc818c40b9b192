// Who takes part, in the order of the report. `start` gives the command of a subject; `place` holds
// the origin's address, a port, and for TLS the certificate and whether HTTP/2 is spoken.
import { find, haproxy, nginx } from './peers.mjs'

export const relayBinary = 'bench/relay/target/release/millrace-relay'
const pingoraBinary = 'bench/pingora/target/release/millrace-pingora'

const script = (file, variant) => ({
  isNode: true,
  start: ({ origin, tls, h2 }) => [
    process.execPath,
    '--no-deprecation',
    `bench/subjects/${file}.mjs`,
    `http://${origin}`,
    variant ?? '',
    ...(tls === undefined ? [] : [tls.cert, tls.key, h2 ? 'h2' : 'http/1.1']),
  ],
})

const millrace = (variant) => ({ ...script('millrace', variant), isOurs: true })

/** A program that is told its port, and does not say when it listens. */
const peer = (program, start) => ({
  needsPort: true,
  isGuarded: true,
  missing: () => (find(program) === undefined ? `${program} is not installed` : undefined),
  start,
})

const pingora = (variant) => ({
  needsPort: true,
  build: 'pingora',
  start: ({ origin, port, tls }) => [
    pingoraBinary,
    String(port),
    origin,
    variant,
    ...(tls === undefined ? [] : [tls.cert, tls.key]),
  ],
})

const relay = ({ origin, tls, h2 }) => [
  relayBinary,
  'relay',
  origin,
  ...(tls === undefined ? [] : [`cert=${tls.cert}`, `key=${tls.key}`]),
  ...(h2 ? ['h2=yes'] : []),
]

export const subjects = [
  { name: 'none', title: 'millrace, no phase', ...millrace('none') },
  { name: 'one', title: 'millrace, one phase', ...millrace('one') },
  { name: 'async', title: 'millrace, one async phase', ...millrace('async') },
  { name: 'four', title: 'millrace, four phases', ...millrace('four'), edits: true },
  { name: 'body', title: 'millrace, body phases', ...millrace('body') },
  { name: 'costly', title: 'millrace, costly phase', ...millrace('costly') },
  { name: 'costly-1', title: 'the same, jsThreads: 1', ...millrace('costly-1') },
  { name: 'costly-2', title: 'the same, jsThreads: 2', ...millrace('costly-2') },
  { name: 'isolated-2', title: 'millrace, 2 isolated threads', ...millrace('isolated-2') },
  { name: 'isolated-4', title: 'millrace, 4 isolated threads', ...millrace('isolated-4') },
  { name: 'stealing-1', title: 'millrace, 1 stealing thread', ...millrace('stealing-1') },
  { name: 'stealing-2', title: 'millrace, 2 stealing threads', ...millrace('stealing-2') },
  { name: 'stealing-4', title: 'millrace, 4 stealing threads', ...millrace('stealing-4') },
  { name: 'hyper', title: 'hyper alone', start: relay },
  { name: 'nginx', title: 'nginx', ...peer('nginx', nginx) },
  { name: 'haproxy', title: 'haproxy', ...peer('haproxy', (place) => haproxy('http', place)) },
  { name: 'tcp', title: 'haproxy, mode tcp', ...peer('haproxy', (place) => haproxy('tcp', place)) },
  { name: 'pingora', title: 'Pingora, upstream_peer', ...pingora('peer') },
  { name: 'pingora-four', title: 'Pingora, four phases', ...pingora('four'), edits: true },
  { name: 'http-proxy', title: 'http-proxy', ...script('http-proxy') },
  { name: 'reply-from', title: '@fastify/reply-from', ...script('reply-from') },
]

/** What `npm run bench -- crossing` measures: no proxy, but the way to the phases and back. */
export const crossings = [
  { name: 'one', title: 'one phase' },
  { name: 'fused', title: 'four phases, one crossing' },
  { name: 'three', title: 'four phases, three crossings' },
  { name: 'async', title: 'one async phase' },
  { name: 'slow', title: 'one async phase, 5 % wait 1 ms' },
]
