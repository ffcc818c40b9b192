import { makeLog } from '../logger.js'
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
  if (environment !== undefined) return environment
  let native: NativeCrossing | undefined
  const crossing = new Crossing(
    (dispatch, logged, told) => {
      native = new NativeCrossing(dispatch, logged, told)
      return native
    },
    table,
    makeLog(undefined),
  )
  const wiring = native as unknown as NativeCrossing
  crossing.makeSubrequest = (options) => new NativeSubrequest(wiring, options)
  crossing.makeStream = (id) => new NativeStream(wiring, id)
  environment = { crossing, native: native as unknown as NativeCrossing }
  return environment
}
