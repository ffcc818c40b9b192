// `npm start`: an origin of our own, and in front of it a proxy with phases in TypeScript.
import {
  DemoOrigin,
  type Endpoint,
  HttpPeer,
  HttpProxy,
  type ProxyError,
  type ProxyHttp,
  type RequestHeader,
  type ResponseHeader,
  Server,
  type Session,
  UsageError,
} from 'millrace'

/** What the phases of one request share. */
interface Ctx {
  tries: number
}

class Demo implements ProxyHttp<Ctx> {
  // Nobody listens here.
  readonly dead = new HttpPeer('127.0.0.1:9', { connectTimeoutMs: 500 })
  live!: HttpPeer

  newCtx() {
    return { tries: 0 }
  }

  requestFilter(session: Session) {
    if (session.request.path === '/hello')
      session.respond({ status: 200, body: 'Hello from requestFilter. No origin was asked.\n' })
  }

  upstreamPeer(session: Session, ctx: Ctx) {
    ctx.tries++
    return session.request.path === '/failover' && ctx.tries === 1 ? this.dead : this.live
  }

  failToConnect(_session: Session, peer: HttpPeer, error: ProxyError, ctx: Ctx) {
    console.log(`  ${peer.address}: ${error.code}`)
    return ctx.tries === 1 ? 'retry' : 'fail'
  }

  upstreamRequestFilter(_session: Session, request: RequestHeader) {
    request.headers.set('x-via', 'millrace')
  }

  responseFilter(_session: Session, response: ResponseHeader, ctx: Ctx) {
    response.headers.set('x-tries', String(ctx.tries))
  }

  logging(session: Session, error: ProxyError | undefined) {
    console.log(`  ${session.summary()}${error === undefined ? '' : ` ${error.code}`}`)
  }
}

/** One server with two services, on these ports. */
async function start(proxyPort: number, originPort: number) {
  const server = new Server({ graceMs: 10_000 })
  const demo = new Demo()
  const origin = server.addService(new DemoOrigin()).addTcp(`127.0.0.1:${originPort}`)
  const proxy = server.addService(new HttpProxy(demo)).addTcp(`127.0.0.1:${proxyPort}`)
  await server.start()
  demo.live = new HttpPeer(origin.url)
  return { server, origin, proxy }
}

function tell(origin: Endpoint, proxy: Endpoint) {
  const commands = [
    ['a page of the origin, through the proxy', `curl ${proxy.url}/`],
    ['answered by requestFilter, no origin is asked', `curl ${proxy.url}/hello`],
    ['a POST that the origin echoes', `curl --data 'some text' ${proxy.url}/echo`],
    ['the first peer is dead, failToConnect tries another', `curl -i ${proxy.url}/failover`],
    ['a download that comes line by line', `curl --no-buffer ${proxy.url}/stream`],
    ['upstreamRequestFilter set x-via, responseFilter x-tries', `curl -i ${proxy.url}/headers`],
  ]
  console.log(`The proxy listens on ${proxy.url}, its origin on ${origin.url}. Try:\n`)
  for (const [what, command] of commands) console.log(`  # ${what}\n  ${command}\n`)
  console.log('Ctrl-C stops both, after the requests under way.\n')
}

const { server, origin, proxy } = await start(8080, 8081).catch((error: unknown) => {
  // Somebody has one of these ports: take any that are free.
  if (error instanceof UsageError && error.code === 'ADDRESS_IN_USE') return start(0, 0)
  throw error
})
tell(origin, proxy)
await server.run()
console.log('Stopped.')
