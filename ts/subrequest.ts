import type { RequestState } from './crossing/state.js'
import { UsageError, withoutStack } from './errors.js'
import { type HeaderInput, headerFields } from './headers.js'
import type { NativeSubrequest } from './native.js'
import { checkOptions, flag, integer, ms, value } from './options.js'
import { HttpPeer } from './peer.js'
import { pieceError } from './piece.js'

/** What a subrequest is made of beside its target. */
export interface SubrequestOptions {
  /** A token but CONNECT. Default: `GET`. */
  method?: string
  /** The host asked for. Default: that of the request it is made for. */
  host?: string
  /** Default: none. `host` is an option of its own; what belongs to a connection, such as `content-length`, is set by itself. */
  headers?: HeaderInput
  /** The whole body. Default: none. */
  body?: string | Uint8Array
  /** Goes straight there, past all phases. Default: through the phases, as a client's request would. */
  peer?: HttpPeer | undefined
  /** Fire and forget: nobody waits for the response, and the request it is made for may end first. Default: false. */
  detached?: boolean
  /** For all of it, its body read, in milliseconds; 0 = off. Default: 10,000. */
  timeoutMs?: number
  /** The largest body of the response, in bytes. Default: 1,048,576. */
  maxBytes?: number
}

/** How many a request may have under way at once, and a proxy of those that are detached. */
const MOST_OF_REQUEST = 32
const MOST_DETACHED = 1024

const matches = (pattern: RegExp) => (given: unknown) => typeof given === 'string' && pattern.test(given)

/** Whether a request of one's own may have this method. */
export const isMethod = matches(/^(?!CONNECT$)[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/)
/** Whether it may ask for this host. */
export const isHost = matches(/^[0-9A-Za-z\-._~!$&'()*+,;=%[\]:]+$/)
/** Whether it may have this target: a path with its query. */
export const isTarget = matches(/^\/[\x21\x22\x24-\x7e]*$/)

const rules = {
  method: value<string>('GET', 'a token but CONNECT', isMethod),
  host: value<string | undefined>(undefined, 'a host', isHost),
  headers: value<HeaderInput>({}, 'headers', (given) => typeof given === 'object' && given !== null),
  body: value<string | Uint8Array>(
    '',
    'a string or bytes',
    (given) => typeof given === 'string' || given instanceof Uint8Array,
  ),
  peer: value<HttpPeer | undefined>(undefined, 'an HttpPeer', (given) => given instanceof HttpPeer),
  detached: flag(false),
  timeoutMs: ms(10_000),
  maxBytes: integer(1_048_576, 0, Number.MAX_SAFE_INTEGER),
}

/** Makes a subrequest for a request. */
export function subrequest(
  state: RequestState,
  target: string,
  options: SubrequestOptions,
): Promise<Response> | undefined {
  if (!isTarget(target))
    throw new UsageError('INVALID_HEADER', `the target ${JSON.stringify(String(target))} is not valid`)
  const checked = checkOptions('subrequest', rules, options)
  const { proxy } = state
  if (state.ending)
    throw new UsageError('SESSION_ENDED', 'logging may not make subrequests: its request is over')
  if (checked.peer === undefined && state.depth >= proxy.maxSubrequestDepth) {
    const message = `subrequests of subrequests, more than maxSubrequestDepth: ${proxy.maxSubrequestDepth}`
    throw new UsageError('SUBREQUEST_DEPTH', message)
  }
  const isFull = checked.detached
    ? proxy.detached >= MOST_DETACHED
    : state.subrequests.size >= MOST_OF_REQUEST
  if (isFull) throw new UsageError('SUBREQUEST_LIMIT', 'too many subrequests are under way')
  const fields = headerFields(checked.headers)
    .split('\n')
    .flatMap((line) => (line === '' ? [] : line.split('\0')))
  if (fields.some((name, at) => at % 2 === 0 && name.toLowerCase() === 'host'))
    throw new UsageError('INVALID_HEADER', 'host is an option of a subrequest, and none of its headers')
  const { native, forget } = state.startSubrequest(
    {
      method: checked.method,
      target,
      host: checked.host ?? state.host(),
      fields,
      body: Buffer.from(checked.body as Uint8Array),
      discard: checked.detached,
    },
    checked.peer,
  )
  const run = new Running(native, forget, checked.timeoutMs)
  if (!checked.detached) {
    state.subrequests.add(run)
    run.over.then(() => state.subrequests.delete(run))
    return respond(run, checked.method, checked.maxBytes)
  }
  proxy.detached++
  run.over.then(() => proxy.detached--)
  // It comes to an end without pieces.
  run.wait(native.piece()).then(
    () => run.end(),
    () => run.end(),
  )
  return undefined
}

/** A subrequest under way. */
export class Running {
  readonly native: NativeSubrequest
  /** Settles when it has ended, in whatever way. */
  readonly over: Promise<void>
  #ended!: () => void
  readonly #failed: Promise<never>
  #fail!: (error: unknown) => void
  readonly #timer: NodeJS.Timeout | undefined
  readonly #forget: () => void

  constructor(native: NativeSubrequest, forget: () => void, timeoutMs: number) {
    this.native = native
    this.#forget = forget
    this.over = new Promise((resolve) => {
      this.#ended = resolve
    })
    this.#failed = new Promise((_, reject) => {
      this.#fail = reject
    })
    this.#failed.catch(() => undefined)
    if (timeoutMs > 0) {
      const late = () =>
        this.cancel(withoutStack({ code: 'REQUEST_EXPIRED', message: 'the subrequest took too long' }))
      this.#timer = setTimeout(late, timeoutMs).unref()
    }
  }

  /** What the addon gives, unless it fails before. */
  wait<T>(given: Promise<T>): Promise<T> {
    return Promise.race([given, this.#failed])
  }

  /** Its response has been read, or is not wanted. */
  end(): void {
    clearTimeout(this.#timer)
    this.#forget()
    this.#ended()
  }

  /** Gives it up. */
  cancel(reason: unknown): void {
    this.native.cancel()
    this.#fail(reason)
    this.end()
  }
}

/** The response of a request of one's own. */
export async function respond(run: Running, method: string, maxBytes: number): Promise<Response> {
  let head: Awaited<ReturnType<NativeSubrequest['head']>>
  try {
    head = await run.wait(run.native.head())
    if (head.error !== undefined) throw pieceError(head.error)
    if (head.status > 599)
      throw withoutStack({
        code: 'UPSTREAM_INVALID',
        source: 'upstream',
        message: `no Response has the status ${head.status}`,
      })
  } catch (error) {
    run.native.cancel()
    run.end()
    throw error
  }
  const headers = new Headers()
  for (let at = 0; at < head.fields.length; at += 2) headers.append(head.fields[at]!, head.fields[at + 1]!)
  const { status } = head
  const bodiless = method === 'HEAD' || status === 204 || status === 205 || status === 304
  if (bodiless) {
    // Its end is waited for, so that its connection can go on, and its place is free for the next.
    const end = () => run.end()
    await run.wait(run.native.piece()).then(end, end)
  }
  return new Response(bodiless ? null : streamOf(run, maxBytes), { status, headers })
}

/** How much of a body is read before somebody wants it; the end of one that is no longer is seen though nobody reads it. */
const READ_AHEAD = 64 * 1024

/** Bodies that nobody can read any more, and that did not come to their end. */
const abandoned = new FinalizationRegistry<Running>((run) => run.cancel(undefined))

function streamOf(run: Running, maxBytes: number): ReadableStream<Uint8Array> {
  let length = 0
  const fail = (error: unknown) => {
    run.native.cancel()
    run.end()
    return error
  }
  const stream = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { data, error } = await run.wait(run.native.piece())
          if (error !== undefined) throw pieceError(error)
          if (data === undefined) {
            run.end()
            controller.close()
            return
          }
          length += data.length
          if (length > maxBytes) {
            const message = `the response of a subrequest is larger than its maxBytes, ${maxBytes}`
            throw withoutStack({ code: 'BODY_TOO_LARGE', status: 502, message })
          }
          controller.enqueue(new Uint8Array(data))
        } catch (error) {
          controller.error(fail(error))
        }
      },
      cancel() {
        fail(undefined)
      },
    },
    new ByteLengthQueuingStrategy({ highWaterMark: READ_AHEAD + 1 }),
  )
  abandoned.register(stream, run, run)
  run.over.then(() => abandoned.unregister(run))
  return stream
}
