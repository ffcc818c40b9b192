import { X509Certificate } from 'node:crypto'
import type { NativeTlsInfo } from '../native.js'
import type { TlsView } from '../session.js'

/** What the handshake of a client came to. Its certificates are read when they are asked for. */
export class ClientTls implements TlsView {
  readonly version: 'TLSv1.2' | 'TLSv1.3'
  readonly cipher: string
  readonly alpn: string | undefined
  readonly serverName: string | undefined
  readonly #der: readonly Uint8Array[]
  #certificates: readonly X509Certificate[] | undefined

  constructor(info: NativeTlsInfo) {
    this.version = info.version as 'TLSv1.2' | 'TLSv1.3'
    this.cipher = info.cipher
    this.alpn = info.alpn ?? undefined
    this.serverName = info.serverName ?? undefined
    this.#der = info.certificates
    Object.freeze(this)
  }

  get clientCertificates(): readonly X509Certificate[] {
    this.#certificates ??= Object.freeze(this.#der.map((der) => new X509Certificate(der)))
    return this.#certificates
  }

  get clientCertificate(): X509Certificate | undefined {
    return this.clientCertificates[0]
  }
}
