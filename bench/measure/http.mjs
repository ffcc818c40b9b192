// Requests on a number of connections: throughput, CPU of the subject for each, times of answers.
import { settingOf } from '../cases.mjs'
import { find } from '../peers.mjs'
import { cpuMicros, outputOf, pidsOf, Stop } from '../processes.mjs'
import { relayBinary } from '../subjects.mjs'

const WARM_UP_MS = { first: 1_500, next: 300 } // the first warms up the subject, the next its connections

export async function* measure({ found, subject, run, place }) {
  const running = await run.start(subject, place)
  try {
    for (const [index, connections] of (run.options.connections ?? found.connections).entries()) {
      const warmUp = index === 0 ? WARM_UP_MS.first : WARM_UP_MS.next
      const plan = { ...found, connections, warmUp, ms: run.options.seconds * 1_000, tls: place.tls }
      const usesH2load = found.streams !== undefined && find('h2load') !== undefined
      const figures = await (usesH2load ? h2load : load)(run, subject, running, plan)
      yield { setting: settingOf(found, connections), figures }
    }
  } finally {
    await run.stop(running)
  }
}

export async function load(run, subject, running, { connections, streams, bytes, warmUp, ms, tls }) {
  const options = {
    pids: pidsOf(running).join(','),
    connections,
    bytes,
    'warm-up': warmUp,
    measure: ms,
    ...(tls === undefined ? {} : { ca: tls.cert }),
    ...(streams === undefined ? {} : { streams }),
  }
  const words = Object.entries(options).map(([name, value]) => `${name}=${value}`)
  const command = [relayBinary, 'load', running.address, ...words]
  return JSON.parse(await outputOf(run.loadCore, command, `the load on ${subject.title}`))
}

/** h2load is faster than a generator that looks at every byte; here counts, lengths and statuses are checked. */
async function h2load(run, subject, running, { connections, streams, bytes, warmUp, ms }) {
  const once = async (requests) => {
    const command = [find('h2load'), '-t', '1', '-c', connections, '-m', streams, '-n', requests]
    for (const field of ['accept-encoding: gzip, br', 'cookie: sid=0123456789abcdef; theme=dark'])
      command.push('-H', field)
    command.push(`https://${running.address}/bytes/${bytes}?page=7`)
    return read(await outputOf(run.loadCore, command.map(String), `h2load on ${subject.title}`))
  }
  const read = (text) => {
    const number = (pattern) => Number(pattern.exec(text)?.[1])
    const requests = number(/^requests: (\d+) total/m)
    const isWhole =
      /^Application protocol: h2$/m.test(text) &&
      number(/^requests: .* (\d+) succeeded/m) === requests &&
      number(/^status codes: (\d+) 2xx/m) === requests &&
      number(/^traffic: .* \((\d+)\) data$/m) === requests * bytes
    if (!isWhole) throw new Stop(`${subject.title} gave wrong answers:\n${text}`)
    return { requests, requestsPerSecond: number(/^finished in .*, ([\d.]+) req\/s/m) }
  }
  const few = connections * streams * 10
  let { requestsPerSecond } = await once(few)
  // The first rate is that of a cold subject.
  ;({ requestsPerSecond } = await once(Math.max(few, Math.round((requestsPerSecond * warmUp) / 1_000))))
  const pids = pidsOf(running)
  const before = cpuMicros(pids)
  const figures = await once(Math.max(few, Math.round((requestsPerSecond * ms) / 1_000)))
  return { ...figures, cpuMicros: (cpuMicros(pids) - before) / figures.requests }
}
