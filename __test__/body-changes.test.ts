// Bodies of responses changed as a whole or as streams.
import { TransformStream } from 'node:stream/web'
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { HttpPeer, ProxyError, type ResponseHeader } from '../ts/index.js'
import { PAIRS, throughPair } from './support/bodies.js'
import { get, once } from './support/client.js'
import { startOrigin } from './support/origin.js'
import { startProxy, until } from './support/proxy.js'

describe.each(PAIRS)('%s to %s', (down, up) => {
  const through = throughPair(down, up)

  test('transformBody: the whole, with its length and its tag', async () => {
    const { body, headers } = await through({
      responseFilter: (_session, response) => {
        response.transformBody({}, async (whole) => `<${whole}>`)
      },
    })
    expect(body).toBe('<some text>')
    expect([headers['content-length'], headers.etag]).toEqual(['11', 'W/"tag"'])
  })

  test('transformBody that fails can still be answered', async () => {
    const { status, body, error } = await through({
      responseFilter: (_session, response) => {
        response.transformBody({ maxBytes: 4 }, () => 'never')
      },
      failToProxy: (_session, problem) => ({ status: 502, body: problem.code }),
    })
    expect([status, body, error?.code]).toEqual([502, 'BODY_TOO_LARGE', 'BODY_TOO_LARGE'])
  })

  test('transformBody: an empty body', async () => {
    const seen: number[] = []
    const { body, headers } = await through(
      {
        responseFilter: (_session, response) => {
          response.transformBody({}, (whole) => {
            seen.push(whole.length)
            return 'more'
          })
        },
      },
      '',
    )
    expect([body, headers['content-length'], seen]).toEqual(['more', '4', [0]])
  })

  test('transformBody that fails is told to errorWhileProxy, which may have it tried again', async () => {
    const asked: [string, boolean][] = []
    let tries = 0
    const { body, error } = await through(
      {
        responseFilter: (_session, response) => {
          response.transformBody({}, (whole) => {
            if (tries++ === 0) throw new ProxyError({ status: 503, message: 'not now' })
            return `<${whole}>`
          })
        },
        errorWhileProxy: (_session, _peer, problem) => {
          asked.push([problem.code, problem.canRetry])
          return 'retry'
        },
      },
      '',
      '/fixed',
    )
    expect([body, error, asked]).toEqual(['<fixed>', undefined, [['PHASE_FAILED', true]]])
  })

  test('body: as a stream', async () => {
    const upper = () =>
      new TransformStream<Uint8Array, Uint8Array>({
        transform: (chunk, controller) => {
          controller.enqueue(Buffer.from(Buffer.from(chunk).toString().toUpperCase()))
        },
        flush: (controller) => controller.enqueue(Buffer.from('!')),
      })
    const { body } = await through({
      responseFilter: (_session, response) => {
        response.body = (stream) => stream.pipeThrough(upper())
      },
    })
    expect(body).toBe('SOME TEXT!')
  })
})

describe('transformBody', () => {
  const encoded = (coding: string | undefined, body: Buffer) =>
    startOrigin((_seen, res) => {
      if (coding !== undefined) res.setHeader('content-encoding', coding)
      res.setHeader('accept-ranges', 'bytes')
      res.end(body)
    })

  async function transformed(origin: { address: string }, filter: (response: ResponseHeader) => void) {
    const errors: (ProxyError | undefined)[] = []
    const { to } = await startProxy({
      upstreamPeer: new HttpPeer(origin.address),
      responseFilter: (_session, response) => filter(response),
      logging: (_session, error) => void errors.push(error),
    })
    const reply = await once(to, get('/'))
    await until(() => errors.length === 1)
    return { reply, error: errors[0] }
  }

  test('undoes the coding', async () => {
    const origin = await encoded('gzip', gzipSync('plain'))
    const { reply } = await transformed(origin, (r) => r.transformBody({}, (whole) => `${whole} text`))
    expect(reply.body).toBe('plain text')
    for (const name of ['content-encoding', 'accept-ranges']) expect(reply.header(name)).toBeUndefined()
  })

  test.each([
    ['GZIP, br', brotliCompressSync(gzipSync('plain'))],
    ['deflate', deflateSync('plain')],
    ['deflate', deflateRawSync('plain')],
    ['identity', Buffer.from('plain')],
  ])('undoes %s', async (coding, coded) => {
    const origin = await encoded(coding, coded)
    const { reply } = await transformed(origin, (r) => r.transformBody({}, (whole) => `${whole} text`))
    expect(reply.body).toBe('plain text')
  })

  test.each(['zstd', 'gzip, zstd'])('says that it cannot undo %s', async (coding) => {
    const origin = await encoded(coding, Buffer.from('x'))
    const { reply, error } = await transformed(origin, (r) => r.transformBody({}, () => ''))
    expect([reply.status, (error?.cause as { code?: string })?.code]).toEqual([500, 'CANNOT_DECODE'])
  })

  test('decode: false leaves it', async () => {
    const origin = await encoded('gzip', gzipSync('plain'))
    const { reply } = await transformed(origin, (r) => r.transformBody({ decode: false }, () => undefined))
    expect([reply.header('content-encoding'), reply.body]).toEqual([
      'gzip',
      gzipSync('plain').toString('latin1'),
    ])
  })

  test('a bomb does not get past maxBytes', async () => {
    const origin = await encoded('gzip', gzipSync(Buffer.alloc(10_000_000)))
    const { reply, error } = await transformed(origin, (r) =>
      r.transformBody({ maxBytes: 100_000 }, () => ''),
    )
    expect([reply.status, error?.code]).toEqual([502, 'BODY_TOO_LARGE'])
  })

  test('what is no such coding is the origin’s fault', async () => {
    const origin = await encoded('gzip', Buffer.from('plain'))
    const { reply, error } = await transformed(origin, (r) => r.transformBody({}, () => ''))
    expect([reply.status, error?.code]).toEqual([502, 'UPSTREAM_INVALID'])
  })

  test('a 206, wrong options and wrong results are told', async () => {
    const origin = await startOrigin((seen, res) => {
      res.statusCode = seen.url === '/206' ? 206 : 200
      res.end('x')
    })
    const part = await transformed(origin, (r) => {
      r.status = 206
      r.transformBody({}, () => '')
    })
    expect([part.reply.status, (part.error?.cause as { code?: string })?.code]).toEqual([
      500,
      'PARTIAL_CONTENT',
    ])
    const options = await transformed(origin, (r) => r.transformBody({ max: 1 } as object, () => ''))
    expect(options.error?.cause).toMatchObject({ code: 'INVALID_OPTIONS' })
    const result = await transformed(origin, (r) => r.transformBody({}, () => 5 as never))
    expect([result.reply.status, result.error?.code]).toEqual([500, 'PHASE_RETURN'])
  })
})
