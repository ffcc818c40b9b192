import { X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import { splitAddress } from '../endpoint.js'
import { invalidOptions, type OptionProblem, UsageError } from '../errors.js'
import type { HeaderInput } from '../headers.js'
import type { NativeInjectTls } from '../native.js'
import { checkInto, group, ms, oneOf, value } from '../options.js'
import type { HttpPeer } from '../peer.js'
import { fieldsOf, type UpstreamAnswer } from './answer.js'
import { BODIES, FORM, type InjectBody, isBody, readyBody } from './body.js'
import type { Sent } from './client.js'
import { handlersOf, isUpstream, UPSTREAMS, type UpstreamHandler } from './upstream.js'

/** What the handshake of the client is said to have come to. No TLS is spoken. */
export interface InjectTls {
  /** Default: `TLSv1.3`. */
  version?: 'TLSv1.2' | 'TLSv1.3'
  /** The name that the client asked for. Default: none. */
  serverName?: string
  /** The client's certificates in DER, its own first. Default: none. */
  certificates?: readonly Uint8Array[]
}

/** A request that is injected, and the world around it. */
export interface InjectRequest {
  /** As it is sent, `get` and `FOO` as well; any but CONNECT, which `connect` is not. Default: `GET`. */
  method?: string
  /** As it is sent: `/path?query`. Default: `/`. */
  target?: string
  /** Framing included, if it is to be as given; in HTTP/2 what that can send. `host`: `localhost` unless it is here. Default: none. */
  headers?: HeaderInput
  /**
   * Its length is sent with it where it is known; with URLSearchParams the `content-type` of a form, unless
   * `headers` have one. What a stream or an iterable throws makes the client leave: see `threw` of the result.
   * Default: none.
   */
  body?: InjectBody
  /** What the client speaks; `h2` in the clear by prior knowledge, with `tls` as by ALPN. Default: `h1`. */
  version?: 'h1' | 'h2'
  /** The client's IP address, with or without a port, without a zone. Default: `127.0.0.1:50000`. */
  client?: string
  /** What its handshake is said to have come to; true: a usual one. Default: false, it is in the clear. */
  tls?: boolean | InjectTls
  /**
   * Stands for every origin. Of a list, each one answers one request, and the last all further ones. What it
   * throws cuts the connection, when the request has come whole: the proxy gets UPSTREAM_CLOSED. Default: 200, without a body.
   */
  upstream?: UpstreamHandler | readonly (UpstreamHandler | UpstreamAnswer)[]
  /**
   * Called for each connection to an origin, with the peer (undefined for a subrequest that goes straight to
   * one) and how many there have been, this one included. What it throws keeps the connection from being made: its `code` says why
   * (a code such as CONNECT_REFUSED, or one of Node.js, such as ECONNREFUSED); any other error is
   * CONNECT_FAILED. The peer's `connectTimeoutMs` holds for its promise. Default: all are made.
   */
  connect?: (peer: HttpPeer | undefined, number: number) => void | PromiseLike<void>
  /** Fires when the client is to leave: once the proxy has the head, not before. What comes then it does not get. Default: it stays. */
  signal?: AbortSignal
  /** For all of it, in milliseconds; 0 = off. Default: 15,000. */
  timeoutMs?: number
}

/** The most that is said of the parts that a request is made of. */
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/

const tlsRules = {
  version: oneOf<'TLSv1.2' | 'TLSv1.3', 'TLSv1.3'>('TLSv1.3', ['TLSv1.2', 'TLSv1.3']),
  serverName: value<string | undefined>(undefined, 'a name', (v) => typeof v === 'string' && v !== ''),
  certificates: value<readonly Uint8Array[]>(
    [],
    'a list of certificates in DER',
    (v) => Array.isArray(v) && v.every(isCertificate),
  ),
}

const rules = {
  method: value<string>(
    'GET',
    'a method but CONNECT: inject has no tunnels, use a server',
    (v) => typeof v === 'string' && TOKEN.test(v) && v !== 'CONNECT',
  ),
  target: value<string>(
    '/',
    'a target without spaces, such as /path?query',
    (v) => typeof v === 'string' && /^[\x21\x22\x24-\x7e]+$/.test(v),
  ),
  headers: value<HeaderInput>({}, 'headers', (v) => typeof v === 'object' && v !== null),
  body: value<InjectBody | undefined>(undefined, BODIES, isBody),
  version: oneOf<'h1' | 'h2', 'h1'>('h1', ['h1', 'h2']),
  client: value<string>(
    '127.0.0.1:50000',
    'an IP address, with or without a port, and without a zone',
    isClient,
  ),
  tls: value<boolean | InjectTls>(
    false,
    'true, false or an object',
    (v) => typeof v === 'boolean' || (typeof v === 'object' && v !== null),
  ),
  upstream: value<InjectRequest['upstream']>(undefined, UPSTREAMS, isUpstream),
  connect: value<InjectRequest['connect']>(undefined, 'a function', (v) => typeof v === 'function'),
  signal: value<AbortSignal | undefined>(undefined, 'an AbortSignal', (v) => v instanceof AbortSignal),
  timeoutMs: ms(15_000),
}
const tlsGroup = group(tlsRules)

function isCertificate(given: unknown): boolean {
  try {
    return given instanceof Uint8Array && new X509Certificate(given) !== null
  } catch {
    return false
  }
}

function isClient(given: unknown): boolean {
  if (typeof given !== 'string' || given.includes('%')) return false
  return isIP(given) !== 0 || splitAddress(given) !== undefined
}

const isNamed = (name: string, wanted: string) => name.toLowerCase() === wanted

/** Options of `inject`, checked. */
export interface Injectable {
  readonly sent: Sent
  readonly version: 'h1' | 'h2'
  readonly remote: string
  readonly tls: NativeInjectTls | undefined
  readonly handlers: readonly (UpstreamHandler | UpstreamAnswer)[]
  readonly connect: InjectRequest['connect']
  readonly signal: AbortSignal | undefined
  readonly timeoutMs: number
}

/** @throws UsageError INVALID_OPTIONS, INVALID_HEADER, INJECT_LIMIT */
export function checkInject(request: InjectRequest): Injectable {
  const problems: OptionProblem[] = []
  const checked = checkInto(rules, request, problems)
  const { method, target, version, client, signal, timeoutMs, connect } = checked
  const given = typeof checked.tls === 'object' ? checked.tls : {}
  const tls = checked.tls === false ? undefined : tlsGroup.check(given, 'tls', problems)
  if (problems.length > 0) throw invalidOptions('inject', problems)
  const handlers = handlersOf(checked.upstream)
  const fields = fieldsOf(checked.headers)
  const hosts = fields.filter(([name]) => isNamed(name, 'host'))
  if (hosts.length > 1)
    throw new UsageError('INVALID_HEADER', 'the headers of an injected request have two hosts')
  const { body } = checked
  const lacksType = body instanceof URLSearchParams && !fields.some(([name]) => isNamed(name, 'content-type'))
  if (lacksType) fields.push(['content-type', FORM])
  return {
    sent: {
      method,
      target,
      host: hosts[0]?.[1] ?? 'localhost',
      headers: fields.filter(([name]) => !isNamed(name, 'host')),
      body: body === undefined ? undefined : readyBody(body),
      isTls: tls !== undefined,
    },
    version,
    remote: isIP(client) === 0 ? client : `${isIP(client) === 6 ? `[${client}]` : client}:50000`,
    tls: tls && {
      isOld: tls.version === 'TLSv1.2',
      alpn: version === 'h2' ? 'h2' : 'http/1.1',
      ...(tls.serverName === undefined ? {} : { serverName: tls.serverName.toLowerCase() }),
      certificates: [...tls.certificates],
    },
    handlers,
    connect,
    signal,
    timeoutMs,
  }
}
