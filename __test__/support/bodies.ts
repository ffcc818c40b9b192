// Bodies with clients and origins of both versions.
import { once as event } from 'node:events'
import { type ClientHttp2Session, connect as connectH2 } from 'node:http2'
import { onTestFinished } from 'vitest'
import { type AnyPhases, HttpPeer, type ProxyError } from '../../ts/index.js'
import { get, once, post } from './client.js'
import { startOrigin } from './origin.js'
import { startProxy, until } from './proxy.js'
import { startTlsOrigin } from './tls.js'

export interface Got {
  status: number
  headers: Record<string, string | undefined>
  body: string
}

/** A version of HTTP. */
export type Version = 'h1' | 'h2'

/** An origin that sends the request's body back, or the word `fixed` for that path, in either version. */
export async function echoing(version: Version): Promise<HttpPeer> {
  if (version === 'h2') {
    const origin = await startTlsOrigin('clear', (req, res) => {
      res.setHeader('etag', '"tag"')
      if (req.url === '/fixed') res.end('fixed')
      else req.pipe(res)
    })
    return new HttpPeer(`127.0.0.1:${origin.port}`, { protocol: 'h2' })
  }
  const origin = await startOrigin((seen, res) => {
    res.setHeader('etag', '"tag"')
    const body = seen.url === '/fixed' ? 'fixed' : seen.body
    res.setHeader('content-length', body.length)
    res.end(body)
  })
  return new HttpPeer(origin.address)
}

/** One request of this version. */
export async function ask(
  version: Version,
  to: { host: string; port: number },
  path: string,
  body = '',
): Promise<Got> {
  if (version === 'h1') {
    const reply = await once(to, body === '' ? get(path) : post(path, body))
    return { status: reply.status, headers: Object.fromEntries(reply.headers), body: reply.body }
  }
  const session: ClientHttp2Session = connectH2(`http://${to.host}:${to.port}`)
  session.on('error', () => {})
  onTestFinished(() => session.destroy())
  const head0 = { ':path': path, ':method': body === '' ? 'GET' : 'POST' }
  const stream = session.request(head0, { endStream: body === '' })
  if (body !== '') stream.end(body)
  const [head] = await event(stream, 'response')
  let text = ''
  for await (const piece of stream.setEncoding('utf8')) text += piece
  return { status: head[':status'], headers: head, body: text }
}

export const VERSIONS: Version[] = ['h1', 'h2']
/** Client and origin. */
export const PAIRS = VERSIONS.flatMap((down) => VERSIONS.map((up): [Version, Version] => [down, up]))

/** Sends one request through a proxy with these phases, in front of an origin that echoes: what came back, and the error. */
export const throughPair =
  (down: Version, up: Version) =>
  async (phases: Omit<AnyPhases, 'upstreamPeer'>, body = 'some text', path = '/') => {
    const errors: (ProxyError | undefined)[] = []
    const { to } = await startProxy({
      upstreamPeer: await echoing(up),
      logging: (_session, error) => void errors.push(error),
      ...phases,
    })
    const got = await ask(down, to, path, body)
    await until(() => errors.length === 1)
    return { ...got, error: errors[0] }
  }
