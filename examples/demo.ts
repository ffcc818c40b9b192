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
  selfSigned,
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

/** One server with two services, on these ports: the proxy's, its own for TLS, the origin's. */
async function start(plainPort: number, securePort: number, originPort: number) {
  const server = new Server({ graceMs: 10_000 })
  const demo = new Demo()
  const origin = server.addService(new DemoOrigin()).addTcp(`127.0.0.1:${originPort}`)
  const proxy = server.addService(new HttpProxy(demo))
  const plain = proxy.addTcp(`127.0.0.1:${plainPort}`)
  const secure = proxy.addTls(`127.0.0.1:${securePort}`, selfSigned('localhost', '127.0.0.1', '::1'))
  await server.start()
  demo.live = new HttpPeer(origin.url)
  return { server, origin, plain, secure }
}

/** Sends a line through a WebSocket, and closes it when the line has come back. */
const talk = (url: string) =>
  `new (require("ws"))("${url}", { rejectUnauthorized: false })` +
  '.on("open", function () { this.send("hello") })' +
  '.on("message", function (text) { console.log(String(text)); if (String(text) === "hello") this.close() })'

function tell(origin: Endpoint, plain: Endpoint, secure: Endpoint) {
  const upgrade = [
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: aGVsbG8sIG1pbGxyYWNlIQ==',
  ]
  const asking = upgrade.map((field) => `-H '${field}'`).join(' ')
  const commands = [
    ['a page of the origin, through the proxy', `curl ${plain.url}/`],
    ['answered by requestFilter, no origin is asked', `curl ${plain.url}/hello`],
    ['a POST that the origin echoes', `curl --data 'some text' ${plain.url}/echo`],
    ['the first peer is dead, failToConnect tries another', `curl -i ${plain.url}/failover`],
    ['a download that comes line by line', `curl --no-buffer ${plain.url}/stream`],
    ['upstreamRequestFilter set x-via, responseFilter x-tries', `curl -i ${plain.url}/headers`],
    ['HTTP/2 over TLS; -k, as the certificate has signed itself', `curl -ik ${secure.url}/headers`],
    ['HTTP/2 in the clear, on the port of HTTP/1.1', `curl -i --http2-prior-knowledge ${plain.url}/headers`],
    [
      'a WebSocket: curl shows how the origin greets, and gives up after 2 seconds',
      `curl -i -N --max-time 2 ${asking} ${plain.url}/ws`,
    ],
    [
      'a WebSocket over TLS that says hello and hears it back (in this folder, which has the package ws)',
      `node -e '${talk(`wss${secure.url.slice('https'.length)}/ws`)}'`,
    ],
  ]
  console.log(`The proxy listens on ${plain.url} and ${secure.url}, its origin on ${origin.url}. Try:\n`)
  for (const [what, command] of commands) console.log(`  # ${what}\n  ${command}\n`)
  console.log('Ctrl-C stops both at once, SIGTERM after the requests under way.\n')
}

const { server, origin, plain, secure } = await start(8080, 8443, 8081).catch((error: unknown) => {
  // Somebody has one of these ports: take any that are free.
  if (error instanceof UsageError && error.code === 'ADDRESS_IN_USE') return start(0, 0, 0)
  throw error
})
tell(origin, plain, secure)
await server.run()
console.log('Stopped.')
