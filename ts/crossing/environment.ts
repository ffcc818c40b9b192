import { type AnyLog, makeLog } from '../logger.js'
import { NativeCrossing, NativeStream, NativeSubrequest, peerEpoch, registerPeer } from '../native.js'
import { HttpPeer } from '../peer.js'
import { Crossing } from './crossing.js'

const table = { registerPeer, peerEpoch }

/** The number that the addon knows a peer by, from now on. */
export const numberOf = (peer: HttpPeer): number => HttpPeer.register(peer, table)

/** The one crossing of this JavaScript environment, with the addon's side of it. */
export interface Environment {
  readonly crossing: Crossing
  readonly native: NativeCrossing
}

let environment: Environment | undefined

/** Makes it when it is first asked for. */
export function theEnvironment(): Environment {
  environment ??= makeEnvironment(makeLog(undefined))
  return environment
}

/** Makes a crossing; `thread` is the number of the thread that it takes the requests of. */
export function makeEnvironment(log: AnyLog, thread?: number): Environment {
  let native: NativeCrossing | undefined
  const crossing = new Crossing(
    (dispatch, logged, told) => {
      native = new NativeCrossing(dispatch, logged, told, thread)
      return native
    },
    table,
    log,
  )
  const wiring = native as unknown as NativeCrossing
  crossing.subrequests.make = (options) => new NativeSubrequest(wiring, options)
  crossing.streams.make = (id) => new NativeStream(wiring, id)
  return { crossing, native: wiring }
}
