// Whose logger gets which records.
import { expect, test } from 'vitest'
import { Logs } from '../../ts/crossing/logs.js'
import { makeLog } from '../../ts/logger.js'

test('a server that has stopped gets its last records, and none that are nobody’s', () => {
  const logs = new Logs()
  const got: string[] = []
  for (const server of [1, 2]) {
    const onLog = (records: readonly { message: string }[]) =>
      void got.push(...records.map(({ message }) => `${server}: ${message}`))
    logs.add(server, makeLog(undefined, { onLog }))
  }
  const take = (server: number, message: string) =>
    logs.take([{ server, level: 'warn', time: 1, message, names: [], values: [] }])
  take(0, 'of a library')
  logs.retire(1, 60_000)
  take(0, 'of a library')
  take(1, 'its last')
  logs.retire(2, 0)
  take(2, 'too late')
  expect(got).toEqual(['1: of a library', '2: of a library', '2: of a library', '1: its last'])
})
