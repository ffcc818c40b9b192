import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    pool: 'forks',
    include: ['__test__/**/*.test.ts'],
    // For tests that hang: a busy machine needs a multiple of what they take on one at rest.
    testTimeout: 40_000,
    hookTimeout: 60_000,
    typecheck: { enabled: true, include: ['__test__/**/*.test-d.ts'], tsconfig: './tsconfig.json' },
  },
})
