import { fork } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { makeFolder, readFile, requireWritable, sha256, writeFileAtomic } from '../lib/files.js';
import { failure } from './support/failure.js';

describe('files', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'hardbit-files-'));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  it('finds out beforehand what cannot be written, and changes nothing', () => {
    const path = join(folder, 'a.txt');
    requireWritable(path);
    writeFileSync(path, 'old');
    requireWritable(path);
    expect(readdirSync(folder)).to.deep.equal(['a.txt']);
    expect(readFileSync(path, 'utf8')).to.equal('old');
    for (const wrong of [folder, join(folder, 'missing', 'a.txt'), join(path, 'a.txt')]) {
      expect(() => requireWritable(wrong), wrong)
        .to.throw()
        .with.property('code', 'ERR_HARDBIT_WRITE');
    }
  });

  it('writes text and bytes, replaces what was there, and leaves no other file', () => {
    const path = join(folder, 'a.txt');
    writeFileAtomic(path, 'längst');
    expect(readFileSync(path, 'utf8')).to.equal('längst');
    writeFileAtomic(path, Uint8Array.of(1, 2, 3));
    expect([...readFile(path)]).to.deep.equal([1, 2, 3]);
    expect(readdirSync(folder)).to.deep.equal(['a.txt']);
  });

  it('keeps the permissions of the file it replaces', () => {
    const path = join(folder, 'a');
    writeFileSync(path, 'old');
    chmodSync(path, 0o640);
    writeFileAtomic(path, 'new');
    expect(statSync(path).mode & 0o777).to.equal(0o640);
  });

  it('follows a symbolic link', () => {
    mkdirSync(join(folder, 'real'));
    writeFileSync(join(folder, 'real', 'a'), 'old');
    symlinkSync(join('real', 'a'), join(folder, 'link'));
    writeFileAtomic(join(folder, 'link'), 'new');
    expect(readFileSync(join(folder, 'real', 'a'), 'utf8')).to.equal('new');
    expect(readdirSync(join(folder, 'real'))).to.deep.equal(['a']);
    expect(readdirSync(folder).sort()).to.deep.equal(['link', 'real']);
  });

  it('says that the disk is full, and leaves a device a device', function () {
    if (!existsSync('/dev/full')) this.skip();
    const error = failure(() => writeFileAtomic('/dev/full', 'x'));
    expect(error.code).to.equal('ERR_HARDBIT_WRITE');
    expect(error.message).to.equal(
      'Cannot write /dev/full: the disk is full; free some space or choose another place.',
    );
    expect(statSync('/dev/full').isCharacterDevice()).to.equal(true);
    writeFileAtomic('/dev/null', 'x');
    expect(statSync('/dev/null').isCharacterDevice()).to.equal(true);
  });

  it('refuses a folder that is missing, a folder in place of a file, a file in place of a folder', () => {
    writeFileSync(join(folder, 'file'), 'kept');
    const cases = [
      [join(folder, 'none', 'a'), 'its folder does not exist; create it first'],
      [folder, 'it is a folder; give the name of a file'],
      [join(folder, 'file', 'a'), 'part of the path is a file, not a folder; choose another place'],
      [join(folder, 'x'.repeat(300)), 'the name is too long; choose a shorter one'],
    ] as const;
    for (const [path, problem] of cases) {
      const error = failure(() => writeFileAtomic(path, 'x'));
      expect(error.code).to.equal('ERR_HARDBIT_WRITE');
      expect(error.message).to.equal(`Cannot write ${path}: ${problem}.`);
    }
    expect(readdirSync(folder)).to.deep.equal(['file']);
    expect(readFileSync(join(folder, 'file'), 'utf8')).to.equal('kept');
  });

  it('refuses a place without permission and keeps the old file', function () {
    if (process.getuid?.() === 0) this.skip();
    const path = join(folder, 'a');
    writeFileSync(path, 'old');
    chmodSync(folder, 0o500);
    try {
      const error = failure(() => writeFileAtomic(path, 'new'));
      expect(error.code).to.equal('ERR_HARDBIT_WRITE');
      expect(error.message).to.contain('you may not write there');
      expect(readFileSync(path, 'utf8')).to.equal('old');
      expect(readdirSync(folder)).to.deep.equal(['a']);
    } finally {
      chmodSync(folder, 0o700);
    }
  });

  it('removes its temporary file when the write fails half way', () => {
    const path = join(folder, 'a');
    writeFileSync(path, 'old');
    // An object that is no bytes makes the write throw after the temporary file was opened.
    const error = failure(() => writeFileAtomic(path, {} as Uint8Array));
    expect(error.code).to.equal('ERR_HARDBIT_WRITE');
    expect(readdirSync(folder)).to.deep.equal(['a']);
    expect(readFileSync(path, 'utf8')).to.equal('old');
  });

  it('shows a reader the old or the new contents whole, never a part, while another process writes', async () => {
    const path = join(folder, 'a');
    const length = 1 << 20;
    writeFileAtomic(path, new Uint8Array(length).fill(9));
    const child = fork(
      new URL('./support/write-child.ts', import.meta.url).pathname,
      [path, String(length)],
      {
        execArgv: ['--import', 'tsx'],
      },
    );
    const ended = new Promise<number | null>((resolve) => child.on('exit', resolve));
    const seen = new Set<number>();
    try {
      while (seen.size < 20 && child.exitCode === null) {
        const data = readFile(path);
        expect(data.length).to.equal(length);
        expect(data.every((byte) => byte === data[0])).to.equal(true);
        seen.add(data[0] as number);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    } finally {
      if (child.connected) child.disconnect();
    }
    expect(await ended).to.equal(0);
    expect(seen.size).to.equal(20);
    expect(readdirSync(folder)).to.deep.equal(['a']);
  });

  it('says what is wrong with a file that cannot be read', () => {
    const missing = failure(() => readFile(join(folder, 'none')));
    expect(missing.code).to.equal('ERR_HARDBIT_READ');
    expect(missing.message).to.equal(
      `Cannot read ${join(folder, 'none')}: there is no such file; check the path.`,
    );
    expect(failure(() => readFile(folder)).message).to.contain('it is a folder');
  });

  it('creates folders with their parents, and says where it cannot', () => {
    makeFolder(join(folder, 'a', 'b'));
    makeFolder(join(folder, 'a', 'b'));
    expect(statSync(join(folder, 'a', 'b')).isDirectory()).to.equal(true);
    makeFolder(join(folder, 'a', 'c'));
    expect(readdirSync(join(folder, 'a')).sort()).to.deep.equal(['b', 'c']);
    writeFileSync(join(folder, 'file'), '');
    symlinkSync('nowhere', join(folder, 'dangling'));
    for (const [path, problem] of [
      [join(folder, 'file'), 'something of that name is in the way; choose another place'],
      [join(folder, 'dangling'), 'something of that name is in the way; choose another place'],
      [join(folder, 'file', 'c'), 'part of the path is a file, not a folder; choose another place'],
      ['', 'its folder does not exist; create it first'],
    ] as const) {
      const error = failure(() => makeFolder(path));
      expect(error.code).to.equal('ERR_HARDBIT_WRITE');
      expect(error.message).to.equal(`Cannot create the folder ${path}: ${problem}.`);
    }
  });

  it('computes SHA-256 (FIPS 180-2, "abc")', () => {
    expect(sha256(Buffer.from('abc'))).to.equal(
      'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
    );
  });
});
