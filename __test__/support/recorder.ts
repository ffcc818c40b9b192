import type { Answer, AnyPhases, HttpPeer, HttpProxyOptions, PhaseName, Session } from '../../ts/index.js'
import { PHASES } from '../../ts/phases.js'
import { once, type Reply } from './client.js'
import { startProxy, until } from './proxy.js'

/** What a phase does in a test; undefined: nothing. */
export type Script = Partial<Record<PhaseName, (session: Session, ...args: never[]) => unknown>>

/** All phases; each notes its name, then does what the script says. */
class Recorder {
  calls: string[] = []
  readonly #script: Script
  readonly #isAsync: boolean

  constructor(script: Script, isAsync: boolean) {
    this.#script = script
    this.#isAsync = isAsync
  }

  run(name: PhaseName, args: unknown[]): never {
    this.calls.push(name)
    const act = () => this.#script[name]?.(...(args as [Session, ...never[]]))
    if (!this.#isAsync || name === 'newCtx') return act() as never
    return Promise.resolve()
      .then(() => null)
      .then(act) as never
  }

  newCtx(...args: unknown[]): unknown {
    return this.run('newCtx', args)
  }
  earlyRequestFilter(...args: unknown[]): Promise<void> {
    return this.run('earlyRequestFilter', args)
  }
  requestFilter(...args: unknown[]): Answer | undefined {
    return this.run('requestFilter', args)
  }
  proxyUpstreamFilter(...args: unknown[]): Answer | undefined {
    return this.run('proxyUpstreamFilter', args)
  }
  upstreamPeer(...args: unknown[]): HttpPeer {
    return this.run('upstreamPeer', args)
  }
  failToConnect(...args: unknown[]): 'retry' | 'fail' | undefined {
    return this.run('failToConnect', args)
  }
  connectedToUpstream(...args: unknown[]): Promise<void> {
    return this.run('connectedToUpstream', args)
  }
  upstreamRequestFilter(...args: unknown[]): Promise<void> {
    return this.run('upstreamRequestFilter', args)
  }
  requestBodyFilter(...args: unknown[]): undefined {
    return this.run('requestBodyFilter', args)
  }
  upstreamResponseBodyFilter(...args: unknown[]): undefined {
    return this.run('upstreamResponseBodyFilter', args)
  }
  responseBodyFilter(...args: unknown[]): undefined {
    return this.run('responseBodyFilter', args)
  }
  upstreamResponseTrailerFilter(...args: unknown[]): Promise<void> {
    return this.run('upstreamResponseTrailerFilter', args)
  }
  responseTrailerFilter(...args: unknown[]): Promise<void> {
    return this.run('responseTrailerFilter', args)
  }
  upstreamResponseFilter(...args: unknown[]): Promise<void> {
    return this.run('upstreamResponseFilter', args)
  }
  responseFilter(...args: unknown[]): Answer | undefined {
    return this.run('responseFilter', args)
  }
  errorWhileProxy(...args: unknown[]): 'retry' | 'fail' | undefined {
    return this.run('errorWhileProxy', args)
  }
  failToProxy(...args: unknown[]): Answer | undefined {
    return this.run('failToProxy', args)
  }
  logging(...args: unknown[]): Promise<void> {
    return this.run('logging', args)
  }
  interimResponseFilter(...args: unknown[]): null | undefined {
    return this.run('interimResponseFilter', args)
  }
}

export type Through = (
  script: Script,
  request: string,
  options?: HttpProxyOptions,
) => Promise<{ reply: Reply; calls: string[] }>

/** Sends one request through a proxy with a script: its answer, and which phases ran. */
function through(isAsync: boolean, isBag: boolean): Through {
  return async (script, request, options) => {
    const recorder = new Recorder(script, isAsync)
    const bag = () =>
      Object.fromEntries(
        PHASES.map((name) => [name, (...args: unknown[]) => recorder[name](...args)]),
      ) as unknown as AnyPhases
    const { to } = await startProxy(isBag ? bag() : recorder, options)
    const reply = await once(to, request)
    await until(() => recorder.calls.includes('logging'))
    return { reply, calls: recorder.calls }
  }
}

/** Each way of writing phases, for `describe.each`. */
export const WAYS_TO_WRITE: [string, Through][] = [
  ['sync phases of a class', through(false, false)],
  ['async phases of a class', through(true, false)],
  ['sync phases of a bag', through(false, true)],
  ['async phases of a bag', through(true, true)],
]
