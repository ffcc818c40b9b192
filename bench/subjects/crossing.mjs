// The crossing without a proxy around it: `node crossing.mjs VARIANT IN_FLIGHT WARM_UP_MS MEASURE_MS`, with the
// addon that was built for it in MILLRACE_BINARY. It reaches into the code, as no user could.
import { createRequire } from 'node:module'
import { HttpPeer, HttpProxy, numberOf, theEnvironment } from '../../target/bench/inside/inside.js'

const [, , variant, inFlight, warmUpMs, measureMs] = process.argv
const addon = createRequire(import.meta.url)(process.env.MILLRACE_BINARY)

const peer = new HttpPeer('http://127.0.0.1:9')
const settled = Promise.resolve()
const aMillisecond = () => new Promise((resolve) => setTimeout(resolve, 1))
let calls = 0

const decide = ({ request }) => {
  if (request.path.startsWith('/internal') || request.headers.get('x-spare') !== undefined)
    throw new Error('not asked for')
}

const phases = {
  one: {
    upstreamPeer(session) {
      decide(session)
      return peer
    },
  },
  fused: {
    earlyRequestFilter() {},
    requestFilter: decide,
    proxyUpstreamFilter() {},
    upstreamPeer: () => peer,
  },
  three: {
    requestFilter: decide,
    upstreamPeer: () => peer,
    upstreamRequestFilter: (_session, request) => request.headers.set('x-via', 'millrace'),
    responseFilter: (_session, response) => response.headers.set('x-served-by', 'millrace'),
  },
  async: {
    async upstreamPeer(session) {
      await settled
      decide(session)
      return peer
    },
  },
  slow: {
    async upstreamPeer(session) {
      if (++calls % 20 === 0) await aMillisecond()
      decide(session)
      return peer
    },
  },
}

const environment = theEnvironment()
const proxy = new HttpProxy(phases[variant], { threads: 1, workStealing: false })
numberOf(peer)
const plan = { inFlight: Number(inFlight), warmUpMs: Number(warmUpMs), measureMs: Number(measureMs) }
// In the place of a server, which would make a service of it.
const native = { addProxy: (crossing, options) => addon.benchCrossing(crossing, options, plan) }
console.log(proxy.addTo({ native, environment, log: environment.crossing.log, numberOf }))
process.stdin.on('end', () => process.exit()).resume()
