import type { OptionProblem } from '../errors.js'
import { merged, type Overrides } from '../overrides.js'
import type { RunArgs } from './args.js'
import { fromEnvironment } from './config/environment.js'
import { readConfig, sentence } from './config/file.js'
import { type Config, checkConfig, type Listen } from './config/rules.js'
import { Failure } from './failure.js'

/** Where services are to listen, and who says so. */
export interface Asked {
  readonly listen: readonly (string | Listen)[]
  /** What goes before something that is wrong with an option of it. */
  source(path: string): string
  /** What is wrong with it, and where. */
  tell(problem: OptionProblem): string
  /** How the command ends then. */
  readonly exitCode: 1 | 2
}

/** What flags, environment and file say together. */
export interface Settings {
  readonly overrides: Overrides
  /** Said by a flag or the environment: goes before what a file says of one service. */
  readonly listenFirst: Asked | undefined
  /** Said by the file. */
  readonly listen: Asked | undefined
  readonly listenOf: ReadonlyMap<string, Asked>
  /** The services that the file names, each with its place. */
  readonly named: ReadonlyMap<string, string>
}

/** @throws Failure which says what is wrong, and where */
export function settingsOf(args: RunArgs, env: NodeJS.ProcessEnv): Settings {
  const flags = fromFlags(args)
  const environment = fromEnvironment(env)
  const name = args.config ?? env.MILLRACE_CONFIG
  const file = name === undefined || name === '' ? undefined : readConfig(name)
  const { server = {}, proxy = {}, listen, services = {} } = file?.config ?? {}
  const source = (path: string) => file?.at(path) ?? ''
  const inFile = { source, tell: (problem: OptionProblem) => source(problem.path) + sentence(problem) }
  const listenOf = new Map<string, Asked>()
  const options: Record<string, object> = {}
  for (const [service, { listen, ...rest }] of Object.entries(services)) {
    if (listen !== undefined) listenOf.set(service, { listen, ...inFile, exitCode: 1 })
    options[service] = rest
  }
  // What was said in a line is shown as it was said.
  const of = ({ listen }: Config, who: string, exitCode: 1 | 2): Asked | undefined =>
    listen && {
      listen,
      source: () => `${who}: `,
      tell: (problem) => sentence({ ...problem, path: who }),
      exitCode,
    }
  return {
    overrides: {
      isCheck: args.test,
      server: merged(server, merged(environment.server ?? {}, flags.server ?? {})),
      proxy,
      services: options,
      last: merged(environment.proxy ?? {}, flags.proxy ?? {}),
    },
    listenFirst: of(flags, '--listen', 2) ?? of(environment, 'MILLRACE_LISTEN', 1),
    listen: listen && { listen, ...inFile, exitCode: 1 },
    listenOf,
    named: new Map(Object.keys(services).map((service) => [service, source(`services.${service}`)])),
  }
}

/** @throws Failure with the exit code 2 */
function fromFlags({ threads, listen, upgrade }: RunArgs): Config {
  const flags: Config = {
    ...(upgrade && { server: { upgrade } }),
    ...(threads !== undefined && { proxy: { threads } }),
    ...(listen.length > 0 && { listen: [...listen] }),
  }
  const problems: OptionProblem[] = []
  checkConfig(flags, problems)
  const wrong = problems.map((one) => {
    const path = one.path.replace(/^(?:proxy|server)\.|\[\d+\]$/g, '')
    return sentence({ ...one, path: `--${path}` })
  })
  if (wrong.length > 0) throw new Failure(wrong.join('\n'), 2)
  return flags
}
