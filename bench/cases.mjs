// What is measured, by name. A case has settings (of connections, of directions); in each round every
// subject is measured in each of them. `columns` are what the table shows of it, `main` is what
// subjects are compared by, with those in `against`.
const http = {
  measure: 'http',
  bytes: 1024,
  connections: [64],
  against: ['hyper', 'pingora', 'none'],
  main: 'cpuMicros',
  columns: [
    { field: 'requestsPerSecond', title: 'requests/s', digits: 0 },
    { field: 'cpuMicros', title: 'CPU µs', digits: 1 },
    { field: 'p50Micros', title: 'p50 µs', digits: 0 },
    { field: 'p99Micros', title: 'p99 µs', digits: 0 },
  ],
}

export const cases = [
  {
    ...http,
    name: 'h1',
    title: 'HTTP/1.1, 1 KiB answers; CPU per request',
    connections: [64, 8],
    subjects: [
      ...['none', 'one', 'async', 'four', 'hyper', 'nginx', 'haproxy', 'tcp'],
      ...['pingora', 'pingora-four', 'http-proxy', 'reply-from'],
    ],
  },
  {
    ...http,
    name: 'large',
    title: 'HTTP/1.1, 64 KiB answers; CPU per request',
    bytes: 65_536,
    subjects: [
      ...['none', 'four', 'hyper', 'nginx', 'haproxy', 'tcp'],
      ...['pingora', 'http-proxy', 'reply-from'],
    ],
  },
  {
    ...http,
    name: 'tls',
    title: 'HTTP/1.1 over TLS, 1 KiB answers; CPU per request',
    isTls: true,
    against: ['nginx', 'hyper', 'pingora'],
    subjects: ['none', 'one', 'four', 'hyper', 'nginx', 'haproxy', 'pingora', 'pingora-four'],
  },
  {
    ...http,
    name: 'h2',
    uses: { program: 'h2load', without: 'the load comes from a slower generator' },
    title: 'HTTP/2 over TLS down, 16 streams a connection, HTTP/1.1 up, 1 KiB answers; CPU per request',
    isTls: true,
    streams: 16,
    connections: [8],
    subjects: ['none', 'four', 'hyper', 'nginx', 'haproxy', 'pingora', 'pingora-four'],
  },
  {
    ...http,
    name: 'latency',
    title: 'HTTP/1.1, 1 KiB answers; time of a request',
    connections: [1, 64],
    main: 'p50Micros',
    subjects: ['none', 'one', 'four', 'hyper', 'nginx', 'pingora', 'pingora-four'],
  },
  {
    ...http,
    name: 'runtimes',
    title: 'both kinds of runtime on one core, HTTP/1.1, 1 KiB answers; CPU per request',
    connections: [64, 8],
    against: ['none'],
    subjects: ['none', 'isolated-2', 'isolated-4', 'stealing-1', 'stealing-2', 'stealing-4'],
  },
  {
    name: 'idle',
    title: 'idle keep-alive connections; resident memory',
    measure: 'idle',
    connections: [10_000],
    against: ['hyper', 'pingora'],
    main: 'overNodeMib',
    columns: [
      { field: 'beforeMib', title: 'MiB before', digits: 1 },
      { field: 'afterMib', title: 'MiB after', digits: 1 },
      { field: 'overNodeMib', title: 'MiB over Node', digits: 1 },
      { field: 'kibPerConnection', title: 'KiB each', digits: 2 },
    ],
    subjects: ['none', 'four', 'hyper', 'nginx', 'haproxy', 'pingora', 'http-proxy', 'reply-from'],
  },
  {
    name: 'bulk',
    title: 'one large body on one connection',
    measure: 'bulk',
    settings: ['down', 'up'],
    against: ['hyper', 'pingora'],
    main: 'mibPerSecond',
    isMoreBetter: true,
    columns: [
      { field: 'mibPerSecond', title: 'MiB/s', digits: 0 },
      { field: 'cpuMicrosPerMib', title: 'CPU µs/MiB', digits: 0 },
      { field: 'growthMib', title: 'MiB more at peak', digits: 1 },
    ],
    subjects: ['none', 'body', 'hyper', 'nginx', 'haproxy', 'pingora', 'http-proxy', 'reply-from'],
  },
  {
    name: 'start',
    title: 'from the start of the process to the first byte of an answer',
    measure: 'start',
    settings: ['start'],
    against: ['pingora'],
    main: 'firstByteMs',
    columns: [
      { field: 'firstByteMs', title: 'ms', digits: 1 },
      { field: 'overNodeMs', title: 'ms after Node', digits: 1 },
    ],
    subjects: ['none', 'four', 'hyper', 'nginx', 'haproxy', 'pingora', 'http-proxy', 'reply-from'],
  },
  {
    name: 'costs',
    title: 'what a request asks of the system and of the heap',
    measure: 'costs',
    build: 'crossing',
    uses: { program: 'strace', without: 'system calls are not counted' },
    bytes: 1024,
    connections: [64, 1],
    against: ['hyper'],
    main: 'syscalls',
    columns: [
      { field: 'syscalls', title: 'system calls', digits: 2 },
      { field: 'reads', title: 'reads', digits: 2 },
      { field: 'writes', title: 'writes', digits: 2 },
      { field: 'waits', title: 'waits', digits: 2 },
      { field: 'allocations', title: 'allocations', digits: 1 },
      { field: 'allocatedBytes', title: 'bytes of them', digits: 0 },
    ],
    subjects: ['none', 'one', 'four', 'hyper', 'nginx', 'haproxy', 'pingora', 'pingora-four', 'reply-from'],
  },
  {
    ...http,
    name: 'threads',
    title: 'phases that compute for some milliseconds, in threads (--cores 2)',
    // The load is a small part of the work: it may share the last core.
    sharesCores: true,
    against: ['costly-1'],
    main: 'requestsPerSecond',
    isMoreBetter: true,
    subjects: ['costly', 'costly-1', 'costly-2'],
  },
  {
    name: 'crossing',
    title: 'the way to the phases and back, alone; by requests in flight',
    measure: 'crossing',
    build: 'crossing',
    connections: [1, 8, 64, 256],
    settingOf: (inFlight) => `${inFlight} in flight`,
    against: ['one'],
    main: 'cpuMicros',
    columns: [
      { field: 'requestsPerSecond', title: 'requests/s', digits: 0 },
      { field: 'cpuMicros', title: 'CPU µs', digits: 2 },
      { field: 'jsMicros', title: 'JS µs', digits: 2 },
      { field: 'batch', title: 'batch', digits: 1 },
      { field: 'p50Micros', title: 'p50 µs', digits: 1 },
      { field: 'p99Micros', title: 'p99 µs', digits: 1 },
    ],
    subjects: ['one', 'fused', 'three', 'async', 'slow'],
  },
]

/** What stands over the table of `connections` of a case. */
export function settingOf(found, connections) {
  if (found.settingOf !== undefined) return found.settingOf(connections)
  const count = `${connections.toLocaleString('en-US')} connection${connections === 1 ? '' : 's'}`
  return found.streams === undefined ? count : `${count} × ${found.streams} streams`
}
