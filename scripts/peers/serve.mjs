// The protocol of lib/bench/programs.ts: one line of JSON when ready, then for each `go N` the seconds of N runs.
import { createInterface } from 'node:readline';

/** `run` does the work once and may return a promise. */
export async function serve(hello, run) {
  const reply = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
  for (let i = 0; i < 3; i++) await run();
  reply(hello);
  for await (const line of createInterface({ input: process.stdin })) {
    const times = Number(line.split(' ')[1]);
    const begin = process.hrtime.bigint();
    for (let i = 0; i < times; i++) await run();
    const seconds = Number(process.hrtime.bigint() - begin) / 1e9;
    reply({ seconds, peakMegabytes: process.resourceUsage().maxRSS / 1000 });
  }
}

/** The network to build: the one argument, as JSON. */
export const network = () => JSON.parse(process.argv[2]);

export const randomImages = ({ batch, height, width, channels }) =>
  Float32Array.from({ length: batch * height * width * channels }, Math.random);
