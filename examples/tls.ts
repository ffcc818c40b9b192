// A proxy with TLS on both sides, where the origin is https://. CERT and KEY are files as an ACME client
// renews them: at SIGHUP they are read again, and no connection is dropped. Without them a certificate
// for development is made. CLIENT_CA is who may sign the certificates that open /admin.
import {
  type ClientAuth,
  HttpPeer,
  HttpProxy,
  type ProxyHttp,
  type RequestHeader,
  Server,
  type Session,
  selfSigned,
} from 'millrace'

const { CERT, KEY, CLIENT_CA, ORIGIN = 'http://127.0.0.1:3000', ORIGIN_CA } = process.env

const origin = new HttpPeer(ORIGIN, ORIGIN_CA === undefined ? {} : { ca: ORIGIN_CA })
const certificate = () => (CERT && KEY ? { cert: CERT, key: KEY } : selfSigned('localhost', '127.0.0.1'))
const clientAuth: ClientAuth | undefined = CLIENT_CA ? { ca: CLIENT_CA, mode: 'request' } : undefined

class Gateway implements ProxyHttp {
  requestFilter(session: Session) {
    const isAdmin = session.tls?.clientCertificate !== undefined
    if (session.request.path.startsWith('/admin') && !isAdmin) session.respond(403)
  }
  upstreamPeer() {
    return origin
  }
  upstreamRequestFilter(session: Session, request: RequestHeader) {
    request.headers.set('x-client', session.tls?.clientCertificate?.fingerprint256 ?? 'unknown')
  }
}

const server = new Server()
const proxy = server.addService(new HttpProxy(new Gateway()))
const endpoint = proxy.addTls('127.0.0.1:8443', { ...certificate(), ...(clientAuth && { clientAuth }) })

process.on('SIGHUP', () => {
  try {
    endpoint.updateCertificates(certificate())
  } catch (error) {
    console.error('The certificate stays as it was:', error)
  }
})
await server.run()
