/** A Buffer with the methods that Node.js has and its types leave out: they skip the look at the encoding. */
export interface FastBuffer extends Buffer {
  latin1Slice(from: number, to: number): string
  latin1Write(text: string, at: number): number
  utf8Write(text: string, at: number): number
}
