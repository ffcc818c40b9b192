// What CHANGELOG.md says, which has the form of Keep a Changelog 1.1.0.

const HEADING = /^## \[?([^\]\s]+)\]?(?: - (\d{4}-\d{2}-\d{2}))?[ \t]*$/gm
const VERSION = /^\d+\.\d+\.\d+(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?$/

/** Its sections from the newest on, `Unreleased` too. @throws Error where a heading is not of that form */
export function sections(text) {
  const headings = [...text.matchAll(HEADING)]
  const all = [...text.matchAll(/^## .*$/gm)]
  const odd = all.find(({ index }) => headings.every((heading) => heading.index !== index))
  if (odd !== undefined) throw new Error(`CHANGELOG.md: '${odd[0]}' is no heading of a version`)
  return headings.map((heading, at) => {
    const [line, version, date] = heading
    if (version !== 'Unreleased' && !(VERSION.test(version) && date !== undefined))
      throw new Error(`CHANGELOG.md: '${line}' has to be '## [1.2.3] - 2026-01-31'`)
    const body = text.slice(heading.index + line.length, headings[at + 1]?.index)
    return { version, date, body: withoutLinks(body).trim() }
  })
}

/** The newest version that has been given a number; nothing if none has. */
export function newest(text) {
  return sections(text).find(({ version }) => version !== 'Unreleased')
}

/** What changed in a version: the text of its release. @throws Error if there is no such section, or nothing in it */
export function notesOf(text, version) {
  const section = sections(text).find((one) => one.version === version)
  if (section === undefined) throw new Error(`CHANGELOG.md has no section for ${version}`)
  if (section.body === '') throw new Error(`CHANGELOG.md says nothing of ${version}`)
  return section.body
}

/** The links at the end of the file belong to no section. */
const withoutLinks = (body) => body.replace(/^\[[^\]]+\]: \S+$/gm, '')
