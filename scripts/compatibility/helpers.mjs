// What the steps of the compatibility program share.
import { once } from 'node:events'
import { connect, createServer } from 'node:net'

/** For each step, so that a runtime in which something never settles gives a line too. */
const STEP_MS = 30_000

/** Fails the step unless something holds. */
export function must(holds, otherwise) {
  if (!holds) throw new Error(otherwise)
}

/** A port that nobody listens on. */
export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}

/** What becomes of connecting to a port: `connected`, or the code of the error. */
export async function connecting(port) {
  const socket = connect(port, '127.0.0.1')
  try {
    return await once(socket, 'connect').then(
      () => 'connected',
      (error) => error.code,
    )
  } finally {
    socket.destroy()
  }
}

/** Waits until somebody listens on a port, or `gone()` says that nobody will. */
export async function listening(port, gone) {
  for (;;) {
    if ((await connecting(port)) === 'connected') return
    must(gone() === null, `the program ended with ${gone()} before it listened`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** Does one step and prints its line. */
export async function step(name, work) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${STEP_MS / 1000} s`)), STEP_MS)
  })
  try {
    console.log(`ok    ${name}: ${await Promise.race([work(), late])}`)
  } catch (error) {
    console.log(`fails ${name}: ${error.message}`)
    process.exitCode = 1
  } finally {
    clearTimeout(timer)
  }
}
