// millrace with as much JavaScript as its second argument says, or with none and so many threads of a kind.
import { readFileSync } from 'node:fs'
import { HttpPeer, HttpProxy, Server } from 'millrace'
import { cert, key, origin, protocol, serveUntilAbandoned, variant } from './subject.mjs'

const peer = new HttpPeer(origin)
const spare = new HttpPeer(origin)

/** Decides from the path and one field. */
const choose = ({ request }) =>
  request.path.startsWith('/internal') || request.headers.get('x-spare') !== undefined ? spare : peer

const settled = Promise.resolve()

const phases = {
  none: { upstreamPeer: peer },
  one: { upstreamPeer: choose },
  async: {
    async upstreamPeer(session) {
      await settled
      return choose(session)
    },
  },
  four: {
    requestFilter(session) {
      if (session.request.path.startsWith('/internal')) session.respond(403)
    },
    upstreamPeer: () => peer,
    upstreamRequestFilter(_session, request) {
      request.headers.set('x-via', 'millrace')
    },
    responseFilter(_session, response) {
      response.headers.set('x-served-by', 'millrace')
    },
  },
  // They look at every piece and let it go on as it is.
  body: { upstreamPeer: peer, requestBodyFilter() {}, responseBodyFilter() {} },
}

const [, jsThreads] = /^costly-(\d+)$/.exec(variant) ?? []
const module = new URL('./costly.mjs', import.meta.url)
if (variant === 'costly') phases.costly = (await import(module)).default

const [, kind = 'isolated', threads = '1'] = /^(isolated|stealing)-(\d+)$/.exec(variant) ?? []
const options = { threads: Number(threads), workStealing: kind === 'stealing' }

const server = new Server()
const proxy = server.addService(
  jsThreads === undefined
    ? new HttpProxy(phases[variant] ?? phases.none, options)
    : new HttpProxy(module, { ...options, jsThreads: Number(jsThreads) }),
)
const address = '127.0.0.1:0'
const endpoint =
  cert === undefined
    ? proxy.addTcp(address)
    : proxy.addTls(address, { cert: readFileSync(cert), key: readFileSync(key), h2: protocol === 'h2' })
await server.start()
serveUntilAbandoned(endpoint.address.port)
