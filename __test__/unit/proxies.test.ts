// Which phases requests may come for.
import { expect, test } from 'vitest'
import { Proxies } from '../../ts/crossing/proxies.js'
import type { ProxyEntry } from '../../ts/crossing/state.js'

const entry = { id: 7, sessions: 0 } as ProxyEntry

test('phases of a start that failed are told to be gone after the next start, which keeps them', () => {
  const proxies = new Proxies()
  proxies.add(entry)
  // The start has failed, and is tried again before the addon has let go of the first.
  proxies.retire(entry, 0)
  expect(proxies.has(7)).toBe(false)
  proxies.add(entry)
  proxies.retired(7)
  expect(proxies.get(7)).toBe(entry)
  proxies.retired(7)
  expect(proxies.has(7)).toBe(false)
})

test('the last one to go is told of', () => {
  const proxies = new Proxies()
  let told = 0
  proxies.whenRetired = () => void told++
  proxies.add(entry)
  proxies.add({ ...entry, id: 8 } as ProxyEntry)
  proxies.retired(7)
  expect(told).toBe(0)
  proxies.retired(8)
  expect(told).toBe(1)
})
