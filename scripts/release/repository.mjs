// Where the packages come from. No file of the checkout says so: the workflows know it, wherever they run.

/**
 * What manifests say of the repository that `env.GITHUB_REPOSITORY` names, as workflows have it: nothing without one.
 * @throws Error if that is not `OWNER/NAME`
 */
export function linksOf(env) {
  const name = env.GITHUB_REPOSITORY
  if (name === undefined || name === '') return {}
  if (!/^\w[\w.-]*\/[\w.-]+$/.test(name)) throw new Error(`GITHUB_REPOSITORY is '${name}', not OWNER/NAME`)
  const url = `${env.GITHUB_SERVER_URL || 'https://github.com'}/${name}`
  return {
    repository: { type: 'git', url: `git+${url}.git` },
    homepage: `${url}#readme`,
    bugs: `${url}/issues`,
  }
}

/** What keeps a package with this manifest from being published from there: npm compares the two. */
export function complaint(manifest, env) {
  const found = manifest.repository?.url
  const hint = 'pack it with GITHUB_REPOSITORY set to OWNER/NAME'
  if (found === undefined)
    return `${manifest.name} has no repository, without which npm takes no statement of provenance: ${hint}`
  const wanted = linksOf(env).repository?.url
  if (found !== wanted)
    return `${manifest.name} is of the repository ${found}, and this is ${wanted ?? 'none: GITHUB_REPOSITORY is not set'}`
}
