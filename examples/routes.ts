// A gateway without a phase: all of it is values, which Rust evaluates. One thing is code, and only for
// the requests it is about: a key is asked for beneath /api.
import { HttpPeer, HttpProxy, type Route, Server } from 'millrace'

const origin = new HttpPeer('http://127.0.0.1:3000')

const routes: Route[] = [
  { match: { path: '/health' }, respond: { status: 200, body: 'fine\n' } },
  { match: { path: '/blog/*' }, redirect: { to: 'https://blog.example/{*}', status: 308 } },
  {
    match: { path: '/api/*' },
    phases: {
      requestFilter: {
        match: { header: { 'x-key': false } },
        handler: (session) => session.respond({ status: 401, body: 'a key, please\n' }),
      },
    },
    upstreamPeer: origin,
    rewrite: '/v1/{*}',
    requestHeaders: { set: { 'x-api': '1' }, remove: ['cookie'] },
  },
  {
    match: { host: '*.static.example', method: ['GET', 'HEAD'] },
    upstreamPeer: origin,
    rewrite: '/files{path}',
  },
  { match: { host: '*.static.example' }, respond: 405 },
  { match: { path: '/*' }, upstreamPeer: origin },
]

const server = new Server()
const responseHeaders = { set: { 'x-content-type-options': 'nosniff' }, remove: ['x-powered-by'] }
server.addService(new HttpProxy({}, { routes, responseHeaders })).addTcp('127.0.0.1:8000')
await server.run()
