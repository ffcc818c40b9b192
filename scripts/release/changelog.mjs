// What CHANGELOG.md says, which has the form of Keep a Changelog 1.1.0.

const HEADING = /^## \[?([^\]\s]+)\]?(?: - (\d{4}-\d{2}-\d{2}))?[ \t]*$/gm
/** What was meant for one: any of that level, and those of others and without the space that have a version. */
const LIKE_HEADING = /^ {0,3}(?:##(?!#)|#{1,6}[ \t]*\[?v?\d+\.\d+\.\d).*$/gm
const VERSION = /^\d+\.\d+\.\d+(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?$/

/** Its sections from the newest on, `Unreleased` too. @throws Error where a heading is not of that form */
export function sections(text) {
  const prose = withoutCode(text)
  const headings = [...prose.matchAll(HEADING)]
  const all = [...prose.matchAll(LIKE_HEADING)]
  const odd = all.find(({ index }) => headings.every((heading) => heading.index !== index))
  if (odd !== undefined) throw new Error(`CHANGELOG.md: '${odd[0]}' is no heading of a version`)
  return headings.map((heading, at) => {
    const [line, version, date] = heading
    if (version !== 'Unreleased' && !(VERSION.test(version) && isDate(date)))
      throw new Error(`CHANGELOG.md: '${line}' has to be '## [1.2.3] - 2026-01-31'`)
    const body = text.slice(heading.index + line.length, headings[at + 1]?.index)
    return { version, date, body: withoutLinks(body).trim() }
  })
}

/** `Date` moves 2026-02-30 into March. */
function isDate(date) {
  const time = Date.parse(`${date}T00:00:00Z`)
  return !Number.isNaN(time) && new Date(time).toISOString().startsWith(date)
}

/** The text with blanks for fenced code and comments: their lines are no headings. Each place stays where it is. */
function withoutCode(text) {
  let fence
  const lines = text.split('\n').map((line) => {
    const [, mark, info] = /^\s*(`{3,}(?=[^`]*$)|~{3,})(.*)$/.exec(line) ?? []
    const was = fence
    if (fence === undefined) fence = mark
    else if (mark?.startsWith(fence) && info.trim() === '') fence = undefined
    return was === undefined && fence === undefined ? line : blank(line)
  })
  if (fence !== undefined) throw new Error(`CHANGELOG.md: code that begins with ${fence} has no end`)
  return lines.join('\n').replace(/<!--[\s\S]*?-->/g, blank)
}

const blank = (text) => text.replace(/[^\n]/g, ' ')

/** The newest version that has been given a number; nothing if none has. */
export function newest(text) {
  return sections(text).find(({ version }) => version !== 'Unreleased')
}

/** What changed in a version: the text of its release. @throws Error if there is no such section, or nothing in it but headings */
export function notesOf(text, version) {
  const section = sections(text).find((one) => one.version === version)
  if (section === undefined) throw new Error(`CHANGELOG.md has no section for ${version}`)
  if (!/^(?!\s*#{1,6}[ \t]).*\S/m.test(section.body))
    throw new Error(`CHANGELOG.md says nothing of ${version}`)
  return section.body
}

/** The links at the end of the file belong to no section. */
const withoutLinks = (body) => body.replace(/^\[[^\]]+\]: \S+$/gm, '')
