// A phase that computes for some milliseconds.
import { createHash } from 'node:crypto'
import { HttpPeer } from 'millrace'

const bytes = Buffer.alloc(4 * 1024 * 1024, 'millrace')

export default {
  upstreamPeer: new HttpPeer(process.argv[2]),
  requestFilter(session) {
    const hash = createHash('sha256').update(bytes).update(session.request.path).digest('hex')
    if (hash === '') session.respond(403)
  },
}
