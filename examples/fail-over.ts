// Two origins. The second is asked where the first cannot be reached, dies before it has answered, or says
// that it is too busy. docs/phases/error-while-proxy.md says more.
import {
  HttpPeer,
  HttpProxy,
  ProxyError,
  type ProxyHttp,
  type ResponseHeader,
  Server,
  type Session,
} from 'millrace'

const origins = [
  new HttpPeer('http://127.0.0.1:3000', { connectTimeoutMs: 500 }),
  new HttpPeer('http://127.0.0.1:3001', { connectTimeoutMs: 500 }),
]

interface Ctx {
  tried: number
}

const isLast = (ctx: Ctx) => ctx.tried === origins.length - 1

class FailOver implements ProxyHttp<Ctx> {
  newCtx() {
    return { tried: 0 }
  }
  upstreamPeer(_session: Session, ctx: Ctx) {
    return origins[ctx.tried]!
  }
  failToConnect(_session: Session, _peer: HttpPeer, _error: ProxyError, ctx: Ctx) {
    return this.next(ctx)
  }
  upstreamResponseFilter(_session: Session, response: ResponseHeader, ctx: Ctx) {
    // Only while there is another one to ask: the last one's answer is the client's.
    if (response.status === 503 && !isLast(ctx)) throw new ProxyError({ status: 503 })
  }
  errorWhileProxy(_session: Session, _peer: HttpPeer, error: ProxyError, ctx: Ctx) {
    // A POST that may have been carried out is not sent again.
    return error.canRetry ? this.next(ctx) : 'fail'
  }
  logging(session: Session) {
    console.log(session.summary())
  }

  private next(ctx: Ctx) {
    if (isLast(ctx)) return 'fail'
    ctx.tried++
    return 'retry'
  }
}

const server = new Server()
server.addService(new HttpProxy(new FailOver())).addTcp('127.0.0.1:8000')
await server.run()
