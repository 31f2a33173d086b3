import { expect } from 'chai';
import { interleave } from '../../lib/bench/interleave.js';
import { rejection } from '../support/failure.js';

/** Takes `seconds` a time, and notes its turns. */
const subject = (name: string, seconds: number, turns: [string, number][]) => ({
  run(times: number) {
    turns.push([name, times]);
    return times * seconds;
  },
});

describe('interleaved timing', () => {
  it('repeats work until a sample lasts long enough, and tells the seconds of one time', async () => {
    const turns: [string, number][] = [];
    const samples = await interleave([subject('a', 0.001, turns), subject('b', 0.5, turns)], {
      rounds: 2,
      sampleSeconds: 0.1,
    });
    expect(samples).to.deep.equal([
      [0.001, 0.001],
      [0.5, 0.5],
    ]);
    const [first, last] = turns.slice(-4, -2) as [[string, number], [string, number]];
    expect(first[0]).to.equal('a');
    expect(first[1]).to.be.within(100, 200);
    expect(last).to.deep.equal(['b', 1]);
  });

  it('takes turns, and turns the order round every second round', async () => {
    const turns: [string, number][] = [];
    const subjects = ['a', 'b', 'c'].map((name) => subject(name, 1, turns));
    await interleave(subjects, { rounds: 3, sampleSeconds: 0 });
    expect(turns.slice(3).map(([name]) => name)).to.deep.equal(['a', 'b', 'c', 'c', 'b', 'a', 'a', 'b', 'c']);
  });

  it('waits for subjects that answer later', async () => {
    const later = { run: async (times: number) => 2 * times };
    expect(await interleave([later], { rounds: 2, sampleSeconds: 0 })).to.deep.equal([[2, 2]]);
  });

  it('does not loop for ever on work that takes no time', async () => {
    const idle = { run: () => 0 };
    expect(await interleave([idle], { rounds: 1, sampleSeconds: 1 })).to.deep.equal([[0]]);
  });

  it('stops where it is asked to', async () => {
    const controller = new AbortController();
    const turns: [string, number][] = [];
    const ending = {
      run(times: number) {
        turns.push(['x', times]);
        controller.abort();
        return 1;
      },
    };
    const { code } = await rejection(
      interleave([ending], { rounds: 5, sampleSeconds: 0, signal: controller.signal }),
    );
    expect([code, turns.length]).to.deep.equal(['ERR_HARDBIT_ABORTED', 1]);
  });

  for (const [rounds, sampleSeconds] of [
    [0, 1],
    [1.5, 1],
    [1, -1],
    [1, Number.NaN],
  ] as const) {
    it(`refuses ${rounds} rounds of ${sampleSeconds} s`, async () => {
      const { code } = await rejection(interleave([], { rounds, sampleSeconds }));
      expect(code).to.equal('ERR_HARDBIT_ARGUMENT');
    });
  }
});
