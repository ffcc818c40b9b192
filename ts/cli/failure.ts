/** Something that ends the command: a sentence or more for the user, and no stack. */
export class Failure extends Error {
  /** 1: it failed; 2: the command was used wrongly. */
  readonly exitCode: 1 | 2

  constructor(message: string, exitCode: 1 | 2 = 1) {
    super(message)
    this.exitCode = exitCode
  }
}

/** Where something is, as editors and terminals know it. */
export interface Place {
  readonly file: string
  readonly line: number
  readonly column: number
}

export function shown({ file, line, column }: Place): string {
  return `${file}:${line}:${column}`
}
