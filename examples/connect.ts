// A proxy for CONNECT, which browsers and curl send for https:// through a proxy. Where a tunnel leads
// is for a phase to say: here, to one place or nowhere.
import { HttpPeer, HttpProxy, type ProxyHttp, Server, type Session } from 'millrace'

const places = new Map([['origin.example:443', new HttpPeer('http://127.0.0.1:3000')]])

const peerOf = ({ request }: Session) =>
  request.method === 'CONNECT' ? places.get(request.host.toLowerCase()) : undefined

class Gate implements ProxyHttp {
  requestFilter(session: Session) {
    if (peerOf(session) === undefined) session.respond(403)
  }
  upstreamPeer(session: Session) {
    return peerOf(session)!
  }
  logging(session: Session) {
    const { received, sent } = session.bytes
    console.log(`${session.request.target}: ${received} bytes in, ${sent} bytes out`)
  }
}

const server = new Server()
server.addService(new HttpProxy(new Gate(), { connect: true })).addTcp('127.0.0.1:8000')
await server.run()
