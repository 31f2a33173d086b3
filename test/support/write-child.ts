import { writeFileAtomic } from '../../lib/files.js';

/** Overwrites a file many times, each time with one byte value throughout. */
const [path = '', length = '0'] = process.argv.slice(2);
for (let i = 0; i < 60; i++) writeFileAtomic(path, new Uint8Array(Number(length)).fill(i));
