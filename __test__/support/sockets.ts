import { readFileSync } from 'node:fs'

/** A TCP socket as Linux shows it. */
export interface SystemSocket {
  localPort: number
  remotePort: number
  /** Bytes not yet taken by the other side. */
  sending: number
  /** Bytes not yet read by this process. */
  unread: number
  /** Whether keep-alive probes are planned, and in how many ms. */
  probeMs: number | undefined
}

/** The IPv4 sockets of the system, from /proc/net/tcp. */
export function systemSockets(): SystemSocket[] {
  const lines = readFileSync('/proc/net/tcp', 'latin1').trim().split('\n').slice(1)
  return lines.map((line) => {
    const [, local, remote, , queues, timer] = line.trim().split(/\s+/) as string[]
    const port = (address: string) => Number.parseInt(address.split(':')[1]!, 16)
    const [sending, unread] = queues!.split(':').map((hex) => Number.parseInt(hex, 16))
    const [kind, when] = timer!.split(':')
    return {
      localPort: port(local!),
      remotePort: port(remote!),
      sending: sending!,
      unread: unread!,
      probeMs: kind === '02' ? Number.parseInt(when!, 16) * 10 : undefined,
    }
  })
}
