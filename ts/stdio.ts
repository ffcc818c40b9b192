/** Streams that have failed: nobody reads them any more, and further errors say nothing new. */
const broken = new WeakSet<NodeJS.WriteStream>()

/** Writes to stdout or stderr. That nobody reads it any more, as a pipe that is closed, is not to end the process. */
export function print(stream: NodeJS.WriteStream, text: string): void {
  // Of a file an error is told at once; of a pipe later, behind the end of the write.
  stream.once('error', nothing)
  try {
    stream.write(text, (error) => {
      if (error == null || broken.has(stream)) return
      broken.add(stream)
      stream.on('error', nothing)
    })
  } finally {
    stream.removeListener('error', nothing)
  }
}

function nothing(): void {}
