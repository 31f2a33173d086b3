// Classifies uploaded images with a deployed network: plain Node, no framework.
//
//   node examples/server/server.mjs net.hbit [--port 8080] [--host 127.0.0.1]
//
//   curl --data-binary @digit.png http://127.0.0.1:8080/classify
//   {"class":7,"logits":[…],"milliseconds":1.9}
//
//   POST /classify     an image file of any format that sharp reads, resized to the network's input; or, as
//                      application/octet-stream, the input's own bytes, H×W×C
//   GET  /health       the network, and that it is there
//   GET  /statistics   the worker pool, and the delay of the event loop since the last such request
//
// Errors are {"error":{"code","message"}}: 400 no image, 404, 405, 413 too large, 415 not an image, 503 too busy.
import { createServer } from 'node:http';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { PackedNetwork, packedInfo, poolStatistics } from 'hardbit/packed';
import sharp from 'sharp';

const MOST_BYTES = 8 << 20;
const MOST_PIXELS = 64 << 20;
/** Requests in work; more are told to come again, so that memory and waiting times stay bounded. */
const MOST_REQUESTS = 256;
/** What a connection may still take once the server is told to stop. */
const GRACE_MILLISECONDS = 10_000;

class RequestError extends Error {
  constructor(status, code, message, headers = {}) {
    super(message);
    Object.assign(this, { status, code, headers });
  }
}

function tooLarge() {
  const message = `The image has more than ${MOST_BYTES >> 20} MiB; send a smaller one.`;
  // The rest of the body is not read: the connection cannot be used again.
  return new RequestError(413, 'TOO_LARGE', message, { connection: 'close' });
}

async function bodyOf(request) {
  if (Number(request.headers['content-length'] ?? 0) > MOST_BYTES) throw tooLarge();
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > MOST_BYTES) throw tooLarge();
    chunks.push(chunk);
  }
  if (size === 0) throw new RequestError(400, 'NO_IMAGE', 'The request has no body; send an image.');
  return Buffer.concat(chunks, size);
}

/** The bytes of the network's input, H×W×C. */
async function pixelsOf(body, [height, width, channels]) {
  const image = sharp(body, { limitInputPixels: MOST_PIXELS, failOn: 'error' })
    .rotate() // as its EXIF says
    .flatten() // no transparency
    .resize(width, height, { fit: 'cover' })
    .toColourspace(channels === 1 ? 'b-w' : 'srgb');
  try {
    return await image.raw().toBuffer();
  } catch {
    throw new RequestError(
      415,
      'NOT_AN_IMAGE',
      'The body is not an image that can be read; send PNG, JPEG or WebP.',
    );
  }
}

async function classify(network, request, signal) {
  const begin = performance.now();
  const body = await bodyOf(request);
  const raw = request.headers['content-type'] === 'application/octet-stream';
  const pixels = raw ? body : await pixelsOf(body, network.inputShape);
  const size = network.inputShape.reduce((product, each) => product * each, 1);
  if (pixels.length !== size) {
    throw new RequestError(400, 'WRONG_LENGTH', `The body has ${pixels.length} bytes; expected ${size}.`);
  }
  const { classes, logits } = await network.predict(pixels, { signal });
  return { class: classes[0], logits: [...logits], milliseconds: performance.now() - begin };
}

function send(response, status, value, headers = {}) {
  if (response.destroyed || response.headersSent) return;
  const text = `${JSON.stringify(value)}\n`;
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
    ...headers,
  });
  response.end(text);
}

function startServer(network) {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  // What a timer of one millisecond takes beyond it.
  const milliseconds = (nanoseconds) => Math.max(0, nanoseconds / 1e6 - 1);
  let inWork = 0;

  const routes = {
    '/classify': {
      method: 'POST',
      async answer(request, signal) {
        if (inWork >= MOST_REQUESTS) {
          throw new RequestError(503, 'BUSY', 'Too many requests are in work; try again.', {
            'retry-after': '1',
          });
        }
        inWork++;
        try {
          return await classify(network, request, signal);
        } finally {
          inWork--;
        }
      },
    },
    '/health': {
      method: 'GET',
      answer: () => ({
        status: 'ok',
        model: network.model,
        hash: network.hash,
        inputShape: network.inputShape,
        inputBits: network.inputBits,
        classes: network.classes,
        isa: packedInfo().isa,
      }),
    },
    '/statistics': {
      method: 'GET',
      answer() {
        const eventLoopDelay = {
          mean: milliseconds(delay.mean),
          p99: milliseconds(delay.percentile(99)),
          max: milliseconds(delay.max),
        };
        delay.reset();
        return { inWork, pool: poolStatistics(), eventLoopDelay };
      },
    },
  };

  return createServer({ requestTimeout: 30_000, headersTimeout: 10_000 }, async (request, response) => {
    const left = new AbortController();
    // Whoever hangs up does not wait for an answer: the prediction makes room for the next.
    response.on('close', () => left.abort());
    try {
      const route = Object.hasOwn(routes, request.url) ? routes[request.url] : undefined;
      if (route === undefined) {
        const known = Object.keys(routes).join(', ');
        throw new RequestError(404, 'NOT_FOUND', `There is no ${request.url}; known: ${known}.`);
      }
      if (request.method !== route.method) {
        throw new RequestError(405, 'WRONG_METHOD', `${request.url} takes ${route.method}.`, {
          allow: route.method,
        });
      }
      send(response, 200, await route.answer(request, left.signal));
    } catch (error) {
      if (left.signal.aborted) return;
      const known = error instanceof RequestError;
      if (!known) console.error(error);
      const { status, code, message, headers } = known
        ? error
        : { status: 500, code: 'INTERNAL', message: 'The server failed; its log says why.', headers: {} };
      send(response, status, { error: { code, message } }, headers);
    }
  });
}

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { port: { type: 'string', default: '8080' }, host: { type: 'string', default: '127.0.0.1' } },
});
const [file] = positionals;
if (file === undefined) {
  console.error('usage: node server.mjs net.hbit [--port 8080] [--host 127.0.0.1]');
  process.exit(2);
}

// Requests are many and images small: one thread an image, and the pool of hardbit takes the rest.
sharp.concurrency(1);
const network = await PackedNetwork.load(file);
const server = startServer(network);
server.listen(Number(options.port), options.host, () => {
  const { address, port } = server.address();
  console.log(`${network.model}, ${network.inputBits}-bit input, on http://${address}:${port}/classify`);
});

/** Takes no more connections, finishes what is in work, then leaves. */
function stop() {
  server.close(() => network.dispose());
  server.closeIdleConnections();
  setTimeout(() => server.closeAllConnections(), GRACE_MILLISECONDS).unref();
}
process.once('SIGTERM', stop);
process.once('SIGINT', stop);
