import { type AnyLog, makeLog } from '../logger.js'
import { NativeCrossing, peerEpoch, registerPeer } from '../native.js'
import { Crossing } from './crossing.js'

/** Crossings that no server uses. A running server has one of its own, as each has its own logger. */
const idle: Crossing[] = []
const silent = makeLog(false)

/** A crossing for a server, until it is given back. */
export function takeCrossing(log: AnyLog): { crossing: Crossing; native: NativeCrossing } {
  const crossing =
    idle.pop() ??
    new Crossing((dispatch, logged) => new NativeCrossing(dispatch, logged), { registerPeer, peerEpoch }, log)
  crossing.log = log
  return { crossing, native: crossing.native as NativeCrossing }
}

/** The server has stopped. */
export function giveBack(crossing: Crossing): void {
  crossing.log = silent
  idle.push(crossing)
}
