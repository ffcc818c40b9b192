import { readdirSync, readFileSync } from 'node:fs'

/** The threads of this process, as Linux knows them. */
export function tasks(): { name: string; cpus: string }[] {
  return readdirSync('/proc/self/task').flatMap((id) => {
    try {
      const status = readFileSync(`/proc/self/task/${id}/status`, 'utf8')
      const is = (key: string) => new RegExp(`^${key}:\\s*(.*)$`, 'm').exec(status)![1]!
      return [{ name: is('Name'), cpus: is('Cpus_allowed_list') }]
    } catch {
      // It has ended since it was listed.
      return []
    }
  })
}
