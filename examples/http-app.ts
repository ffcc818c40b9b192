// An app in the place of a proxy: each request is a web-standard Request, each answer a Response. Whatever
// framework has a function `fetch` runs as it is, `new HttpApp(hono)`, say.
import { type HandlerInfo, HttpApp, Server } from 'millrace'

async function handle(request: Request, info: HandlerInfo): Promise<Response> {
  const { pathname } = new URL(request.url)
  if (pathname === '/') return new Response(`Hello ${info.client.host}\n`)
  // The body comes back while it still arrives.
  if (pathname === '/echo' && request.method === 'POST') return new Response(request.body)
  if (pathname === '/ticks') return new Response(ticks(request.signal))
  return new Response('Not here\n', { status: 404 })
}

/** A line each second, until the client leaves. */
function ticks(signal: AbortSignal): ReadableStream<Uint8Array> {
  return new ReadableStream({
    async pull(controller) {
      controller.enqueue(new TextEncoder().encode(`${new Date().toISOString()}\n`))
      await new Promise((resolve) => setTimeout(resolve, 1000))
      if (signal.aborted) controller.close()
    },
  })
}

const server = new Server()
server.addService(new HttpApp(handle, { maxRequestBodyBytes: 1_000_000 })).addTcp('127.0.0.1:8000')
await server.run()
