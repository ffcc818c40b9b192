import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Complaints } from '../../ts/complaints.js'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

test('ten lines in 10 s pass, and the others are counted', () => {
  const lines: string[] = []
  const complaints = new Complaints('sniCallback')
  const complain = (line: string) => complaints.add((one) => lines.push(one), line)
  for (let n = 0; n < 25; n++) complain(`${n}`)
  expect(lines).toEqual(['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
  vi.advanceTimersByTime(10_000)
  expect(lines.splice(0).at(-1)).toBe('15 more failures of sniCallback were not logged')
  complain('later')
  vi.advanceTimersByTime(10_000)
  expect(lines).toEqual(['later'])
})
