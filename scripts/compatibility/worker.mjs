// A proxy in a worker thread of the compatibility program. It says where it listens, and when a request is in
// a phase that does not end.
import { parentPort, workerData } from 'node:worker_threads'
import { HttpPeer, HttpProxy, Server } from 'millrace'

const server = new Server({ logger: false })
const phases = {
  async requestFilter(session) {
    if (session.request.path !== '/waits') return
    parentPort.postMessage('waits')
    await new Promise(() => {})
  },
  upstreamPeer: new HttpPeer(workerData.origin),
}
const endpoint = server.addService(new HttpProxy(phases, { threads: 1 })).addTcp('127.0.0.1:0')
await server.start()
parentPort.postMessage({ url: endpoint.url })
