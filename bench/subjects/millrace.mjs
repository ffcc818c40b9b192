// millrace with as much JavaScript as its second argument says: none, peer, or four phases.
import { HttpPeer, HttpProxy, Server } from 'millrace'
import { origin, serveUntilAbandoned, variant } from './subject.mjs'

const peer = new HttpPeer(origin)

const phases = {
  none: { upstreamPeer: peer },
  peer: { upstreamPeer: () => peer },
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
}

const server = new Server()
const proxy = server.addService(new HttpProxy(phases[variant], { threads: 1, workStealing: false }))
const http = proxy.addTcp('127.0.0.1:0')
await server.start()
serveUntilAbandoned(http.address.port)
