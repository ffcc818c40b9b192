// Node itself, to compare memory and times of start with.
import { serveUntilAbandoned } from './subject.mjs'

serveUntilAbandoned(0)
