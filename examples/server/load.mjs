// A load test of server.mjs: callers that send the next image as soon as they have the answer to the last.
//
//   node examples/server/load.mjs http://127.0.0.1:8080 [--callers 8] [--seconds 10] [--image digit.png] [--json]
//
// Without --image the network's own input is sent as bytes of noise, which leaves the decoding of images out. The event-loop delay
// is the server's; callers on the same machine take processor time from it.
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { parseArgs } from 'node:util';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    callers: { type: 'string', default: '8' },
    seconds: { type: 'string', default: '10' },
    image: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});
const [base] = positionals;
const callers = Number(options.callers);
const seconds = Number(options.seconds);
if (base === undefined || !Number.isInteger(callers) || callers < 1 || !(seconds > 0)) {
  console.error('usage: node load.mjs URL [--callers 8] [--seconds 10] [--image digit.png] [--json]');
  process.exit(2);
}

const agent = new Agent({ keepAlive: true, maxSockets: callers + 1 });

function fetchJson(path, body, type) {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { 'content-type': type, 'content-length': body.length };
    const call = request(
      new URL(path, base),
      { agent, method: body === undefined ? 'GET' : 'POST', headers },
      (response) => {
        const chunks = [];
        response.on('data', (chunk) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          resolve({ status: response.statusCode, value: JSON.parse(Buffer.concat(chunks)) });
        });
      },
    );
    call.on('error', reject);
    call.end(body);
  });
}

const { value: network } = await fetchJson('/health');
const size = network.inputShape.reduce((product, each) => product * each, 1);
const [body, type] =
  options.image === undefined
    ? [Buffer.from({ length: size }, () => 256 * Math.random()), 'application/octet-stream']
    : [readFileSync(options.image), 'image/*'];

const latencies = [];
let failures = 0;

async function caller(until) {
  while (performance.now() < until) {
    const begin = performance.now();
    const { status } = await fetchJson('/classify', body, type);
    if (status === 200) latencies.push(performance.now() - begin);
    else failures++;
  }
}

async function run(duration) {
  const begin = performance.now();
  await Promise.all(Array.from({ length: callers }, () => caller(begin + 1000 * duration)));
  return (performance.now() - begin) / 1000;
}

await run(Math.min(1, seconds)); // connections open, code warm
latencies.length = 0;
failures = 0;
await fetchJson('/statistics'); // begins its measurement anew
const elapsed = await run(seconds);
const { value: statistics } = await fetchJson('/statistics');
agent.destroy();

latencies.sort((a, b) => a - b);
const quantile = (q) =>
  latencies[Math.min(latencies.length - 1, Math.floor(q * latencies.length))] ?? Number.NaN;
const result = {
  network: network.model,
  isa: network.isa,
  callers,
  seconds: elapsed,
  requests: latencies.length,
  failures,
  requestsPerSecond: latencies.length / elapsed,
  milliseconds: { median: quantile(0.5), p99: quantile(0.99), max: quantile(1) },
  eventLoopDelayMilliseconds: statistics.eventLoopDelay,
};
if (options.json) {
  console.log(JSON.stringify(result));
} else {
  const { median, p99, max } = result.milliseconds;
  const delay = result.eventLoopDelayMilliseconds;
  console.log(`${result.network} on ${result.isa}, ${callers} callers, ${elapsed.toFixed(1)} s`);
  console.log(`requests a second   ${result.requestsPerSecond.toFixed(0)} (${failures} failed)`);
  console.log(
    `latency             median ${median.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms, most ${max.toFixed(2)} ms`,
  );
  console.log(
    `event-loop delay    mean ${delay.mean.toFixed(2)} ms, p99 ${delay.p99.toFixed(2)} ms, most ${delay.max.toFixed(2)} ms`,
  );
}
