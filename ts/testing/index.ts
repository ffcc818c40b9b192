/// <reference types="node" preserve="true" />
/** Tests of a proxy without a listener: `inject` sends a request through the phases and tells what they did. */
export type { UpstreamAnswer, UpstreamInterim } from './answer.js'
export type { InjectBody } from './body.js'
export type { PhaseCall, PhaseOutcome } from './calls.js'
export {
  type CtxOf,
  type CtxsOf,
  type Inject,
  type Injected,
  type InjectedSubrequest,
  inject,
  type LogLine,
} from './inject.js'
export { type InjectedInterim, InjectedResponse, Message, type RawHeaders } from './message.js'
export type { InjectRequest, InjectTls } from './options.js'
export { type UpstreamHandler, UpstreamRequest } from './upstream.js'
