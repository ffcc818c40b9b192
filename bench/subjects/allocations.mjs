// `node --import ./bench/subjects/allocations.mjs SUBJECT`: says at each SIGUSR2 what the addon, the one in
// MILLRACE_BINARY, has allocated so far.
import { createRequire } from 'node:module'

const { allocations } = createRequire(import.meta.url)(process.env.MILLRACE_BINARY)

process.on('SIGUSR2', () => console.log(JSON.stringify(allocations())))
