/** The version of this package, which its binary has to have too. A test holds it to that of package.json. */
export const VERSION = '0.1.0'
