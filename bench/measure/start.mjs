// From the start of the process to the first byte that a client gets through it.
import { once } from 'node:events'
import { connect } from 'node:net'
import { launch } from '../processes.mjs'
import { median } from '../statistics.mjs'

const TIMES = 3

export async function* measure({ found, subject, run, place }) {
  const [starts, nodes] = [[], []]
  for (let time = 0; time < TIMES; time++) {
    nodes.push(subject.isNode ? await timed(run, () => launch(run.subjectCore, run.empty)) : 0)
    starts.push(
      await timed(run, async () => {
        const running = await run.launch(subject, place)
        await firstByte(running.address)
        return running
      }),
    )
  }
  const firstByteMs = median(starts)
  yield { setting: found.settings[0], figures: { firstByteMs, overNodeMs: firstByteMs - median(nodes) } }
}

async function timed(run, start) {
  const begun = performance.now()
  const running = await start()
  const ms = performance.now() - begun
  await run.stop(running)
  return ms
}

async function firstByte(address) {
  const [host, port] = address.split(':')
  const socket = connect(Number(port), host)
  socket.write(`GET /bytes/1024 HTTP/1.1\r\nhost: ${address}\r\n\r\n`)
  await once(socket, 'data')
  socket.destroy()
}
