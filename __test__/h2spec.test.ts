// The conformance tests of HTTP/2 by github.com/summerwind/h2spec, all of them.
import { readFileSync, rmSync } from 'node:fs'
import { describe, expect, onTestFinished, test } from 'vitest'
import { HttpPeer } from '../ts/index.js'
import { Client } from './support/client.js'
import { GoTools } from './support/go.js'
import { startOrigin } from './support/origin.js'
import { startProxy } from './support/proxy.js'
import { startTls, startTlsOrigin } from './support/tls.js'

const go = await GoTools.build()

/** What it has found: how many cases there are, and those that did not pass, with what came instead. */
async function h2spec(port: number, ...flags: string[]) {
  const report = `target/h2spec-${process.pid}-${port}.xml`
  onTestFinished(() => rmSync(report, { force: true }))
  const to = ['--host', '127.0.0.1', '--port', String(port), '--timeout', '10']
  const { code, output } = await go.run('h2spec', [...to, '--strict', '--junit-report', report, ...flags])
  const cases = [
    ...readFileSync(report, 'utf8').matchAll(
      /<testcase package="(.+?)" classname="(.+?)" time=".+?">(.*?)<\/testcase>/gs,
    ),
  ]
  const failed = cases
    .filter(([, , , found]) => found !== '')
    .map(([, section, name, found]) => ({ case: `${section}: ${name}`, found: found!.trim() }))
  return { code, failed, count: cases.length, output }
}

// Neither answers before it has all of a request: one that is answered has ended, and some of what the
// suite sends afterwards is no fault any more.
const ORIGINS: Record<string, () => Promise<HttpPeer>> = {
  'an origin that speaks HTTP/1.1': async () => {
    const { address } = await startOrigin((_, res) => void res.end('hello'))
    return new HttpPeer(address)
  },
  'an origin that speaks HTTP/2': async () => {
    const { port } = await startTlsOrigin('clear', (req, res) => {
      req.on('end', () => res.end('hello')).resume()
    })
    return new HttpPeer(`127.0.0.1:${port}`, { protocol: 'h2' })
  },
}

describe.skipIf(go.missing !== undefined)(go.named('h2spec'), () => {
  test.each(Object.keys(ORIGINS))('passes over TLS, in front of %s', async (origin) => {
    const { to } = await startTls(undefined, { upstreamPeer: await ORIGINS[origin]!() })
    const { code, failed, count } = await h2spec(to.port, '--tls', '--insecure')
    expect({ code, failed, count }).toEqual({ code: 0, failed: [], count: 146 })
  })

  // Who does not begin with the preface of HTTP/2 speaks HTTP/1.1 to a port that speaks both, and gets
  // the 400 that RFC 9112 §3 asks for. Then the connection closes, which is what the case is about, but
  // it takes the bytes before the end for a frame.
  test.each(Object.keys(ORIGINS))('passes in the clear but for one case, in front of %s', async (origin) => {
    const { to } = await startProxy({ upstreamPeer: await ORIGINS[origin]!() })
    const { failed, count } = await h2spec(to.port)
    expect(failed).toEqual([
      {
        case: 'http2/3.5: Sends invalid connection preface',
        found: expect.stringContaining('the frame header looked like an HTTP/1.1 header'),
      },
    ])
    expect(count).toBe(146)
  })
})

test('what is neither HTTP/2 nor HTTP/1.1 is answered with 400, and closed', async () => {
  const origin = await startOrigin()
  const { to } = await startProxy({ upstreamPeer: new HttpPeer(origin.address) })
  const client = await Client.connect(to)
  const reply = await client.ask('INVALID CONNECTION PREFACE\r\n\r\n')
  expect([reply.status, reply.header('connection')]).toEqual([400, 'close'])
  await client.closed
  expect(origin.connections).toBe(0)
})
