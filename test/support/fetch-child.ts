import type { DatasetSource } from '../../lib/data/cache.js';
import { readVerified } from '../../lib/data/cache.js';
import { fetchDataset } from '../../lib/data/fetch.js';

/** Fetches the dataset described by the argument, then reads it back. */
const source = JSON.parse(process.argv[2] ?? '') as DatasetSource;
await readVerified(source, await fetchDataset(source));
