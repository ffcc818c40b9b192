// How the addon is built by @napi-rs/cli, whatever the platform.

export const NAPI_BUILD = {
  cli: 'node_modules/@napi-rs/cli/dist/cli.js',
  args: ['build', '--platform', '--release', '--no-js', '--no-const-enum'],
  /** For another place than the checkout: the declarations are the same for each platform, and those here stay as they are. */
  apart: ['--dts', 'addon.d.ts'],
}
