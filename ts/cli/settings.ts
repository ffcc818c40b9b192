import type { OptionProblem } from '../errors.js'
import type { Overrides, Said } from '../overrides.js'
import type { RunArgs } from './args.js'
import { fromEnvironment, variable } from './config/environment.js'
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
  /** Who says something of every `HttpProxy`, with its place, and how the command ends where there is none. */
  readonly ofProxies: readonly { who: string; exitCode: 1 | 2 }[]
}

/** @throws Failure which says what is wrong, and where */
export function settingsOf(args: RunArgs, env: NodeJS.ProcessEnv): Settings {
  const flags = fromFlags(args)
  const environment = fromEnvironment(env)
  const name = args.config ?? env.MILLRACE_CONFIG
  const file = name === undefined || name === '' ? undefined : readConfig(name)
  const { listen, services = {} } = file?.config ?? {}
  const source = (path: string) => file?.at(path) ?? ''
  const tellOf = (problem: OptionProblem) => source(problem.path) + sentence(problem)
  const placeOf = (path: string) => source(path) + path
  const inFile = { source, tell: tellOf }
  const listenOf = new Map<string, Asked>()
  const options: Record<string, Said> = {}
  for (const [service, { listen, ...rest }] of Object.entries(services)) {
    if (listen !== undefined) listenOf.set(service, { listen, ...inFile, exitCode: 1 })
    options[service] = saidIn(`services.${service}`, rest, tellOf, placeOf)
  }
  // What was said in a line is shown as it was said.
  const of = ({ listen }: Config, who: string, exitCode: 1 | 2): Asked | undefined =>
    listen && {
      listen,
      source: () => `${who}: `,
      tell: (problem) => sentence({ ...problem, path: who }),
      exitCode,
    }
  const layers = (part: 'server' | 'proxy') => ({
    ofFile: saidIn(part, file?.config[part], tellOf, placeOf),
    ofVariables: saidIn(
      part,
      environment[part],
      (one) => `${ofVariable(one.path)}: ${sentence(one)}`,
      ofVariable,
    ),
    ofFlags: saidIn(part, flags[part], tellOfFlag, flagOf),
  })
  const [server, proxy] = [layers('server'), layers('proxy')]
  return {
    overrides: {
      isCheck: args.test,
      server: [server.ofFile, server.ofVariables, server.ofFlags],
      proxy: [proxy.ofFile],
      services: options,
      last: [proxy.ofVariables, proxy.ofFlags],
    },
    listenFirst: of(flags, '--listen', 2) ?? of(environment, 'MILLRACE_LISTEN', 1),
    listen: listen && { listen, ...inFile, exitCode: 1 },
    listenOf,
    named: new Map(Object.keys(services).map((service) => [service, source(`services.${service}`)])),
    ofProxies: [
      ...Object.keys(flags.proxy ?? {}).map((option) => ({ who: `--${option}`, exitCode: 2 as const })),
      ...leavesOf(environment.proxy).map((path) => ({
        who: variable(['proxy', ...path]),
        exitCode: 1 as const,
      })),
      ...(leavesOf(file?.config.proxy).length > 0
        ? [{ who: `${source('proxy')}proxy`, exitCode: 1 as const }]
        : []),
    ],
  }
}

/** Options, and how to tell what is wrong with them: by their path from `prefix` on. */
function saidIn(
  prefix: string,
  options: object = {},
  tell: (problem: OptionProblem) => string,
  place: (path: string) => string,
): Said {
  const full = (path: string) => `${prefix}.${path}`
  return {
    options,
    tell: (problem) => tell({ ...problem, path: full(problem.path) }),
    place: (path) => place(full(path)),
  }
}

/** The variable of an option, whatever the place in a list. */
const ofVariable = (path: string): string => variable(path.split('[', 1)[0]!.split('.'))

const flagOf = (path: string): string => `--${path.replace(/^(?:proxy|server)\.|\[\d+\]$/g, '')}`

function tellOfFlag(problem: OptionProblem): string {
  return sentence({ ...problem, path: flagOf(problem.path) })
}

/** The paths of all options of groups. */
function leavesOf(options: object = {}): string[][] {
  return Object.entries(options).flatMap(([name, value]) =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? leavesOf(value).map((path) => [name, ...path])
      : [[name]],
  )
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
  if (problems.length > 0) throw new Failure(problems.map(tellOfFlag).join('\n'), 2)
  return flags
}
