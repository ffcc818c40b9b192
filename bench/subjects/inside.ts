// What crossing.mjs needs of ts/, more than users get: scripts/build.mjs makes target/bench/inside of it.
export { numberOf, theEnvironment } from '../../ts/crossing/environment.js'
export { HttpPeer, HttpProxy } from '../../ts/index.js'
