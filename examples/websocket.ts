// A proxy for WebSocket: nothing has to be switched on. Phases run on the request that asks for the
// upgrade and on the origin's answer; afterwards bytes go through without JavaScript.
import { HttpPeer, HttpProxy, type ProxyHttp, Server, type Session } from 'millrace'

const origin = new HttpPeer('http://127.0.0.1:3000')

class Chat implements ProxyHttp {
  requestFilter(session: Session) {
    const wantsSocket = session.request.headers.get('upgrade')?.toLowerCase() === 'websocket'
    if (wantsSocket && session.request.query !== 'token=secret') session.respond(401)
  }
  upstreamPeer() {
    return origin
  }
  logging(session: Session) {
    const { received, sent } = session.bytes
    console.log(`${session.request.path}: ${received} bytes in, ${sent} bytes out`)
  }
}

const server = new Server()
server.addService(new HttpProxy(new Chat(), { tunnelIdleTimeoutMs: 120_000 })).addTcp('127.0.0.1:8000')
await server.run()
