// Error pages of one's own, in HTML for browsers and in JSON for programs, with a number that is also in the
// log. docs/phases/fail-to-proxy.md says more.
import { HttpPeer, HttpProxy, type ProxyError, type ProxyHttp, Server, type Session } from 'millrace'

const origin = new HttpPeer('http://127.0.0.1:3000', { connectTimeoutMs: 500 })

class Pages implements ProxyHttp {
  upstreamPeer() {
    return origin
  }
  failToProxy(session: Session, error: ProxyError) {
    const { id, request } = session
    const { status } = error
    const retry: Record<string, string> = status === 502 || status === 504 ? { 'retry-after': '5' } : {}
    if (request.headers.get('accept')?.includes('text/html')) {
      session.respond({
        status,
        headers: { 'content-type': 'text/html; charset=utf-8', ...retry },
        body: `<!doctype html><title>${status}</title><h1>Sorry</h1><p>Please tell us this number: ${id}</p>`,
      })
    } else {
      session.respond({
        status,
        headers: { 'content-type': 'application/problem+json', ...retry },
        body: JSON.stringify({ type: 'about:blank', status, instance: id }),
      })
    }
  }
  logging({ id, request }: Session, error: ProxyError | undefined) {
    if (error) console.log(`${id}: ${request.method} ${request.path} failed: ${error.code}`)
  }
}

const server = new Server()
server.addService(new HttpProxy(new Pages())).addTcp('127.0.0.1:8000')
await server.run()
