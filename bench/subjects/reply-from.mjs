// @fastify/reply-from as its documentation has it: undici's pool beneath, connections kept alive.
import replyFrom from '@fastify/reply-from'
import fastify from 'fastify'
import { origin, serveUntilAbandoned } from './subject.mjs'

const app = fastify()
// Bodies are for the origin, whatever they are.
app.addContentTypeParser('*', (_request, body, done) => done(null, body))
app.register(replyFrom, { base: origin })
app.all('/*', (_request, reply) => reply.from())
await app.listen({ host: '127.0.0.1', port: 0 })
serveUntilAbandoned(app.server.address().port)
