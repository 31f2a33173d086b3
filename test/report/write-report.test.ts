import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import { isHardbitError } from '../../lib/errors.js';
import { toCsv } from '../../lib/report/csv.js';
import { writeReport } from '../../lib/report/write-report.js';
import type { Results } from '../../lib/study/results.js';
import { sampleExamples, sampleResults } from './sample-results.js';

/** A strict RFC 4180 reader: the independent half of the round trip. */
function parseCsv(text: string): string[][] {
  const rows: string[][] = [];
  let at = 0;
  while (at < text.length) {
    const row: string[] = [];
    for (;;) {
      let field = '';
      if (text[at] === '"') {
        at++;
        while (text[at] !== '"' || text[at + 1] === '"') {
          if (at >= text.length) throw new Error('unterminated quote');
          if (text[at] === '"') at++;
          field += text[at++];
        }
        at++;
      } else {
        while (at < text.length && text[at] !== ',' && text[at] !== '\r') {
          if (text[at] === '"' || text[at] === '\n') throw new Error('bare quote or line feed');
          field += text[at++];
        }
      }
      row.push(field);
      if (text[at] === ',') {
        at++;
        continue;
      }
      if (text.slice(at, at + 2) !== '\r\n') throw new Error('a record must end in CRLF');
      at += 2;
      break;
    }
    rows.push(row);
  }
  return rows;
}

function records(text: string): Record<string, string>[] {
  const [header, ...rows] = parseCsv(text);
  return rows.map((row) => {
    expect(row).to.have.length(header?.length as number);
    return Object.fromEntries(row.map((field, i) => [header?.[i] as string, field]));
  });
}

describe('report: writeReport', function () {
  this.timeout(60_000);
  let dir: string;
  const results = sampleResults({ inputBits: [8, 2], epsilons: [0.1, 8 / 255], l2: true, n: 400 });
  const examples = sampleExamples(results, 1);

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'hardbit-report-'));
    save(results, examples);
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  function save(first: unknown, second?: unknown): void {
    writeFileSync(join(dir, 'results.json'), JSON.stringify(first));
    if (second !== undefined) writeFileSync(join(dir, 'examples.json'), JSON.stringify(second));
  }

  async function failure(): Promise<Error & { code: string }> {
    try {
      await writeReport(dir);
    } catch (error) {
      if (isHardbitError(error)) {
        // One sentence, and nothing half-written.
        expect(error.message).to.match(/^[A-Z'].*\.$/);
        expect(error.message).to.not.include('\n');
        expect(readdirSync(dir).filter((name) => /report|csv|tmp/.test(name))).to.deep.equal([]);
        return error;
      }
      throw error;
    }
    throw new Error('no error was thrown');
  }

  it('writes pages, figures and tables, the same bytes every time', async () => {
    const written = await writeReport(dir);
    expect(written.html).to.equal(join(dir, 'report.html'));
    expect(written.csv).to.deep.equal(
      ['networks.csv', 'white-box.csv', 'worst-case.csv', 'transfer.csv', 'claims.csv'].map((name) =>
        join(dir, name),
      ),
    );
    expect(written.pages).to.deep.equal(
      results.networks.map(({ id }) => join(dir, 'networks', `${id}.html`)),
    );
    expect(written.figures).to.have.length(2 + 2 * 2);
    const all = [written.html, ...written.csv, ...written.pages, ...written.figures];
    const before = all.map((path) => readFileSync(path, 'utf8'));
    await writeReport(dir);
    expect(all.map((path) => readFileSync(path, 'utf8'))).to.deep.equal(before);
    expect(before[0]).to.match(/^<!doctype html>/);
    const names = readdirSync(dir, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name));
    expect(names.sort()).to.deep.equal(
      [...all, join(dir, 'examples.json'), join(dir, 'results.json')].sort(),
    );
  });

  it('keeps every figure exactly in the tables', async () => {
    const { csv } = await writeReport(dir);
    const [networks, whiteBox, worstCase, transfer, claims] = csv.map((path) =>
      records(readFileSync(path, 'utf8')),
    );
    expect(networks).to.have.length(results.networks.length);
    results.networks.forEach((network, i) => {
      const record = networks?.[i];
      expect(record?.['id']).to.equal(network.id);
      expect(Number(record?.['clean_accuracy'])).to.equal(network.cleanAccuracy);
      expect(record?.['training']).to.equal(network.training.kind);
      expect(record?.['training_epsilon']).to.equal(network.training.kind === 'natural' ? '' : '0.2');
    });
    expect(whiteBox).to.have.length(results.whiteBox.length);
    results.whiteBox.forEach((cell, i) => {
      const record = whiteBox?.[i];
      expect(record?.['network']).to.equal(cell.network);
      expect(Number(record?.['epsilon'])).to.equal(cell.epsilon);
      expect(record?.['attack']).to.equal(cell.attack.name);
      expect(record?.['sign_gradient']).to.equal(cell.gradientMode.sign ?? '');
      expect(Number(record?.['adversarial_accuracy'])).to.equal(cell.adversarialAccuracy);
      expect(Number(record?.['adversarial_loss'])).to.equal(cell.adversarialLoss);
      expect(Number(record?.['zero_gradient_fraction'])).to.equal(cell.zeroGradientFraction);
      expect(record?.['norm']).to.equal(cell.norm);
      expect(record?.['coverage']).to.equal(cell.coverage);
      expect(record?.['flippable_fraction'] === '').to.equal(cell.flippableFraction === null);
    });
    expect(worstCase).to.have.length(results.worstCase.length);
    results.worstCase.forEach((cell, i) => {
      const record = worstCase?.[i];
      expect(record?.['network']).to.equal(cell.network);
      expect(Number(record?.['adversarial_accuracy'])).to.equal(cell.adversarialAccuracy);
      expect(Number(record?.['interval_low'])).to.equal(cell.interval.low);
      expect(Number(record?.['interval_high'])).to.equal(cell.interval.high);
      expect(record?.['worst_sign_gradient']).to.equal(cell.worstMode.gradientMode.sign ?? '');
      expect(record?.['every_mode']).to.equal(String(cell.everyMode));
    });
    const verdicts = results.claims.flatMap((claim) => claim.verdicts);
    expect(claims).to.have.length(verdicts.length);
    verdicts.forEach((verdict, i) => {
      const record = claims?.[i];
      expect(record?.['verdict']).to.equal(verdict.verdict);
      expect(record?.['measured']).to.equal(verdict.measured);
      expect(JSON.parse(record?.['figures'] ?? '')).to.deep.equal(verdict.figures);
    });
    expect(transfer).to.have.length(results.transfer.length);
    results.transfer.forEach((cell, i) => {
      const record = transfer?.[i];
      expect([record?.['source'], record?.['target']]).to.deep.equal([cell.source, cell.target]);
      expect(record?.['diagonal']).to.equal(cell.diagonal ?? '');
      expect(Number(record?.['adversarial_accuracy'])).to.equal(cell.adversarialAccuracy);
    });
  });

  it('quotes any text so that it reads back unchanged', () => {
    const text = fc.oneof(fc.string(), fc.stringMatching(/^[",\r\n x]*$/));
    fc.assert(
      fc.property(fc.array(fc.tuple(text, text, text), { minLength: 1 }), (rows) => {
        const [header, ...rest] = rows as string[][] as [string[], ...string[][]];
        expect(parseCsv(toCsv(header, rest))).to.deep.equal(rows);
      }),
    );
    expect(toCsv(['a', 'b', 'c', 'd'], [[null, undefined, true, -0.25]])).to.equal(
      'a,b,c,d\r\n,,true,-0.25\r\n',
    );
  });

  it('writes a report without images where there is no examples.json', async () => {
    rmSync(join(dir, 'examples.json'));
    const { html } = await writeReport(dir);
    expect(readFileSync(html, 'utf8')).to.include('This study kept no example images.');
  });

  it('says that results.json is missing', async () => {
    rmSync(join(dir, 'results.json'));
    const error = await failure();
    expect(error.code).to.equal('ERR_HARDBIT_READ');
    expect(error.message).to.include('results.json');
  });

  it('says that a file is cut off, wherever it is cut', async () => {
    for (const name of ['results.json', 'examples.json']) {
      const whole = readFileSync(join(dir, name));
      for (const part of [0, 0.01, 0.5, 0.999]) {
        writeFileSync(join(dir, name), whole.subarray(0, Math.floor(part * whole.length)));
        const error = await failure();
        expect(error.code).to.equal('ERR_HARDBIT_FORMAT');
        expect(error.message).to.include(name).and.to.include('cut off');
      }
      writeFileSync(join(dir, name), whole);
    }
  });

  it('names the field that does not follow the schema', async () => {
    const wrong: readonly (readonly [unknown, string])[] = [
      [[], 'schema'],
      [null, 'schema'],
      [{ ...results, schema: 'other' }, 'hardbit/results'],
      [{ ...results, version: '1' }, 'version'],
      [{ ...results, seconds: 'long' }, 'seconds'],
      [{ ...results, surprise: 1 }, 'surprise'],
      [
        { ...results, whiteBox: [{ ...results.whiteBox[0], adversarialAccuracy: 1.5 }] },
        'whiteBox.0.adversarialAccuracy',
      ],
    ];
    for (const [value, field] of wrong) {
      save(value);
      const error = await failure();
      expect(error.code).to.equal('ERR_HARDBIT_FORMAT');
      expect(error.message).to.include(field);
    }
  });

  it('asks for a newer hardbit where the file is of a newer version', async () => {
    save({ ...results, version: 3, networks: 'of another kind' });
    const error = await failure();
    expect(error.code).to.equal('ERR_HARDBIT_FORMAT');
    expect(error.message).to.include('version 3').and.to.include('update hardbit');
    save({ ...results, version: 1 });
    expect((await failure()).message)
      .to.include('version 1')
      .and.to.include('run the study again');
    save(results, { ...examples, version: 7 });
    expect((await failure()).message).to.include('version 7');
  });

  it('refuses figures of a network that is not listed, and ids listed twice', async () => {
    const [first] = results.networks;
    save({ ...results, networks: results.networks.filter((network) => network !== first) } satisfies Results);
    expect((await failure()).message).to.include(`'${first?.id}'`);
    save({ ...results, networks: [...results.networks, first] });
    expect((await failure()).message).to.include('two networks');
  });

  it('leaves an earlier report whole where the examples cannot be shown', async () => {
    const { html } = await writeReport(dir);
    const before = readFileSync(html, 'utf8');
    save({ ...results, preset: 'other' }, { ...examples, imageShape: [28, 27, 1] });
    try {
      await writeReport(dir);
      throw new Error('no error was thrown');
    } catch (error) {
      if (!isHardbitError(error)) throw error;
      expect(error.code).to.equal('ERR_HARDBIT_FORMAT');
    }
    expect(readFileSync(html, 'utf8')).to.equal(before);
    expect(readFileSync(join(dir, 'networks.csv'), 'utf8')).to.not.equal('');
  });

  it('says that it cannot write', async () => {
    mkdirSync(join(dir, 'report.html'));
    writeFileSync(join(dir, 'report.html', 'in the way'), '');
    try {
      await writeReport(dir);
      throw new Error('no error was thrown');
    } catch (error) {
      if (!isHardbitError(error)) throw error;
      expect(error.code).to.equal('ERR_HARDBIT_WRITE');
    }
  });
});
