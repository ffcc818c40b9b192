// The recipes of docs/deploying.md, as far as a machine without systemd, Docker and Kubernetes can run them.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { parse } from 'yaml'
import { Folder } from './support/cli.js'
import { startOrigin } from './support/origin.js'

vi.setConfig({ testTimeout: 30_000 })

const page = readFileSync('docs/deploying.md', 'utf8')
const block = (language: string) => new RegExp(`\`\`\`${language}\\n(.+?)\`\`\``, 's').exec(page)![1]!

/** Whether a command is there, and works. */
const has = (command: string, ...args: string[]) => spawnSync(command, args).status === 0

const LISTEN = ['--listen', '127.0.0.1:0']

describe('the program', () => {
  test('is ready until it is told to stop, and serves for as long as it was told to after', async () => {
    const { env } = parse(block('yaml')).spec.template.spec.containers[0]
    const { value } = env.find(({ name }: { name: string }) => name === 'MILLRACE_SERVER_SHUTDOWN_DELAY_MS')
    expect(Number(value)).toBe(5000)
    const origin = await startOrigin((_request, response) => void response.end('from the origin'))
    const program = block('ts').replace('127.0.0.1:9000', `127.0.0.1:${origin.port}`)
    const started = new Folder({ 'gateway.ts': program }).start(['run', 'gateway.ts', ...LISTEN], {
      MILLRACE_SERVER_SHUTDOWN_DELAY_MS: '1500',
    })
    const [url] = await started.urls()
    expect((await fetch(`${url}/ready`)).status).toBe(200)
    started.child.kill('SIGTERM')
    await vi.waitFor(async () => expect((await fetch(`${url}/ready`)).status).toBe(503), 1_000)
    expect(await (await fetch(url!)).text()).toBe('from the origin')
    expect((await started.ended).code).toBe(0)
  })
})

describe('systemd', () => {
  test.skipIf(!has('systemd-analyze', '--version'))('takes the unit', () => {
    const folder = new Folder({
      'gateway.service': block('ini').replaceAll('/usr/bin/node', process.execPath),
    })
    const { status, stdout, stderr } = spawnSync(
      'systemd-analyze',
      ['verify', join(folder.path, 'gateway.service')],
      {
        encoding: 'utf8',
      },
    )
    expect([status, stdout]).toEqual([0, ''])
    expect(stderr).not.toContain('gateway.service')
  })
})

describe('as the first process', () => {
  const UNSHARE = ['--user', '--map-root-user', '--pid', '--fork', '--kill-child']
  const canUnshare = process.platform === 'linux' && has('unshare', ...UNSHARE, 'true')

  /** Runs the command as PID 1 of a namespace. */
  function start(module: string, ready: string) {
    const folder = new Folder({ 'gateway.mjs': module })
    const command = [process.execPath, resolve('bin/millrace.js'), 'run', 'gateway.mjs', ...LISTEN]
    const child = spawn('unshare', [...UNSHARE, ...command], {
      cwd: folder.path,
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    onTestFinished(() => void child.kill('SIGKILL'))
    const isReady = new Promise<void>((resolve) => {
      let printed = ''
      child.stdout.on('data', (text) => {
        printed += text
        if (printed.includes(ready)) resolve()
      })
    })
    const first = () => Number(readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8'))
    return { isReady, first, ended: once(child, 'close') }
  }

  test.skipIf(!canUnshare)('a signal ends it', async () => {
    const { isReady, first, ended } = start(
      block('ts').replace(' as const', '').replace('5_000', '0'),
      'listening on',
    )
    await isReady
    const status = readFileSync(`/proc/${first()}/status`, 'utf8')
    expect(status).toMatch(/^NSpid:.*\t1$/m)
    process.kill(first(), 'SIGTERM')
    expect((await ended)[0]).toBe(0)
  })

  test.skipIf(!canUnshare)('a signal ends it before the module is loaded', async () => {
    const { isReady, first, ended } = start(
      'console.log("loading"); await new Promise(() => setInterval(() => {}, 1000))',
      'loading',
    )
    await isReady
    process.kill(first(), 'SIGTERM')
    expect((await ended)[0]).toBe(0)
  })
})

describe('Kubernetes', () => {
  test('the manifest fits the program, and the times each other', () => {
    const { spec } = parse(block('yaml')).spec.template
    const [container] = spec.containers
    const [, delay, grace] = /shutdownDelayMs: ([\d_]+), graceMs: ([\d_]+)/.exec(block('ts'))!
    const ms = (text: string) => Number(text.replaceAll('_', ''))
    expect(spec.terminationGracePeriodSeconds * 1000).toBeGreaterThan(ms(delay!) + ms(grace!))
    const probe = container.readinessProbe
    expect(probe.periodSeconds * probe.failureThreshold * 1000).toBeLessThan(ms(delay!))
    expect(block('ts')).toContain(`'${probe.httpGet.path}'`)
    const [, stop] = /TimeoutStopSec=(\d+)/.exec(block('ini'))!
    expect(Number(stop) * 1000).toBeGreaterThan(ms(delay!) + ms(grace!))
    const { value } = container.env.find(({ name }: { name: string }) => name === 'MILLRACE_PROXY_THREADS')
    expect(value).toBe(container.resources.requests.cpu)
  })

  test.skipIf(!has('kubectl', 'version', '--client'))('kubectl reads it', () => {
    const folder = new Folder({
      'gateway.yaml': block('yaml'),
      'kustomization.yaml': 'resources: [gateway.yaml]\n',
    })
    const { status, stdout } = spawnSync('kubectl', ['kustomize', folder.path], { encoding: 'utf8' })
    expect(status).toBe(0)
    expect(parse(stdout).spec.template.spec.containers[0].name).toBe('gateway')
  })
})

test('the configuration of docs/command-line.md is one of the module above it', async () => {
  const [, , , module, text] = /```js\n(.+?)```(.+?)```js\n(.+?)```.+?```yaml\n(.+?)```/s.exec(
    readFileSync('docs/command-line.md', 'utf8'),
  )!
  const of = (name: string) => readFileSync(`__test__/certs/${name}`, 'utf8')
  const folder = new Folder({
    'gateway.mjs': module!,
    'conf.yaml': text!,
    'tls/cert.pem': of('localhost.pem'),
    'tls/key.pem': of('localhost.key'),
  })
  const out = 'millrace: gateway.mjs: ok: proxy on 127.0.0.1:8080, 0.0.0.0:8443; admin on 127.0.0.1:9000\n'
  const args = ['run', 'gateway.mjs', '--test', '--config', 'conf.yaml']
  expect(await folder.run(args)).toEqual({ code: 0, out, err: '' })
})
