import type { AnyLog } from './logger.js'
import { notifyManager } from './native.js'

/**
 * @internal Tells systemd how the process is, if it has asked for it (`Type=notify`): by sd_notify(3).
 *
 * @param state `READY=1`, `STOPPING=1`, `MAINPID=`, in lines
 */
export function tellManager(state: string, log: AnyLog): void {
  const { NOTIFY_SOCKET: socket } = process.env
  if (socket === undefined || socket === '') return
  const problem = notifyManager(socket, state)
  if (problem !== null) log.warn(`the service manager at NOTIFY_SOCKET could not be told: ${problem}`)
}
