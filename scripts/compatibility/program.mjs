// What docs/compatibility.md shows of a runtime: runs in Node.js, Bun and Deno alike, prints a line for
// each thing it tried, and ends with 0 if all went as it has to. It imports millrace as programs do.
//
//   node scripts/compatibility/program.mjs [--examples <folder>]
//   bun scripts/compatibility/program.mjs
//   deno run -A scripts/compatibility/program.mjs
//
// --examples  where the compiled examples/first-proxy.js is; default: target/examples
import { AsyncLocalStorage } from 'node:async_hooks'
import { spawn } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { request as overTls } from 'node:https'
import { connect } from 'node:net'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Worker } from 'node:worker_threads'
import { HttpPeer, HttpProxy, Server, selfSigned } from 'millrace'
import { connecting, freePort, listening, must, step } from './helpers.mjs'

const { values: flags } = parseArgs({
  options: { examples: { type: 'string', default: 'target/examples' } },
})
const REQUESTS = 1000
const IN_FLIGHT = 64

// === the origin ===

/** Answers with what it got of a request, as JSON. */
const origin = createServer((request, response) => {
  const body = []
  request.on('data', (piece) => body.push(piece))
  request.on('end', () => {
    const { url, method, headers } = request
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ url, method, headers, body: Buffer.concat(body).toString() }))
  })
})

// === the steps ===

/** `examples/first-proxy.ts`, the README's, as it stands but for its ports, in a process of its own. */
async function readmeProxy() {
  const port = await freePort()
  const text = readFileSync(join(flags.examples, 'first-proxy.js'), 'utf8')
  const placed = text
    .replace('http://127.0.0.1:3000', `http://127.0.0.1:${origin.address().port}`)
    .replace(':8000', `:${port}`)
  must(placed.includes(`:${port}`), 'first-proxy.js does not name its port')
  // Beside the examples, from where millrace is found by its name.
  const file = join(flags.examples, `first-proxy-${process.pid}.mjs`)
  writeFileSync(file, placed)
  const child = spawn(process.execPath, [...(process.versions.deno ? ['run', '-A'] : []), file], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  try {
    const ended = once(child, 'exit')
    const url = `http://127.0.0.1:${port}`
    await listening(port, () => child.exitCode ?? child.signalCode)
    const seen = await fetch(`${url}/hello?a=1`)
    const { url: target, headers } = await seen.json()
    must(seen.status === 200 && target === '/hello?a=1', `a request came to ${seen.status} ${target}`)
    must(headers['x-via'] === 'millrace', `x-via was ${headers['x-via']}`)
    const refused = await fetch(`${url}/internal/a`)
    await refused.text()
    must(refused.status === 403, `/internal was answered with ${refused.status}`)
    // Windows has no signal that a process can answer to.
    if (process.platform === 'win32') return 'forwards, sets its header, refuses /internal'
    // Not child.kill(): Deno then calls SIGTERM the end, however the child ends.
    process.kill(child.pid, 'SIGTERM')
    const [code, signal] = await ended
    must(code === 0, `ended with ${signal ?? code} at SIGTERM`)
    return 'forwards, sets its header, refuses /internal, ends with 0 at SIGTERM'
  } finally {
    child.kill('SIGKILL')
    rmSync(file, { force: true })
  }
}

async function asyncPhase({ url }) {
  const answer = await fetch(`${url}/async`)
  const { headers } = await answer.json()
  must(answer.status === 200 && headers['x-waited'] === 'yes', `${answer.status}, ${headers['x-waited']}`)
  return 'the request goes on when its promise has settled'
}

async function throwing({ url, errors, events }) {
  for (const path of ['/throw', '/reject']) {
    const answer = await fetch(url + path)
    const text = await answer.text()
    must(answer.status === 500, `${path} was answered with ${answer.status}`)
    must(!text.includes('secret'), `${path} showed its message to the client`)
  }
  while (errors.length < 2) await once(events, 'logged') // which is after the last byte
  must(errors.join() === 'PHASE_FAILED,PHASE_FAILED', `logging was told ${errors}`)
  const after = await fetch(`${url}/after`)
  await after.text()
  must(after.status === 200, `the next request was answered with ${after.status}`)
  return 'answered with 500, logging is told, the process lives'
}

async function bodies({ url }) {
  const changed = await fetch(`${url}/upper`, { method: 'POST', body: 'abc'.repeat(50_000) })
  const { body } = await changed.json()
  must(body === 'ABC'.repeat(50_000), `the origin got ${body.length} bytes`)
  const streamed = await fetch(`${url}/response`)
  const text = await streamed.text()
  must(streamed.status === 201 && text === 'one,two', `${streamed.status} ${text}`)
  return 'a phase changes 150,000 bytes, another answers with a Response whose body is a stream'
}

async function timeLimit({ url }) {
  const late = await fetch(`${url}/late`)
  await late.text()
  must(late.status === 504, `a promise that never settles came to ${late.status}`)
  return 'a promise that never settles is answered with 504'
}

async function leaving({ url, events }) {
  const { host, port } = new URL(url)
  const socket = connect(Number(port), '127.0.0.1')
  await once(socket, 'connect')
  const left = once(events, 'left')
  socket.write(`GET /leave HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
  await once(events, 'waits')
  socket.destroy()
  await left
  return 'session.signal aborts the phase that waits'
}

async function context({ url }) {
  const answers = await Promise.all(['a', 'b', 'c'].map((name) => fetch(`${url}/context/${name}`)))
  const stores = await Promise.all(answers.map(async (answer) => (await answer.json()).headers['x-store']))
  must(stores.join() === '/context/a,/context/b,/context/c', `the stores were ${stores}`)
  return 'AsyncLocalStorage keeps requests apart that are in their phases at once'
}

async function tls({ secure }) {
  const request = overTls(`${secure.url}/tls`, { rejectUnauthorized: false, agent: false })
  request.end()
  const [answer] = await once(request, 'response')
  let text = ''
  for await (const piece of answer) text += piece
  must(answer.statusCode === 200 && JSON.parse(text).url === '/tls', `${answer.statusCode} ${text}`)
  return 'served over TLS'
}

async function worker() {
  const thread = new Worker(new URL('./worker.mjs', import.meta.url), {
    workerData: { origin: `127.0.0.1:${origin.address().port}` },
  })
  const [{ url }] = await once(thread, 'message')
  const answer = await fetch(`${url}/of-a-worker`)
  await answer.text()
  must(answer.status === 200, `a proxy in a worker answered with ${answer.status}`)
  // One is in a phase when the thread goes.
  const cut = fetch(`${url}/waits`).then(
    ({ status }) => status,
    () => 'cut',
  )
  const [said] = await once(thread, 'message')
  must(said === 'waits', `the worker said ${said}`)
  await thread.terminate()
  await cut
  while ((await connecting(Number(new URL(url).port))) === 'connected')
    await new Promise((resolve) => setTimeout(resolve, 20))
  return 'a proxy in a worker ends with it, a request in a phase or not'
}

async function many({ url }) {
  let next = 0
  const client = async () => {
    for (let n = next++; n < REQUESTS; n = next++) {
      const answer = await fetch(`${url}/many/${n}`, { headers: { 'x-number': String(n) } })
      const { url: target, headers } = await answer.json()
      must(
        answer.status === 200 && target === `/many/${n}`,
        `request ${n} came to ${answer.status} ${target}`,
      )
      must(headers['x-seen'] === String(n), `request ${n} has the number ${headers['x-seen']}`)
    }
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, client))
  return 'all answered, each with its own'
}

async function closing({ server, url }) {
  const { cut } = (await server.close({ graceMs: 5_000 })).connections
  must(cut === 0, `${cut} connections were cut`)
  const came = await connecting(Number(new URL(url).port))
  must(came === 'ECONNREFUSED', `its port: ${came}`)
  return 'every connection ends by itself, and nothing listens any more'
}

// === the proxy of the steps ===

async function startProxy() {
  const errors = []
  const events = new EventEmitter()
  const storage = new AsyncLocalStorage()
  const upstream = new HttpPeer(`http://127.0.0.1:${origin.address().port}`)
  const phases = {
    scope: (run, session) => storage.run(session.request.path, run),
    async requestFilter(session) {
      const { path } = session.request
      if (path === '/late') await new Promise(() => {})
      if (path === '/leave') {
        events.emit('waits')
        await once(session.signal, 'abort')
        events.emit('left')
      }
      if (path === '/throw') throw new Error('secret')
      if (path === '/response')
        return new Response(ReadableStream.from(['one', ',', 'two'].map((text) => Buffer.from(text))), {
          status: 201,
        })
      await new Promise((resolve) => setTimeout(resolve, path === '/async' ? 20 : 0))
      if (path === '/reject') throw new Error('secret')
    },
    upstreamPeer: () => upstream,
    upstreamRequestFilter(_session, request) {
      request.headers.set('x-waited', 'yes')
      request.headers.set('x-store', storage.getStore())
      const number = request.headers.get('x-number')
      if (number !== undefined) request.headers.set('x-seen', number)
    },
    requestBodyFilter: {
      match: { path: '/upper' },
      handler: (_session, piece) => Buffer.from(piece.toString('latin1').toUpperCase(), 'latin1'),
    },
    logging(_session, error) {
      if (error === undefined) return
      errors.push(error.code)
      events.emit('logged')
    },
  }
  const server = new Server({ logger: false })
  const service = server.addService(new HttpProxy(phases, { threads: 1, callbackTimeoutMs: 2_000 }))
  const endpoint = service.addTcp('127.0.0.1:0')
  const secure = service.addTls('127.0.0.1:0', selfSigned('localhost'))
  await server.start()
  return { server, url: endpoint.url, errors, secure, events }
}

origin.listen(0, '127.0.0.1')
await once(origin, 'listening')
await step('the proxy of the README', readmeProxy)
const proxy = await startProxy()
await step('an async phase', () => asyncPhase(proxy))
await step('a throw in a phase', () => throwing(proxy))
await step('bodies', () => bodies(proxy))
await step('callbackTimeoutMs', () => timeLimit(proxy))
await step('a client that leaves', () => leaving(proxy))
await step('async context', () => context(proxy))
await step('TLS', () => tls(proxy))
await step('a worker thread', worker)
await step('1,000 requests, 64 in flight', () => many(proxy))
await step('close()', () => closing(proxy))
origin.closeAllConnections?.()
origin.close()
// And now nothing holds the process: that it ends is for whoever started it to see.
