/** Something that ends the command: a sentence or more for the user, and no stack. */
export class Failure extends Error {
  /** 1: it failed; 2: the command was used wrongly. */
  readonly exitCode: 1 | 2

  constructor(message: string, exitCode: 1 | 2 = 1) {
    super(message)
    this.exitCode = exitCode
  }
}
