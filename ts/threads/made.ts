import type { ThreadPlace } from './messages.js'

type Class = new (place?: ThreadPlace) => unknown

/**
 * What a default export stands for, or a promise of one: an object of a class, what a function returns, which may be
 * a class too, or what it is itself.
 *
 * @param place what functions and classes are given
 * @param isPlain which classes are not, as what they are given is something else
 */
export async function madeOf(
  exported: unknown,
  place: ThreadPlace,
  isPlain: (one: Class) => boolean = () => false,
): Promise<unknown> {
  const make = (one: Class) => (isPlain(one) ? new one() : new one(place))
  const value: unknown = await exported
  if (typeof value !== 'function') return value
  if (isClass(value)) return make(value)
  const made: unknown = await (value as (place: ThreadPlace) => unknown)(place)
  return isClass(made) ? make(made) : made
}

function isClass(value: unknown): value is Class {
  return typeof value === 'function' && /^class\b/.test(Function.prototype.toString.call(value))
}
