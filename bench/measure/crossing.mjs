// The crossing alone: as many requests as are to be in flight, each of which runs phases again and again.
import { Agent, get } from 'node:http'
import { settingOf } from '../cases.mjs'
import { launch, Stop } from '../processes.mjs'

const WARM_UP_MS = 1_000
export const crossingAddon = 'target/bench/addon'

export async function* measure({ found, subject, run }) {
  for (const inFlight of run.options.connections ?? found.connections) {
    const ms = run.options.seconds * 1_000
    const plan = [subject.name, inFlight, WARM_UP_MS, ms].map(String)
    const command = [process.execPath, '--no-deprecation', 'bench/subjects/crossing.mjs', ...plan]
    const env = { MILLRACE_BINARY: run.addon }
    const running = await launch(run.subjectCore, command, env)
    const agent = new Agent({ maxSockets: Number.POSITIVE_INFINITY })
    const answers = await Promise.all(Array.from({ length: inFlight }, () => ask(running.address, agent)))
    agent.destroy()
    await run.stop(running)
    const figures = answers.find((answer) => answer !== '')
    if (figures === undefined) throw new Stop(`the crossing with ${subject.title} told nothing`)
    yield { setting: settingOf(found, inFlight), figures: JSON.parse(figures) }
  }
}

function ask(address, agent) {
  return new Promise((resolve, reject) => {
    const path = '/bytes/1024?page=7'
    const headers = { 'accept-encoding': 'gzip, br', cookie: 'sid=0123456789abcdef; theme=dark' }
    get(`http://${address}${path}`, { agent, headers }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (piece) => {
        text += piece
      })
      response.on('end', () =>
        response.statusCode < 300 ? resolve(text) : reject(new Stop(`the crossing answered ${text}`)),
      )
      response.on('error', reject)
    }).on('error', reject)
  })
}
