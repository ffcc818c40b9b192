import { OVER, type RequestState } from '../crossing/state.js'
import { type ErrorCode, ProxyError, UsageError } from '../errors.js'
import { endToEndFields } from '../headers.js'
import { pieceError } from '../piece.js'

/** What the addon says of a request for an app, in the bits of its flags. */
const HAS_BODY = 8
const IS_TLS = 16

/** Methods that a `Request` cannot have, or cannot have a body with (WHATWG Fetch). */
const REFUSED = /^(?:CONNECT|TRACE|TRACK)$/i
const BODILESS = /^(?:GET|HEAD)$/i

/**
 * The request as web standards have it.
 *
 * @throws ProxyError METHOD_NOT_ALLOWED for a method that those do not have; BAD_REQUEST for a host that is no URL's
 */
export function requestOf(state: RequestState): Request {
  const method = state.method()
  if (REFUSED.test(method)) throw clientsFault('METHOD_NOT_ALLOWED', `no Request has the method ${method}`)
  const url = urlOf(state)
  const Made = prepareRequests()
  try {
    const request = new Made(url, initOf(state, method), state)
    // One by one: as a list in `init` they are copied and converted several times over.
    const { headers } = request
    for (const [name, value] of endToEndFields(state.text, state.fields())) headers.append(name, value)
    return request
  } catch (cause) {
    throw clientsFault('BAD_REQUEST', `${url} is no URL`, cause)
  }
}

function clientsFault(code: ErrorCode, message: string, cause?: unknown): ProxyError {
  return new ProxyError({ code, source: 'downstream', message, cause })
}

/** What a plain GET does not need. */
function initOf(state: RequestState, method: string): (RequestInit & { duplex?: 'half' }) | undefined {
  if ((state.flags & HAS_BODY) === 0 || BODILESS.test(method))
    return method === 'GET' ? undefined : { method }
  return { method, body: bodyOf(state), duplex: 'half' }
}

type RequestClass = new (url: string, init: RequestInit | undefined, state: RequestState) => Request

let AppRequest: RequestClass | undefined

/** An app is there. Node.js loads all of `fetch` at the first look at `Request`, which takes 20 ms that others need not pay. */
export function prepareRequests(): RequestClass {
  AppRequest ??= makeRequestClass()
  return AppRequest
}

/**
 * A Request whose signal is made when somebody asks for it: to follow one from the start costs several times as
 * much as all the rest of a request. What Node.js itself looks at, where it fetches or copies this Request, hears
 * of an abort all the same.
 */
function makeRequestClass(): RequestClass {
  const innerSignal = Object.getOwnPropertyDescriptor(Request.prototype, 'signal')?.get
  const { clone } = Request.prototype

  return class AppRequest extends Request {
    readonly #state: RequestState

    static {
      // TypeScript knows both as properties.
      Object.defineProperties(AppRequest.prototype, {
        signal: {
          get(this: AppRequest) {
            return this.#state.signal()
          },
          enumerable: true,
          configurable: true,
        },
        clone: {
          value(this: AppRequest) {
            return new Request(clone.call(this), { signal: this.signal })
          },
          writable: true,
          enumerable: true,
          configurable: true,
        },
      })
    }

    constructor(url: string, init: RequestInit | undefined, state: RequestState) {
      super(url, init)
      this.#state = state
      state.onAbort = (reason) => {
        const inner = innerSignal?.call(this) as AbortSignal | undefined
        if (inner === undefined) return
        Object.defineProperty(inner, 'aborted', { value: true })
        Object.defineProperty(inner, 'reason', { value: reason })
        inner.dispatchEvent(new Event('abort'))
      }
    }
  }
}

/** The URL asked for: the connection says the scheme, the client the host. */
function urlOf(state: RequestState): string {
  const scheme = (state.flags & IS_TLS) === 0 ? 'http' : 'https'
  return `${scheme}://${state.host() || hostOf(state)}${pathOf(state.target())}`
}

/** Path and query. The `*` of OPTIONS is a path like any other. */
function pathOf(target: string): string {
  if (target.charCodeAt(0) === 47) return target
  const scheme = target.indexOf('://')
  if (scheme < 0) return `/${target}`
  const at = target.substring(scheme + 3).search(/[/?]/)
  return at < 0 ? '/' : target.substring(scheme + 3 + at)
}

/** A client of HTTP/1.0 need not name a host. What has no port is a Unix socket, whose path names none. */
function hostOf(state: RequestState): string {
  const { host, port } = state.address(4)
  if (port === 0) return 'localhost'
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/** Asks the client for as much as is read. */
function bodyOf(state: RequestState): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { data, isLast, error } = await state.bodyPiece()
        // The addon may know that it is over before we are told why.
        if (error === OVER) await state.whenOver()
        if (error !== undefined) {
          controller.error(state.aborted ?? bodyError(state, error))
          return
        }
        if (data !== undefined)
          controller.enqueue(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
        if (data === undefined || isLast === true) controller.close()
      },
    },
    { highWaterMark: 0 },
  )
}

function bodyError(state: RequestState, words: string): Error {
  // The addon may know that it is over before we are told.
  if (state.live && words !== OVER) return pieceError(words)
  return new UsageError('SESSION_ENDED', 'the request is over: its body cannot be read any more')
}
