// Sends a copy of every GET to a second origin, whose answers nobody waits for.
import { HttpPeer, HttpProxy, Server } from 'millrace'

const shadow = new HttpPeer('http://127.0.0.1:3001')

const proxy = new HttpProxy({
  upstreamPeer: new HttpPeer('http://127.0.0.1:3000'),
  requestFilter: (session) => {
    const { method, target, headers } = session.request
    if (method !== 'GET' || !target.startsWith('/')) return
    const accept = headers.get('accept') ?? '*/*'
    session.subrequest(target, {
      peer: shadow,
      headers: { accept, 'x-mirrored': session.id },
      detached: true,
    })
  },
})

const server = new Server()
server.addService(proxy)
proxy.addTcp('127.0.0.1:8000')
await server.run()
