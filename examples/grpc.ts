// A proxy for gRPC, in the clear and over TLS, that asks for a token. docs/grpc.md says more.
import { HttpPeer, HttpProxy, type ProxyHttp, Server, type Session, selfSigned } from 'millrace'

const origin = new HttpPeer('http://127.0.0.1:3000', {
  protocol: 'h2',
  readTimeoutMs: 0, // a stream may be silent for as long as it likes
})

class Gateway implements ProxyHttp {
  requestFilter(session: Session) {
    if (session.request.headers.get('authorization') === 'Bearer secret') return
    session.respond({
      status: 200,
      headers: {
        'content-type': 'application/grpc',
        'grpc-status': '16', // UNAUTHENTICATED
        'grpc-message': 'a token is needed',
      },
    })
  }
  upstreamPeer() {
    return origin
  }
  logging(session: Session) {
    console.log(session.summary())
  }
}

const server = new Server()
const proxy = server.addService(new HttpProxy(new Gateway(), { bodyReadTimeoutMs: 0 }))
proxy.addTcp('127.0.0.1:8000')
proxy.addTls('127.0.0.1:8443', selfSigned('localhost', '127.0.0.1'))
await server.run()
