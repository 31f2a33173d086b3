import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import sharp from 'sharp';
import { compile } from '../../lib/compile/compile.js';
import { createModel } from '../../lib/models/registry.js';
import { PackedNetwork } from '../../lib/packed/packed.js';
import { packageRoot } from '../../lib/version.js';
import { byteImages } from '../support/deployable.js';

const folderOf = join(packageRoot, 'examples', 'server');

interface Answer {
  readonly status: number;
  readonly headers: Record<string, unknown>;
  readonly value: Record<string, unknown> & { readonly error?: { readonly code: string } };
}

describe('the example server', function () {
  this.timeout(60_000);
  let folder: string;
  let file: string;
  let image: Uint8Array;
  let server: ChildProcess;
  let base: string;

  /** Starts the server and waits until it says where it listens. */
  function start(): Promise<string> {
    server = spawn(process.execPath, [join(folderOf, 'server.mjs'), file, '--port', '0'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    return new Promise((resolve, reject) => {
      let text = '';
      server.stdout?.setEncoding('utf8').on('data', (part: string) => {
        text += part;
        const url = /(http:\/\/[\d.]+:\d+)\/classify/.exec(text)?.[1];
        if (url !== undefined) resolve(url);
      });
      server.on('exit', (code) => reject(new Error(`The server ended with ${code}: ${text}`)));
    });
  }

  function call(
    path: string,
    body?: Uint8Array,
    headers: Record<string, string | number> = {},
    method = body === undefined ? 'GET' : 'POST',
  ): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const sent = request(new URL(path, base), { method, headers, agent: false }, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (part: string) => {
          text += part;
        });
        response.on('end', () => {
          resolve({ status: response.statusCode ?? 0, headers: response.headers, value: JSON.parse(text) });
        });
      });
      sent.on('error', reject);
      sent.end(body);
    });
  }

  /** Waits until the server says that so many requests are in work. */
  async function untilInWork(count: number): Promise<void> {
    let inWork: unknown;
    for (let tries = 0; tries < 500; tries++) {
      inWork = (await call('/statistics')).value['inWork'];
      if (inWork === count) return;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect(inWork, 'requests in work').to.equal(count);
  }

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'hardbit-server-'));
    file = join(folder, 'net.hbit');
    using model = createModel('lenet5', { inputBits: 2, recipe: 'bnn', seed: 1 });
    compile(model, file);
    image = byteImages(model.spec, 3, 1).subarray(2 * 784);
    base = await start();
  });
  after(() => {
    server.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });

  it('classifies an uploaded image, of whatever size, as the network does', async () => {
    using network = PackedNetwork.loadSync(file);
    const { classes, logits } = network.predictSync(image);
    const grey = { raw: { width: 28, height: 28, channels: 1 } } as const;
    const png = await sharp(image, grey).png().toBuffer();
    const large = await sharp(image, grey).resize(280, 280, { kernel: 'nearest' }).png().toBuffer();
    const found = await call('/classify', png, { 'content-type': 'image/png' });
    expect(found.status).to.equal(200);
    expect(found.value).to.deep.include({ class: classes[0], logits: [...logits] });
    expect(found.value['milliseconds']).to.be.a('number');
    const bytes = await call('/classify', image, { 'content-type': 'application/octet-stream' });
    expect(bytes.value['logits']).to.deep.equal([...logits]);
    expect((await call('/classify', large)).value['logits']).to.have.length(10);
  });

  it('says what it serves', async () => {
    const { status, value } = await call('/health');
    expect(status).to.equal(200);
    expect(value).to.deep.include({ status: 'ok', model: 'lenet5', inputShape: [28, 28, 1], classes: 10 });
    const statistics = await call('/statistics');
    expect(statistics.value['eventLoopDelay']).to.have.all.keys('mean', 'p99', 'max');
  });

  it('answers mistakes with a code and a sentence', async () => {
    const wrong = async (...args: Parameters<typeof call>) => {
      const { status, value } = await call(...args);
      return [status, value.error?.code];
    };
    expect(await wrong('/classify', Buffer.alloc(0))).to.deep.equal([400, 'NO_IMAGE']);
    expect(await wrong('/classify', Buffer.from('no image'))).to.deep.equal([415, 'NOT_AN_IMAGE']);
    const raw = { 'content-type': 'application/octet-stream' };
    expect(await wrong('/classify', image.subarray(1), raw)).to.deep.equal([400, 'WRONG_LENGTH']);
    expect(await wrong('/classify')).to.deep.equal([405, 'WRONG_METHOD']);
    expect(await wrong('/health', Buffer.from('x'))).to.deep.equal([405, 'WRONG_METHOD']);
    for (const path of ['/', '/toString', '/classify/']) {
      expect(await wrong(path)).to.deep.equal([404, 'NOT_FOUND']);
    }
  });

  it('reads no more than 8 MiB, whether or not the length is announced', async () => {
    const large = Buffer.alloc((8 << 20) + 1);
    for (const headers of [{ 'content-length': large.length }, { 'transfer-encoding': 'chunked' }]) {
      const answer = await call('/classify', large, headers as Record<string, string>).catch(
        (error: NodeJS.ErrnoException) => error.code,
      );
      // The server may close before all is sent: then the answer is lost on some systems.
      if (typeof answer === 'object')
        expect([answer.status, answer.value.error?.code]).to.deep.equal([413, 'TOO_LARGE']);
      else expect(['EPIPE', 'ECONNRESET']).to.include(answer);
    }
    expect((await call('/health')).status).to.equal(200);
  });

  it('survives a client that hangs up in the middle', async () => {
    const { port } = new URL(base);
    for (let i = 0; i < 5; i++) {
      const socket = connect(Number(port), '127.0.0.1');
      socket.write('POST /classify HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nabc');
      await untilInWork(1);
      socket.destroy();
      await untilInWork(0);
    }
  });

  it('is measured by the load test', () => {
    const load = spawnSync(
      process.execPath,
      [join(folderOf, 'load.mjs'), base, '--callers', '4', '--seconds', '0.5', '--json'],
      { encoding: 'utf8' },
    );
    expect(load.stderr).to.equal('');
    const result = JSON.parse(load.stdout) as {
      requests: number;
      failures: number;
      milliseconds: { median: number; p99: number; max: number };
      eventLoopDelayMilliseconds: { p99: number };
    };
    expect(result.requests).to.be.above(0);
    expect(result.failures).to.equal(0);
    expect(result.milliseconds.median).to.be.within(0.01, result.milliseconds.p99);
    expect(result.milliseconds.p99).to.be.at.most(result.milliseconds.max);
    expect(result.eventLoopDelayMilliseconds.p99).to.be.at.least(0);
  });

  it('finishes what is in work when it is told to stop', async () => {
    const { port } = new URL(base);
    const answer = await new Promise<string>((resolve, reject) => {
      const socket = connect(Number(port), '127.0.0.1', () => {
        socket.write(
          'POST /classify HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/octet-stream\r\ncontent-length: 784\r\n\r\n',
        );
        untilInWork(1).then(() => {
          server.kill('SIGTERM');
          setTimeout(() => socket.write(image), 200);
        }, reject);
      });
      let text = '';
      socket.setEncoding('utf8').on('data', (part: string) => {
        text += part;
      });
      socket.on('end', () => resolve(text));
      socket.on('error', reject);
    });
    expect(answer).to.match(/^HTTP\/1\.1 200 /);
    const code = await new Promise((resolve) => {
      if (server.exitCode !== null) resolve(server.exitCode);
      else server.on('exit', resolve);
    });
    expect(code).to.equal(0);
  });
});
