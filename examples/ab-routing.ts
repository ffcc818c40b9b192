// Sends one client in ten to the new version of a site, and lets each client stay where it is.
// docs/phases/upstream-peer.md says more.
import { HttpPeer, HttpProxy, type ProxyHttp, type ResponseHeader, Server, type Session } from 'millrace'

const versions = {
  a: new HttpPeer('http://127.0.0.1:3000'),
  b: new HttpPeer('http://127.0.0.1:3001'),
}
type Version = keyof typeof versions

interface Ctx {
  version: Version
  /** Whether the client has not been told yet. */
  isNew: boolean
}

const known = (cookie = '') => /(?:^|; )version=([ab])(?:;|$)/.exec(cookie)?.[1] as Version | undefined

class Split implements ProxyHttp<Ctx> {
  newCtx({ request }: Session): Ctx {
    const version = known(request.headers.get('cookie'))
    return { version: version ?? (Math.random() < 0.1 ? 'b' : 'a'), isNew: version === undefined }
  }
  upstreamPeer(_session: Session, { version }: Ctx) {
    return versions[version]
  }
  responseFilter(_session: Session, response: ResponseHeader, { version, isNew }: Ctx) {
    if (isNew) response.headers.append('set-cookie', `version=${version}; Path=/; HttpOnly; SameSite=Lax`)
  }
}

const server = new Server()
server.addService(new HttpProxy(new Split())).addTcp('127.0.0.1:8000')
await server.run()
