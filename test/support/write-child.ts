import { writeFileAtomic } from '../../lib/files.js';

/** Overwrites a file again and again, each time with one byte value throughout, until the parent hangs up. */
const [path = '', length = '0'] = process.argv.slice(2);
let i = 0;
const timer = setInterval(() => writeFileAtomic(path, new Uint8Array(Number(length)).fill(i++)), 0);
process.once('disconnect', () => clearInterval(timer));
