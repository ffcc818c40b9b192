// HTTP/2 on both sides. Clients speak it over TLS, where ALPN chooses it, or in the clear by prior
// knowledge; the origin gets it in the clear, on connections that all clients share.
import {
  HttpPeer,
  HttpProxy,
  type ProxyHttp,
  type ResponseHeader,
  Server,
  type Session,
  selfSigned,
} from 'millrace'

const origin = new HttpPeer('http://127.0.0.1:3000', { protocol: 'h2', h2MaxStreams: 200 })

class Gateway implements ProxyHttp {
  upstreamPeer() {
    return origin
  }
  responseFilter(session: Session, response: ResponseHeader) {
    const { request, tls, upstream } = session
    const way = tls === undefined ? 'in the clear' : `over TLS (${tls.alpn ?? 'no ALPN'})`
    const place = upstream?.reused ? 'an old' : 'a new'
    response.headers.set('x-way', `HTTP/${request.version} ${way}, on ${place} connection to the origin`)
  }
}

const server = new Server()
const http2 = { maxConcurrentStreams: 200, streamWindowBytes: 128 * 1024 } // 25 MiB for each connection at most
const proxy = server.addService(new HttpProxy(new Gateway(), { http2 }))
proxy.addTcp('127.0.0.1:8000') // HTTP/1.1, and HTTP/2 for those who begin with it
proxy.addTls('127.0.0.1:8443', selfSigned('localhost', '127.0.0.1'))
await server.run()
