import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { z } from 'zod';
import { LOCK_FILE, lockFolder } from '../../lib/study/lock.js';
import { StudyStore } from '../../lib/study/store.js';

const study = { dataset: 'mnist', preset: 'quick', seeds: 1, shard: { index: 1, count: 2 }, plan: 'abc' };

describe("a study's folder", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'hardbit-store-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  const opening =
    (resume: boolean, plan = study) =>
    () =>
      StudyStore.open(folder, plan, resume).close();

  it('is made where it is missing and may be empty', () => {
    expect(existsSync(StudyStore.open(join(folder, 'a', 'b'), study, false).path('study.json'))).to.equal(
      true,
    );
    rmSync(join(folder, 'a'), { recursive: true });
    expect(opening(true)).to.not.throw();
  });

  it('is not taken from other files', () => {
    writeFileSync(join(folder, 'letter.txt'), 'x');
    for (const resume of [false, true]) {
      expect(opening(resume)).to.throw('holds no study').with.property('code', 'ERR_HARDBIT_RESUME');
    }
    expect(readFileSync(join(folder, 'letter.txt'), 'utf8')).to.equal('x');
  });

  it('is continued only on request, and only by an equal plan', () => {
    opening(false)();
    expect(opening(false)).to.throw('--resume').with.property('code', 'ERR_HARDBIT_RESUME');
    expect(opening(true, { ...study, plan: 'def' }))
      .to.throw('another plan')
      .with.property('code', 'ERR_HARDBIT_RESUME');
    expect(opening(true, { ...study, shard: { index: 2, count: 2 } }))
      .to.throw('holds shard 1 of 2')
      .with.property('code', 'ERR_HARDBIT_RESUME');
    expect(opening(true)).to.not.throw();
  });

  it('is not continued where study.json is damaged', () => {
    opening(false)();
    writeFileSync(join(folder, 'study.json'), '{"schema":');
    expect(opening(true)).to.throw('damaged').with.property('code', 'ERR_HARDBIT_RESUME');
  });

  it('loses what a killed process left half-written', () => {
    opening(false)();
    const left = join(folder, 'cells', '.hardbit-123-0a0b0c.tmp');
    writeFileSync(left, 'half');
    opening(true)();
    expect(existsSync(left)).to.equal(false);
  });

  it('gives back what was kept, and nothing where a byte is wrong or missing', () => {
    const store = StudyStore.open(folder, study, false);
    const schema = z.strictObject({ a: z.number(), b: z.string() });
    store.write('cells/x.json', schema, { a: 0.1, b: 'ä' });
    expect(store.read('cells/x.json', schema)).to.deep.equal({ a: 0.1, b: 'ä' });
    expect(store.read('cells/y.json', schema)).to.equal(null);
    expect(store.read('cells/x.json', z.strictObject({ a: z.number() }))).to.equal(null);
    const path = store.path('cells/x.json');
    const whole = readFileSync(path);
    for (let length = 0; length < whole.length - 1; length++) {
      writeFileSync(path, whole.subarray(0, length));
      expect(store.read('cells/x.json', schema), `cut at ${length}`).to.equal(null);
    }
    const text = whole.toString().replace('0.1', '0.2');
    writeFileSync(path, text);
    expect(store.read('cells/x.json', schema)).to.equal(null);
  });

  it('can be looked at while a process is at work in it', () => {
    const store = StudyStore.open(folder, study, false);
    const { head, store: seen } = StudyStore.view(folder);
    expect(head).to.deep.equal(study);
    const schema = z.strictObject({ a: z.number() });
    store.write('cells/x.json', schema, { a: 1 });
    expect(seen.read('cells/x.json', schema)).to.deep.equal({ a: 1 });
    seen.close();
    expect(existsSync(join(folder, LOCK_FILE))).to.equal(true);
    store.close();
    writeFileSync(join(folder, 'study.json'), '{"schema":');
    expect(() => StudyStore.view(folder))
      .to.throw('damaged')
      .with.property('code', 'ERR_HARDBIT_FORMAT');
    rmSync(join(folder, 'study.json'));
    expect(() => StudyStore.view(folder))
      .to.throw()
      .with.property('code', 'ERR_HARDBIT_READ');
  });
});

describe('the lock of a study folder', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'hardbit-lock-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it('keeps a second study out until the first is done', () => {
    const unlock = lockFolder(folder);
    expect(() => lockFolder(folder)).to.throw(`Process ${process.pid} is at work`);
    unlock();
    lockFolder(folder)();
    expect(readdirSync(folder)).to.deep.equal([]);
  });

  it('takes over from a process that is gone, and from an empty file', () => {
    const gone = spawnSync(process.execPath, ['-e', '0']).pid;
    const unlock = lockFolder(folder);
    const [pid, host, start] = readFileSync(join(folder, LOCK_FILE), 'utf8').trim().split(' ');
    unlock();
    expect([pid, host]).to.deep.equal([String(process.pid), hostname()]);
    // The second is of a process that had this one's number.
    for (const content of [`${gone} ${host} ${start}\n`, `${pid} ${host} ${start}0\n`, '']) {
      writeFileSync(join(folder, LOCK_FILE), content);
      lockFolder(folder)();
    }
    expect(readdirSync(folder)).to.deep.equal([]);
  });

  it('names the other machine that holds it', () => {
    writeFileSync(join(folder, LOCK_FILE), '12 elsewhere\n');
    expect(() => lockFolder(folder)).to.throw('Process 12 on elsewhere');
  });
});
