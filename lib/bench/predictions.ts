import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { PackedNetwork, poolStatistics } from '../packed/packed.js';

// hardbit's side of `hardbit bench inference`: a deployed network in a program of its own, which loads nothing but the
// packed engine. It speaks the protocol of programs.ts.

function main(): void {
  const { values } = parseArgs({
    options: { file: { type: 'string', default: '' }, batch: { type: 'string', default: '' } },
  });
  const network = PackedNetwork.loadSync(values.file);
  const batch = Number(values.batch);
  const pixels = network.inputShape.reduce((a, b) => a * b, batch);
  const images = Uint8Array.from({ length: pixels }, () => Math.floor(256 * Math.random()));
  const logits = new Float32Array(batch * network.classes);
  const run = (times: number): number => {
    const begin = process.hrtime.bigint();
    for (let i = 0; i < times; i++) network.predictSync(images, { logits });
    return Number(process.hrtime.bigint() - begin) / 1e9;
  };
  const reply = (value: object): void => {
    process.stdout.write(`${JSON.stringify(value)}\n`);
  };
  run(2);
  reply({ threads: poolStatistics().threads });
  createInterface({ input: process.stdin }).on('line', (line) => {
    const seconds = run(Number(line.split(' ')[1]));
    reply({ seconds, peakMegabytes: process.resourceUsage().maxRSS / 1000 });
  });
}

main();
