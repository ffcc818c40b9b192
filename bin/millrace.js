#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'

const HELP = `millrace: a programmable HTTP proxy for Node.js

  millrace --version   prints the version
  millrace --help      prints this

A proxy is a program of yours that imports millrace; the README has one of 15 lines.
`

const flag = (short) => ({ type: 'boolean', short })

try {
  const { values } = parseArgs({ options: { version: flag('v'), help: flag('h') } })
  if (values.version) {
    const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
    process.stdout.write(`${version}\n`)
  } else process.stdout.write(HELP)
} catch (error) {
  process.stderr.write(`millrace: ${error.message}\n\n${HELP}`)
  process.exitCode = 2
}
