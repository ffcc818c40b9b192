import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'

/** A connection that may end before it is there; destroyed with its test. */
export function opened(to: { host: string; port: number }, options = {}): Socket {
  const socket = connect({ ...to, ...options })
  onTestFinished(() => void socket.destroy())
  return socket
}

/** The same once it is there. */
export async function client(to: { host: string; port: number }, options = {}): Promise<Socket> {
  const socket = opened(to, options)
  await once(socket, 'connect')
  return socket
}

/** Everything up to the end; `for await` would destroy the socket with it. */
export function all(socket: NodeJS.ReadableStream): Promise<Buffer> {
  const pieces: Buffer[] = []
  socket.on('data', (piece: Buffer) => pieces.push(piece))
  return new Promise((resolve, reject) => {
    socket.on('end', () => resolve(Buffer.concat(pieces)))
    socket.on('error', reject)
  })
}

/** The same as text. */
export async function text(socket: NodeJS.ReadableStream): Promise<string> {
  return String(await all(socket))
}

/** How a socket ended: its error's code, or `end`. */
export async function ending(socket: Socket): Promise<string> {
  let code = 'end'
  socket.on('error', (error: NodeJS.ErrnoException) => {
    code = error.code ?? 'error'
  })
  socket.resume()
  if (!socket.closed) await new Promise((resolve) => socket.on('close', resolve))
  return code
}
