/** The command `millrace`. Not a part of the API: `bin/millrace.js` calls it. */
import { VERSION } from '../addon/version.js'
import { type Args, HELP, parse } from './args.js'
import { Failure } from './failure.js'
import { mainOf, otherCopy } from './handover.js'

/** Does what the arguments say; gives the code to exit with. */
export async function main(argv: readonly string[]): Promise<number> {
  try {
    const args = parse(argv)
    const other = args.command === 'run' ? otherCopy(args.module) : undefined
    if (other !== undefined) return (await mainOf(other))(argv)
    if (args.command === 'run') await runModule(args)
    else process.stdout.write(args.command === 'version' ? `${VERSION}\n` : HELP)
    return 0
  } catch (error) {
    if (!(error instanceof Failure)) {
      // The addon that cannot be loaded says all in its message; all else is a fault of this command.
      const { code, message, stack } = error as Error & { code?: unknown }
      const text = /^BINARY_/.test(String(code)) ? message : stack
      process.stderr.write(`millrace: ${text ?? String(error)}\n`)
      return 1
    }
    const lines = error.message.split('\n').map((line) => `millrace: ${line}\n`)
    process.stderr.write(
      lines.join('') + (error.exitCode === 2 ? 'millrace: --help says what there is\n' : ''),
    )
    return error.exitCode
  }
}

/** Loaded when it is needed: `--version` has to do without the addon. */
async function runModule(args: Extract<Args, { command: 'run' }>): Promise<void> {
  const { run } = await import('./run.js')
  await run(args, (line) => void process.stdout.write(`millrace: ${line}\n`))
}

/** The schema of configuration files. */
export async function schema(): Promise<object> {
  const { configSchema } = await import('./config/rules.js')
  return configSchema()
}
