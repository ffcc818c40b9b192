// A subject really is a proxy in front of the origin, and its phases really run.
import { readFileSync } from 'node:fs'
import * as http from 'node:http'
import * as http2 from 'node:http2'
import * as https from 'node:https'
import { Stop } from './processes.mjs'

export async function check(subject, address, place) {
  const found = await problem(subject, (path) => (place.h2 ? over2 : over1)(address, path, place.tls))
  if (found !== undefined) throw new Stop(`${subject.title} ${found}`)
}

async function problem(subject, get) {
  const { status, headers, body } = await get('/head')
  if (status !== 200 || !body.startsWith('GET /head HTTP/1.1')) return `answered ${status}: ${body}`
  if (!subject.edits) return undefined
  if (!/^x-via: millrace\r$/im.test(body)) return 'did not run the filter of upstream requests'
  if (headers['x-served-by'] !== 'millrace') return 'did not run the filter of responses'
  const refused = await get('/internal')
  return refused.status === 403 ? undefined : 'did not run the filter of requests'
}

function over1(address, path, tls) {
  const url = `${tls === undefined ? 'http' : 'https'}://${address}${path}`
  const options = tls === undefined ? {} : { ca: readFileSync(tls.cert) }
  return new Promise((resolve, reject) => {
    const request = (tls === undefined ? http : https).get(url, { ...options, agent: false }, (response) => {
      const { statusCode: status, headers } = response
      collect(response).then((body) => resolve({ status, headers, body }), reject)
    })
    request.on('error', reject)
  })
}

async function over2(address, path, tls) {
  const session = http2.connect(`https://${address}`, { ca: readFileSync(tls.cert) })
  try {
    return await new Promise((resolve, reject) => {
      session.on('error', reject)
      const stream = session.request({ ':path': path })
      stream.on('error', reject).on('response', (headers) => {
        collect(stream).then((body) => resolve({ status: headers[':status'], headers, body }), reject)
      })
    })
  } finally {
    session.destroy()
  }
}

async function collect(stream) {
  let text = ''
  for await (const piece of stream.setEncoding('utf8')) text += piece
  return text
}
