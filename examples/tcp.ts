// Two services of connections: a chat, each connection a stream of Node.js, and a proxy that passes its
// connections on to a database without a word in JavaScript.
import { createInterface } from 'node:readline'
import { Server, TcpApp, type TcpConnection, TcpPeer, TcpProxy } from 'millrace'

const present = new Set<TcpConnection>()

async function chat(connection: TcpConnection) {
  present.add(connection)
  connection.on('close', () => present.delete(connection))
  connection.signal.addEventListener('abort', () => connection.end('The server closes. Good-bye!\n'))
  connection.write(`${present.size} here, you are ${connection.client.port}\n`)
  for await (const line of createInterface({ input: connection }))
    for (const other of present) if (other !== connection) other.write(`${connection.client.port}: ${line}\n`)
}

const database = new TcpPeer(process.env.DATABASE ?? '127.0.0.1:5432', { connectTimeoutMs: 1_000 })

const server = new Server()
server.addService(new TcpApp(chat)).addTcp('127.0.0.1:8000')
server.addService(new TcpProxy(database, { idleTimeoutMs: 3_600_000 })).addTcp('127.0.0.1:8443')
await server.run()
