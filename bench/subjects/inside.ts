// What crossing.mjs needs of ts/, more than users get: scripts/build.mjs makes target/bench/inside of it.
export { theEnvironment } from '../../ts/crossing/environment.js'
export { HttpPeer, HttpProxy } from '../../ts/index.js'
export { peerEpoch, registerPeer } from '../../ts/native.js'
