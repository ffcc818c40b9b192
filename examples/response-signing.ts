// Signs responses (RFC 9421), so that who gets them through others can tell that they are ours: the status,
// the path that was asked for, what kind of content it is, and its digest where the origin gives one.
// docs/phases/response-filter.md says more.
import { generateKeyPairSync, sign } from 'node:crypto'
import { HttpPeer, HttpProxy, type ProxyHttp, type ResponseHeader, Server, type Session } from 'millrace'

const origin = new HttpPeer('http://127.0.0.1:3000')
const { privateKey, publicKey } = generateKeyPairSync('ed25519') // in earnest: read it from a file
const spki = publicKey.export({ type: 'spki', format: 'der' }).toString('base64')

class Signer implements ProxyHttp {
  requestFilter(session: Session) {
    if (session.request.path === '/.well-known/signing-key') session.respond({ status: 200, body: spki })
  }
  upstreamPeer() {
    return origin
  }
  responseFilter({ request }: Session, { status, headers }: ResponseHeader) {
    const parts: [string, string][] = [
      ['"@status"', String(status)],
      ['"@path";req', request.path],
    ]
    for (const name of ['content-type', 'content-digest']) {
      const value = headers.getAll(name).join(', ')
      if (value !== '') parts.push([`"${name}"`, value])
    }
    const names = parts.map(([name]) => name).join(' ')
    const params = `(${names});created=${Math.floor(Date.now() / 1000)};keyid="edge";alg="ed25519"`
    const base = [...parts, ['"@signature-params"', params]].map(([name, value]) => `${name}: ${value}`)
    const signature = sign(null, Buffer.from(base.join('\n')), privateKey).toString('base64')
    headers.set('signature-input', `edge=${params}`)
    headers.set('signature', `edge=:${signature}:`)
  }
}

const server = new Server()
server.addService(new HttpProxy(new Signer())).addTcp('127.0.0.1:8000')
await server.run()
