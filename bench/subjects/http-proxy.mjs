// http-proxy as its documentation has it, with connections to the origin kept alive.
import { Agent, createServer } from 'node:http'
import httpProxy from 'http-proxy'
import { origin, serveUntilAbandoned } from './subject.mjs'

const proxy = httpProxy.createProxyServer({ target: origin, agent: new Agent({ keepAlive: true }) })
proxy.on('error', (_error, _request, response) => response.destroy())
const server = createServer((request, response) => proxy.web(request, response))
server.listen(0, '127.0.0.1', () => serveUntilAbandoned(server.address().port))
