// Hints for the client before the answer: one of our own, and the origin's under the name that the client knows.
import { HttpPeer, HttpProxy, Server } from 'millrace'

const proxy = new HttpProxy({
  upstreamPeer: new HttpPeer('http://127.0.0.1:3000'),
  requestFilter: (session) => {
    if (session.request.path === '/') session.sendEarlyHints('</style.css>; rel=preload; as=style')
  },
  interimResponseFilter: (_session, response) => {
    const links = response.headers.getAll('link')
    response.headers.set(
      'link',
      links.map((link) => link.replace('<http://origin.internal/', '</')),
    )
  },
})

const server = new Server()
server.addService(proxy)
proxy.addTcp('127.0.0.1:8000')
await server.run()
