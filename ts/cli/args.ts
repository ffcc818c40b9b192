import { parseArgs } from 'node:util'
import { Failure } from './failure.js'

/** What `millrace run` was asked to do. */
export interface RunArgs {
  readonly module: string
  readonly config: string | undefined
  readonly listen: readonly string[]
  readonly threads: number | undefined
  readonly test: boolean
  readonly upgrade: boolean
  readonly watch: boolean
}

/** What the command was asked to do. */
export type Args = { readonly command: 'help' | 'version' } | ({ readonly command: 'run' } & RunArgs)

export const HELP = `millrace: a programmable HTTP proxy for Node.js

  millrace run MODULE [options]   runs what MODULE exports as its default: a server, a
                                  service such as an HttpProxy, phases, or a function or
                                  class that makes one; JavaScript or TypeScript
  millrace --version              prints the version
  millrace --help                 prints this

Options of run, which go before MILLRACE_ variables, those before the file of --config,
and that before what the module says:

  --config FILE     options in YAML or JSON (or MILLRACE_CONFIG)
  --listen ADDRESS  where to listen: 127.0.0.1:8080; may be given several times
  --threads N       threads of each HttpProxy
  --upgrade         takes over from the process at upgradeSocket, without losing a request
  --watch           loads the module anew when one of its files changes
  --test            checks module, configuration and certificates, binds nothing, and ends

It ends with 0 as it was asked to, with 1 if it failed, with 2 if it was used wrongly.
`

/** @throws Failure with the exit code 2 */
export function parse(argv: readonly string[]): Args {
  const { values, positionals } = parsed(argv)
  const { version, help, config, listen, threads, test, upgrade, watch } = values
  if (help || argv.length === 0) return { command: 'help' }
  if (version) return { command: 'version' }
  const [command, module, ...more] = positionals
  if (command === undefined) throw new Failure('a command is missing', 2)
  if (command !== 'run') {
    const hint = /\.[mc]?[jt]s$/.test(command) ? `: millrace run ${command}` : ''
    throw new Failure(`there is no command '${command}'${hint}`, 2)
  }
  if (module === undefined || module === '') throw new Failure('run: the module is missing', 2)
  if (more.length > 0) throw new Failure(`run: one module, and not also '${more[0]}'`, 2)
  return {
    command: 'run',
    module,
    config: once('--config', config),
    listen: listen ?? [],
    threads: count(once('--threads', threads)),
    test: test ?? false,
    upgrade: upgrade ?? false,
    watch: watch ?? false,
  }
}

function parsed(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        version: { type: 'boolean', short: 'v' },
        help: { type: 'boolean', short: 'h' },
        config: { type: 'string', multiple: true },
        listen: { type: 'string', multiple: true },
        threads: { type: 'string', multiple: true },
        test: { type: 'boolean' },
        upgrade: { type: 'boolean' },
        watch: { type: 'boolean' },
      },
    })
  } catch (error) {
    throw new Failure((error as Error).message.split('. ')[0]!, 2)
  }
}

function once(flag: string, given: readonly string[] | undefined): string | undefined {
  if (given === undefined || given.length <= 1) return given?.[0]
  throw new Failure(`${flag}: once, and not also '${given[1]}'`, 2)
}

function count(given: string | undefined): number | undefined {
  if (given === undefined) return undefined
  if (/^\d{1,6}$/.test(given)) return Number(given)
  throw new Failure(`--threads: found '${given}', allowed: a number`, 2)
}
