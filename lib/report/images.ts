import sharp from 'sharp';
import { HardbitError } from '../errors.js';
import type { Example, Examples } from '../study/results.js';
import { attackLabel, epsilonText, modeLabel } from './format.js';
import { html, Markup } from './markup.js';

type ImageShape = Examples['imageShape'];

/** Codes that rose are orange, codes that fell are blue; the strength is the opacity. */
export const riseColor = [213, 94, 0] as const;
export const fallColor = [0, 114, 178] as const;

/** Decodes one pixel array of an example and checks its size and, for codes, its range. */
export function decodePixels(text: string, shape: ImageShape, what: string, highest = 255): Uint8Array {
  const [height, width, channels] = shape;
  const pixels = Buffer.from(text, 'base64');
  if (pixels.length !== height * width * channels) {
    throw new HardbitError(
      'ERR_HARDBIT_FORMAT',
      `examples.json has ${pixels.length} bytes in ${what} where ${height}×${width}×${channels} were expected; ` +
        'run the study again to write it anew.',
    );
  }
  const outside = pixels.find((code) => code > highest);
  if (outside !== undefined) {
    throw new HardbitError(
      'ERR_HARDBIT_FORMAT',
      `examples.json has the code ${outside} in ${what} where 0 to ${highest} were expected; ` +
        'run the study again to write it anew.',
    );
  }
  return pixels;
}

async function png(pixels: Uint8Array, width: number, height: number, channels: 1 | 3 | 4): Promise<string> {
  const image = sharp(pixels, { raw: { width, height, channels } });
  if (channels === 1) image.toColourspace('b-w');
  const encoded = await image.png({ compressionLevel: 9, adaptiveFiltering: false }).toBuffer();
  return `data:image/png;base64,${encoded.toString('base64')}`;
}

/** Grey or RGB; an image with another number of channels is shown by its first. */
async function picture(pixels: Uint8Array, shape: ImageShape): Promise<string> {
  const [height, width, channels] = shape;
  if (channels === 1 || channels === 3) return png(pixels, width, height, channels);
  const first = Uint8Array.from({ length: height * width }, (_, i) => pixels[i * channels] as number);
  return png(first, width, height, 1);
}

/** Codes 0 … 2^bits − 1 as grey levels. */
function levels(codes: Uint8Array, bits: number): Uint8Array {
  const highest = 2 ** bits - 1;
  return codes.map((code) => Math.round((255 * code) / highest));
}

/** The change of the code summed over channels, as RGBA, and its largest size in one channel. */
function difference(
  clean: Uint8Array,
  adversarial: Uint8Array,
  shape: ImageShape,
): { rgba: Uint8Array; changed: number; largest: number } {
  const [height, width, channels] = shape;
  const change = new Int32Array(height * width);
  let changed = 0;
  let largest = 0;
  for (let i = 0; i < clean.length; i++) {
    const step = (adversarial[i] as number) - (clean[i] as number);
    if (step !== 0) changed++;
    largest = Math.max(largest, Math.abs(step));
    const pixel = Math.floor(i / channels);
    change[pixel] = (change[pixel] as number) + step;
  }
  const strongest = change.reduce((most, value) => Math.max(most, Math.abs(value)), 1);
  const rgba = new Uint8Array(4 * change.length);
  change.forEach((value, pixel) => {
    if (value === 0) return;
    const color = value > 0 ? riseColor : fallColor;
    rgba.set([...color, Math.round(255 * (0.25 + (0.75 * Math.abs(value)) / strongest))], 4 * pixel);
  });
  return { rgba, changed, largest };
}

async function exampleFigure(example: Example, shape: ImageShape): Promise<Markup> {
  const [height, width] = shape;
  const highest = 2 ** example.inputBits - 1;
  const name = (part: string) => `'${part}' of example ${example.index} of network '${example.network}'`;
  const clean = decodePixels(example.clean, shape, name('clean'));
  const cleanCodes = decodePixels(example.cleanCodes, shape, name('cleanCodes'), highest);
  const adversarial = decodePixels(example.adversarial, shape, name('adversarial'));
  const adversarialCodes = decodePixels(example.adversarialCodes, shape, name('adversarialCodes'), highest);
  const { rgba, changed, largest } = difference(cleanCodes, adversarialCodes, shape);
  const sources = await Promise.all([
    picture(clean, shape),
    picture(levels(cleanCodes, example.inputBits), shape),
    picture(adversarial, shape),
    picture(levels(adversarialCodes, example.inputBits), shape),
    png(rgba, width, height, 4),
  ]);
  const share = `${((100 * changed) / cleanCodes.length).toFixed(1)} %`;
  const fooled = example.adversarialPrediction !== example.label;
  const alts = [
    `Clean test image ${example.index}, labelled ${example.label}`,
    `The same image with ${example.inputBits} bit a pixel, read as ${example.cleanPrediction}`,
    `The image after ${attackLabel(example.attack)} at ε = ${epsilonText(example.attack.epsilon)}`,
    `The attacked image with ${example.inputBits} bit a pixel, read as ${example.adversarialPrediction}`,
    `Change of the codes: ${share} of them differ, by at most ${largest}`,
  ];
  const under = [
    'clean',
    `${example.inputBits} bit → ${example.cleanPrediction}`,
    'attacked',
    `${example.inputBits} bit → ${example.adversarialPrediction}`,
    `${share}, ≤\u00a0${largest}`,
  ];
  return html`<figure class="example">
<figcaption>Test image ${example.index}, a <b>${example.label}</b>: read as <b>${example.cleanPrediction}</b> when clean and as <b${
    fooled && new Markup(' class="wrong"')
  }>${example.adversarialPrediction}</b> under ${attackLabel(example.attack)} at ε = ${epsilonText(example.attack.epsilon)} (white-box, ${modeLabel(example.gradientMode)})</figcaption>
<div class="strip">${sources.map(
    (source, i) =>
      html`<div><img src="${source}" width="${width}" height="${height}" alt="${alts[i]}"><span>${under[i]}</span></div>`,
  )}</div>
</figure>
`;
}

/** Spreads `limit` examples evenly over the networks, in order; all where there are no more. */
export function selectExamples(examples: readonly Example[], limit: number): Example[] {
  const ranks = new Map<string, number>();
  const ranked = examples.map((example, at) => {
    const rank = ranks.get(example.network) ?? 0;
    ranks.set(example.network, rank + 1);
    return { example, at, rank };
  });
  return ranked
    .sort((a, b) => a.rank - b.rank || a.at - b.at)
    .slice(0, limit)
    .sort((a, b) => a.at - b.at)
    .map(({ example }) => example);
}

/** Figures of the given examples, one row of five images each. */
export async function exampleFigures(examples: readonly Example[], shape: ImageShape): Promise<Markup[]> {
  return Promise.all(examples.map((example) => exampleFigure(example, shape)));
}
