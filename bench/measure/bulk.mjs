// One large body up or down: how fast, and how much memory it takes at most.
import { forgetPeak, memoryMib, outputOf, pidsOf } from '../processes.mjs'
import { relayBinary } from '../subjects.mjs'

const MIB = 1024 * 1024
/** Before it counts: buffers and the pages of the program are there. */
const WARM_UP_MIB = 16

export async function* measure({ found, subject, run, place }) {
  for (const direction of found.settings) {
    const running = await run.start(subject, place)
    const pids = pidsOf(running)
    const transfer = async (mib) => {
      const words = [`pids=${pids.join(',')}`, `bytes=${mib * MIB}`, `direction=${direction}`]
      const command = [relayBinary, 'bulk', running.address, ...words]
      return JSON.parse(
        await outputOf(run.loadCore, command, `the bulk ${direction} through ${subject.title}`),
      )
    }
    await transfer(WARM_UP_MIB)
    forgetPeak(pids)
    const beforeMib = memoryMib(pids)
    const figures = await transfer(run.options.mib)
    const growthMib = Math.max(0, memoryMib(pids, 'VmHWM') - beforeMib)
    await run.stop(running)
    yield { setting: direction, figures: { ...figures, growthMib } }
  }
}
