import { HttpPeer, HttpProxy, type ProxyHttp, type RequestHeader, Server, type Session } from 'millrace'

const origin = new HttpPeer('http://127.0.0.1:3000') // made once and kept

class Gateway implements ProxyHttp {
  requestFilter(session: Session) {
    if (session.request.path.startsWith('/internal')) session.respond(403)
  }
  upstreamPeer() {
    return origin
  }
  upstreamRequestFilter(_session: Session, request: RequestHeader) {
    request.headers.set('x-via', 'millrace')
  }
}

const server = new Server()
server.addService(new HttpProxy(new Gateway())).addTcp('127.0.0.1:8000')
await server.run() // until SIGTERM, then lets requests end; SIGINT stops at once
