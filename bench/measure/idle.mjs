// Connections that wait: what the subject keeps in memory for them.
import { settingOf } from '../cases.mjs'
import { launch, memoryMib, pidsOf, Stop } from '../processes.mjs'
import { relayBinary } from '../subjects.mjs'

/** For what a subject still does once the last connection is there. */
const SETTLE_MS = 500

const moment = () => new Promise((resolve) => setTimeout(resolve, SETTLE_MS))

export async function* measure({ found, subject, run, place }) {
  for (const connections of run.options.connections ?? found.connections) {
    const nodeMib = subject.isNode ? await ofNode(run) : 0
    const running = await run.start(subject, place)
    const pids = pidsOf(running)
    await moment()
    const beforeMib = memoryMib(pids)
    const command = [relayBinary, 'idle', running.address, `connections=${connections}`]
    const held = await launch(run.loadCore, command)
    await moment()
    const afterMib = memoryMib(pidsOf(running))
    if (held.child.exitCode !== null) throw new Stop(`${subject.title} did not keep its connections`)
    await run.stop(held)
    await run.stop(running)
    const kibPerConnection = ((afterMib - beforeMib) * 1024) / connections
    const figures = { beforeMib, afterMib, overNodeMib: afterMib - nodeMib, kibPerConnection }
    yield { setting: settingOf(found, connections), figures }
  }
}

async function ofNode(run) {
  const empty = await launch(run.subjectCore, run.empty)
  await moment()
  const mib = memoryMib(pidsOf(empty))
  await run.stop(empty)
  return mib
}
