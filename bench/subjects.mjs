// Who takes part, in the order of the report.
const node = (file, ...args) => ({
  start: (origin) => [
    process.execPath,
    '--no-deprecation',
    `bench/subjects/${file}.mjs`,
    `http://${origin}`,
    ...args,
  ],
})

export const relayBinary = 'bench/relay/target/release/millrace-relay'

export const subjects = [
  { name: 'none', title: 'millrace, no JS phase', ...node('millrace', 'none') },
  { name: 'peer', title: 'millrace, upstreamPeer in JS', ...node('millrace', 'peer') },
  { name: 'four', title: 'millrace, four phases in JS', ...node('millrace', 'four'), edits: true },
  { name: 'hyper', title: 'hyper relay (bench/relay)', start: (origin) => [relayBinary, 'relay', origin] },
  { name: 'http-proxy', title: 'http-proxy', ...node('http-proxy') },
  { name: 'reply-from', title: '@fastify/reply-from', ...node('reply-from') },
]

/** What is expected of CPU per request at 64 connections: subject `of` at most `atMost` times `to`. */
export const expectations = [
  { of: 'none', to: 'hyper', atMost: 1.15 },
  { of: 'four', to: 'none', atMost: 1.25 },
  { of: 'four', to: 'http-proxy', atMost: 0.5 },
  { of: 'four', to: 'reply-from', atMost: 0.5 },
]
