// The log lines of threads on their way to the program's own.
import { expect, test } from 'vitest'
import { type LogRecord, makeLog } from '../../ts/logger.js'
import { droppedByThreads, Lines, takeLines } from '../../ts/threads/lines.js'

test('lines go in batches, one at a time; those beyond what may wait are counted where they arrive', () => {
  const batches: LogRecord[][] = []
  const lines = new Lines((records) => batches.push(records))
  const log = lines.log()
  for (let i = 0; i < 2_000; i++) log.info(`${i}`)
  // The first is under way, and 1,024 wait.
  expect(batches.map((records) => records.length)).toEqual([1])
  lines.taken()
  expect(batches.map((records) => records.length)).toEqual([1, 1_025])
  const dropped = 2_000 - 1 - 1_024
  expect(batches[1]!.at(-1)).toMatchObject({
    level: 'warn',
    message: `${dropped} log lines of a thread were dropped`,
    fields: { dropped },
  })

  const seen: LogRecord[] = []
  const before = droppedByThreads()
  for (const records of batches)
    takeLines(records, makeLog(false, { onLog: (more) => void seen.push(...more), logLevel: 'debug' }))
  expect([seen.length, droppedByThreads() - before]).toEqual([1_026, dropped])
})
