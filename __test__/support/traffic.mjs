// A worker thread with an origin and a client of its own, so that the traffic goes on while the main
// thread is blocked. It posts the origin's port; told where to, it sends requests one after the other
// until told to stop, and posts when each was answered.
import { Agent, createServer, get as request } from 'node:http'
import { parentPort } from 'node:worker_threads'

const origin = createServer((req, res) => res.end(req.url))
origin.listen(0, '127.0.0.1', () => parentPort.postMessage({ port: origin.address().port }))
const agent = new Agent({ keepAlive: true, maxSockets: 1 })
let running = true
const answered = []
const failed = []

function next(url, index) {
  if (!running) {
    parentPort.postMessage({ answered, failed })
    agent.destroy()
    origin.closeAllConnections()
    origin.close()
    parentPort.close()
    return
  }
  const path = `/${index}`
  request(new URL(path, url), { agent }, (res) => {
    let body = ''
    res.on('data', (data) => {
      body += data
    })
    res.on('end', () => {
      if (res.statusCode === 200 && body === path) answered.push(Date.now())
      else failed.push(`${res.statusCode} ${body}`)
      if (index === 0) parentPort.postMessage({ first: true })
      setTimeout(() => next(url, index + 1), 5)
    })
  }).on('error', (error) => {
    failed.push(String(error))
    next(url, index + 1)
  })
}

parentPort.on('message', ({ url }) => {
  if (url === undefined) running = false
  else next(url, 0)
})
