import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'

/** A registry of packages on the loopback address: what npm, pnpm and Yarn ask of one, and no more. */
export interface Registry {
  readonly url: string
  close(): Promise<void>
}

interface Manifest {
  name: string
  version: string
}

/** Offers the packages that scripts/pack.mjs has put into `folder`. */
export async function registry(folder: string): Promise<Registry> {
  const server: Server = createServer((request, response) => {
    const path = decodeURIComponent(request.url ?? '')
    const tarball = tarballs.get(path)
    const document = documents.get(path.slice(1))
    if (tarball) response.end(tarball)
    else if (document) response.setHeader('content-type', 'application/json').end(JSON.stringify(document))
    else response.writeHead(404).end('{}')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  const tarballs = new Map<string, Buffer>()
  const documents = new Map<string, object>()
  for (const { name, version, ...rest } of manifests(folder)) {
    const file = `${name.replace('@', '').replace('/', '-')}-${version}.tgz`
    const bytes = readFileSync(join(folder, file))
    const hash = (kind: string) => createHash(kind).update(bytes)
    tarballs.set(`/files/${file}`, bytes)
    const dist = {
      tarball: `${url}/files/${file}`,
      shasum: hash('sha1').digest('hex'),
      integrity: `sha512-${hash('sha512').digest('base64')}`,
    }
    const versions = { [version]: { name, version, ...rest, dist } }
    // Old enough for package managers that wait until a version has been out for some days.
    const time = { [version]: '2020-01-01T00:00:00.000Z' }
    documents.set(name, { name, 'dist-tags': { latest: version }, versions, time })
  }
  return {
    url: `${url}/`,
    close: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

function manifests(folder: string): Manifest[] {
  const content = join(folder, 'content')
  return readdirSync(content).map((name) =>
    JSON.parse(readFileSync(join(content, name, 'package.json'), 'utf8')),
  )
}
