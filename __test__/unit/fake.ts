import { Crossing } from '../../ts/crossing/crossing.js'
import type { CrossingLike } from '../../ts/crossing/records.js'
import type { ProxyEntry } from '../../ts/crossing/state.js'
import { phasesOf } from '../../ts/implemented.js'
import { makeLog } from '../../ts/logger.js'
import type { NativeLogRecord } from '../../ts/native.js'
import { HttpPeer } from '../../ts/peer.js'
import { type AnyPhases, Phase, type PhaseName } from '../../ts/phases.js'

export const RUN = 0
export const END = 1
export const ABORT = 2
export const CLOSED = 3
export const BODY = 4

const RESULTS = ['done', 'answered', 'thrown', 'progress', 'free'] as const

/** A record as the addon would read it. */
export interface Written {
  slot: number
  seq: number
  result: (typeof RESULTS)[number]
  phase: number
  value: number
  a: string
  b: string
}

/** One item; what is left out is empty. */
export interface Item {
  slot?: number
  proxy?: number
  kind?: number
  seq?: number
  phases?: PhaseName[]
  request?: RequestParts
  upstream?: string
  head?: string
  status?: number
  error?: string
  attempt?: number
  flags?: number
  numbers?: number[]
  /** Of a piece of a body: the slot of its request, and the piece. */
  parent?: number
  piece?: string
}

export interface RequestParts {
  target?: string
  method?: string
  host?: string
  meta?: string[]
  fields?: string
}

/** Stands in for the addon: writes items, calls dispatch, reads the records back. */
export class FakeAddon implements CrossingLike {
  dispatch!: (items: number) => void
  logged!: (records: NativeLogRecord[]) => void
  readonly input = Buffer.alloc(1 << 16)
  readonly items = new Int32Array(16 * 64)
  readonly numbers = new Float64Array(8 * 64)
  readonly records = new Int32Array(8 * 4)
  readonly written: Written[] = []
  finishes = 0

  buffers() {
    return { input: this.input, items: this.items, numbers: this.numbers, records: this.records }
  }

  body() {
    return null
  }

  bodyPiece() {
    return Promise.resolve({})
  }

  tls() {
    return null
  }

  finish(count: number, output: Buffer) {
    this.finishes++
    for (let at = 0; at < count * 8; at += 8) {
      const [slot, seq, result, phase, value, offset, a, b] = this.records.subarray(
        at,
        at + 8,
      ) as unknown as number[]
      this.written.push({
        slot: slot!,
        seq: seq!,
        result: RESULTS[result!]!,
        phase: phase!,
        value: value!,
        a: output.latin1Slice(offset!, offset! + a!),
        b: output.utf8Slice(offset! + a!, offset! + a! + b!),
      })
    }
  }

  /** Takes what was written since the last call. */
  take(): Written[] {
    return this.written.splice(0)
  }

  send(...items: Item[]): Written[] {
    let offset = 0
    for (const [index, item] of items.entries()) {
      const r = item.request
      const [target, method, host] = [r?.target ?? '/', r?.method ?? 'GET', r?.host ?? 'a.example']
      const meta = r?.meta ?? ['id-1', '1.1', '127.0.0.1', '5000', '127.0.0.1', '80', 'c1', '1', '', '']
      const request =
        r === undefined ? '' : `${target}${method}${host}\n${meta.join('\n')}\n${r.fields ?? 'accept:*/*\n'}`
      const parts = [item.piece ?? request, item.upstream ?? '', item.head ?? '', item.error ?? '']
      let mask = 0
      for (const phase of item.phases ?? []) mask |= 1 << Phase[phase]
      const lengths = parts.map((part) => part.length) as [number, number, number, number]
      this.items.set(
        [item.slot ?? 0, item.proxy ?? 1, item.kind ?? RUN, item.seq ?? 1, mask, offset, lengths[0]],
        index * 16,
      )
      this.items.set(
        [item.parent ?? target.length, method.length, host.length, lengths[1], lengths[2]],
        index * 16 + 7,
      )
      this.items.set([item.status ?? 0, lengths[3], item.attempt ?? 1, item.flags ?? 0], index * 16 + 12)
      this.numbers.set(item.numbers ?? [1000, Number.NaN, Number.NaN, Number.NaN, 0, 0], index * 8)
      for (const part of parts) offset += this.input.latin1Write(part, offset)
    }
    this.dispatch(items.length)
    // What JavaScript may still look at must be its own.
    this.input.fill(0)
    this.items.fill(0)
    this.numbers.fill(0)
    return this.take()
  }
}

declare global {
  interface Buffer {
    latin1Slice(from?: number, to?: number): string
    utf8Slice(from?: number, to?: number): string
    latin1Write(text: string, at?: number): number
  }
}

/** A crossing with one proxy over a fake addon. */
export function setUp(
  phases: AnyPhases | Omit<AnyPhases, 'upstreamPeer'>,
  options: { callbackTimeoutMs?: number } = {},
) {
  const addon = new FakeAddon()
  const lines: string[] = []
  const add = (level: string) => (line: string) => void lines.push(`${level} ${line}`)
  const log = makeLog({ debug: add('debug'), info: add('info'), warn: add('warn'), error: add('error') })
  const table = {
    epoch: 0,
    specs: [] as unknown[],
    registerPeer(spec: unknown) {
      return table.specs.push(spec)
    },
    peerEpoch: () => table.epoch,
  }
  const crossing = new Crossing(
    (dispatch, logged) => {
      addon.dispatch = dispatch
      addon.logged = logged
      return addon
    },
    table,
    log,
  )
  const all = { upstreamPeer: new HttpPeer('127.0.0.1:81'), ...phases } as AnyPhases
  const target = Object.getPrototypeOf(phases) === Object.prototype ? all : (phases as AnyPhases)
  const entry: ProxyEntry = {
    id: 1,
    phases: target,
    hasNewCtx: (phasesOf(target, []) & 1) !== 0,
    fixedPeer: target.upstreamPeer instanceof HttpPeer ? target.upstreamPeer : undefined,
    callbackTimeoutMs: options.callbackTimeoutMs ?? 10_000,
    maxSubrequestDepth: 4,
    detached: 0,
    log,
    sessions: 0,
  }
  crossing.proxies.add(entry)
  crossing.logs.add(1, log)
  return { addon, crossing, entry, lines, table }
}

/** Lets promises settle and the records of them be written. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** The code of what `run` throws. */
export function codeOf(run: () => unknown): unknown {
  try {
    run()
  } catch (error) {
    return (error as { code?: unknown }).code
  }
  return undefined
}
