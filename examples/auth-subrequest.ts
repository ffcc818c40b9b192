// Asks another origin whether a request is allowed, before it goes on: what it says of the user goes along.
import { HttpPeer, HttpProxy, type ProxyHttp, type RequestHeader, Server, type Session } from 'millrace'

const origin = new HttpPeer('http://127.0.0.1:3000')
const accounts = new HttpPeer('http://127.0.0.1:3001')

interface Ctx {
  user: string
}

class Gate implements ProxyHttp<Ctx> {
  upstreamPeer = origin
  newCtx() {
    return { user: '' }
  }
  async requestFilter(session: Session, ctx: Ctx) {
    const authorization = session.request.headers.get('authorization')
    if (authorization === undefined) return session.respond(401)
    const answer = await session.subrequest('/whoami', { peer: accounts, headers: { authorization } })
    if (answer.status !== 200) return session.respond(403)
    ctx.user = await answer.text()
  }
  upstreamRequestFilter(_session: Session, request: RequestHeader, ctx: Ctx) {
    request.headers.set('x-user', ctx.user)
    request.headers.delete('authorization')
  }
}

const server = new Server()
server.addService(new HttpProxy(new Gate())).addTcp('127.0.0.1:8000')
await server.run()
