import { type AdmissionOptions, admissionRules, makeAdmission } from './admission.js'
import type { EndpointCheck } from './connection-check.js'
import type { OptionProblem } from './errors.js'
import type { NativeSocketOptions } from './native.js'
import { type Checked, checkInto, flag, group, integer } from './options.js'
import { keepaliveRules, nativeKeepalive, type TcpKeepalive } from './peer.js'
import { has, unsupported } from './platform.js'
import { unixPathProblem } from './unix-path.js'

/** What is asked of the system for a listening socket, and whose connections it takes. */
export interface SocketOptions extends AdmissionOptions {
  /** Connections the system holds until they are accepted. Default: 1,024. */
  backlog?: number
  /** Linux: lets several processes listen on the same address, which share its connections. Default: false. */
  reusePort?: boolean
  /** Of an address of IPv6: whether its socket refuses IPv4 clients. Default: the system's. */
  ipv6Only?: boolean
  /** Probes on silent connections. Default: off. */
  tcpKeepalive?: TcpKeepalive
  /**
   * Linux: clients may send data with their SYN (TCP Fast Open), and so many of them at once may be new
   * ones. What comes so may come twice. Default: off.
   */
  fastOpen?: number
  /** Size of the system's receive buffer, in bytes. Default: the system's. */
  recvBuffer?: number
  /** Size of the system's send buffer, in bytes. Default: the system's. */
  sendBuffer?: number
}

/** Who may connect to a Unix socket, what is asked of the system for it, and whose connections it takes. */
export interface UnixSocketOptions extends AdmissionOptions {
  /**
   * The permissions of its file, such as `0o660`, whatever the umask; whoever may write to it may connect.
   * At no time does the file allow more. Default: what the umask leaves.
   */
  mode?: number
  /** The user and the group its file belongs to, by number. Default: those of the process. */
  owner?: SocketOwner
  /** Connections the system holds until they are accepted. Default: 1,024. */
  backlog?: number
  /** Size of the system's receive buffer, in bytes. Default: the system's. */
  recvBuffer?: number
  /** Size of the system's send buffer, in bytes. Default: the system's. */
  sendBuffer?: number
}

/** Whom the file of a Unix socket belongs to. Only root gives files away; others may give it a group they are in. */
export interface SocketOwner {
  /** The number of a user. Default: the process's. */
  uid?: number
  /** The number of a group. Default: the process's. */
  gid?: number
}

const BYTES = 2 ** 31 - 1
/** The highest is what stands for "as it is". */
const IDS = 2 ** 32 - 2

/** @internal The rules of {@link SocketOptions}. */
export const socketRules = {
  backlog: integer(1_024, 1, 65_535),
  reusePort: flag(false, 'reusePort'),
  ipv6Only: flag<boolean | undefined>(undefined),
  tcpKeepalive: group(keepaliveRules),
  fastOpen: integer<number | undefined>(undefined, 1, 65_535, 'fastOpen'),
  recvBuffer: integer<number | undefined>(undefined, 1_024, BYTES),
  sendBuffer: integer<number | undefined>(undefined, 1_024, BYTES),
  ...admissionRules,
}

const ownerRules = {
  uid: integer<number | undefined>(undefined, 0, IDS),
  gid: integer<number | undefined>(undefined, 0, IDS),
}

/** @internal The rules of {@link UnixSocketOptions}. */
export const unixRules = {
  mode: integer<number | undefined>(undefined, 0, 0o777),
  owner: group(ownerRules),
  backlog: integer(1_024, 1, 65_535),
  recvBuffer: integer<number | undefined>(undefined, 1_024, BYTES),
  sendBuffer: integer<number | undefined>(undefined, 1_024, BYTES),
  ...admissionRules,
}

/** The options of an endpoint as the addon takes them, and the function that it asks about connections. */
export interface Sockets {
  /** As they were given. */
  readonly given: object
  readonly options: NativeSocketOptions
  readonly check?: EndpointCheck
}

/** Checks the options of a TCP socket at `address`; adds what is wrong to `problems`. */
export function tcpSockets(address: unknown, given: unknown, problems: OptionProblem[], path = ''): Sockets {
  const { tcpKeepalive, ...rest } = checkInto(socketRules, given, problems, path)
  const prefix = path === '' ? '' : `${path}.`
  if (rest.ipv6Only !== undefined && typeof address === 'string' && /^\d/.test(address))
    problems.push({
      path: `${prefix}ipv6Only`,
      found: rest.ipv6Only,
      allowed: 'nothing for an address of IPv4',
    })
  return sockets(given, { ...rest, ...nativeKeepalive(tcpKeepalive) }, rest, problems)
}

/** Checks the path and the options of a Unix socket; adds what is wrong to `problems`. */
export function unixSockets(path: unknown, given: unknown, problems: OptionProblem[]): Sockets {
  const { owner, ...rest } = checkInto(unixRules, given, problems)
  const isName = typeof path === 'string' && path.startsWith('@')
  const allowed = unixPathProblem(typeof path === 'string' ? path : '', 'pathOrName')
  if (allowed !== undefined) problems.push({ path: 'path', found: path, allowed })
  else if (!has('unixSockets')) problems.push(unsupported('path', path, 'no Unix socket'))
  else if (isName && !has('abstractSockets')) problems.push(unsupported('path', path, 'an absolute path'))
  if (isName)
    for (const [path, found] of Object.entries({ mode: rest.mode, owner }))
      if (found !== undefined) problems.push({ path, found, allowed: 'nothing for a name without a file' })
  return sockets(given, { ...rest, ...owner, reusePort: false }, rest, problems)
}

function sockets(
  given: unknown,
  plain: object,
  checked: Checked<typeof admissionRules>,
  problems: readonly OptionProblem[],
): Sockets {
  const { admission, check } = makeAdmission(checked, problems)
  const {
    proxyProtocol: _,
    connectionFilter: __,
    ...known
  } = { ...plain, admission } as Record<string, unknown>
  const options: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(known)) if (value !== undefined) options[name] = value
  return {
    given: { ...(given as object) },
    options: options as unknown as NativeSocketOptions,
    ...(check && { check }),
  }
}
