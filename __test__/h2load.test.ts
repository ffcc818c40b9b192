// The clients of nghttp2, h2load and nghttp, on all pairs of versions, in the clear and over TLS.
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { HttpPeer, type ProxyError, type Session } from '../ts/index.js'
import { startOrigin } from './support/origin.js'
import { startProxy, until } from './support/proxy.js'
import { ca, startTls, startTlsOrigin } from './support/tls.js'

const run = async (program: string, ...args: string[]) =>
  (await promisify(execFile)(program, args, { timeout: 60_000, maxBuffer: 2 ** 26 })).stdout
const missing = await run('h2load', '--version').then(
  () => undefined,
  () => 'there is no h2load, which Debian has in nghttp2-client',
)
if (missing !== undefined) console.warn(`Tests with the clients of nghttp2 are skipped: ${missing}.`)

const ORIGINS: Record<string, () => Promise<HttpPeer>> = {
  'HTTP/1.1': async () => new HttpPeer((await startOrigin((_, res) => void res.end('hello'))).address),
  'HTTP/2 over TLS': async () => {
    const { port } = await startTlsOrigin({}, (_, res) => void res.end('hello'))
    return new HttpPeer(`https://localhost:${port}`, { ca, protocol: 'h2' })
  },
}
const CASES = Object.keys(ORIGINS).flatMap((origin) =>
  [false, true].flatMap((isTls) => ['h1', 'h2'].map((version) => ({ origin, isTls, version }))),
)

/** A proxy in front of an origin, and what its log came to. */
async function proxied(origin: string, isTls: boolean) {
  const peer = await ORIGINS[origin]!()
  const logged: Record<string, number> = {}
  const phases = {
    upstreamPeer: () => peer,
    logging: ({ request }: Session, error?: ProxyError) => {
      const key = `${request.version} ${error?.code ?? 'well'}`
      logged[key] = (logged[key] ?? 0) + 1
    },
  }
  const { to } = isTls ? await startTls(undefined, phases) : await startProxy(phases)
  return { url: `http${isTls ? 's' : ''}://127.0.0.1:${to.port}/`, logged }
}

describe.skipIf(missing !== undefined)('nghttp2’s clients', () => {
  test.each(CASES)('h2load by $version, TLS $isTls, to an origin of $origin', async (row) => {
    const { url, logged } = await proxied(row.origin, row.isTls)
    const plain = row.version === 'h1' ? ['--h1'] : ['-m', '10']
    const output = await run('h2load', '-n', '2000', '-c', '8', ...plain, url)
    expect(output).toMatch(/requests: 2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed/)
    expect(output).toMatch(/status codes: 2000 2xx/)
    const key = `${row.version === 'h1' ? '1.1' : '2'} well`
    await until(() => logged[key] === 2_000)
    expect(logged).toEqual({ [key]: 2_000 })
  })

  test.each(Object.keys(ORIGINS))('nghttp posts to an origin of %s', async (origin) => {
    const { url } = await proxied(origin, true)
    expect(await run('nghttp', '--no-verify-peer', '-d', 'package.json', url)).toBe('hello')
  })
})
