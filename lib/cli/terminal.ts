import Table from 'cli-table3';
import pc from 'picocolors';

/** Whether a stream shows colours: it is a terminal and nobody objects (no-color.org). */
function showsColors(stream: { readonly isTTY?: boolean }): boolean {
  return stream.isTTY === true && !process.env['NO_COLOR'] && process.env['TERM'] !== 'dumb';
}

/** Colours for standard output. */
export const colors = pc.createColors(showsColors(process.stdout));
/** Colours for standard error. */
export const errorColors = pc.createColors(showsColors(process.stderr));

/** Results for people, on standard output. */
export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** The one machine-readable answer of a command under --json. */
export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** News on standard error, which machines may ignore. */
export function note(text: string): void {
  clearProgress();
  process.stderr.write(`${text}\n`);
}

const showsProgress = process.stderr.isTTY === true && process.env['TERM'] !== 'dumb';
const REDRAW_MILLISECONDS = 100;
let lastDrawn = 0;
let isDrawn = false;

/** One line on standard error that each call redraws, at most ten times a second; nothing where that is no terminal. */
export function progress(line: string): void {
  if (!showsProgress) return;
  const now = performance.now();
  if (isDrawn && now - lastDrawn < REDRAW_MILLISECONDS) return;
  lastDrawn = now;
  isDrawn = true;
  process.stderr.write(`\r\u001b[2K${[...line].slice(0, (process.stderr.columns || 80) - 1).join('')}`);
}

export function clearProgress(): void {
  if (!isDrawn) return;
  isDrawn = false;
  process.stderr.write('\r\u001b[2K');
}

/** '█████░░░░░' */
export function bar(fraction: number, width = 20): string {
  const full = Math.round(Math.min(1, Math.max(0, fraction)) * width);
  return '█'.repeat(full) + '░'.repeat(width - full);
}

/** Rows under bold heads, without lines; the first column to the left, the others to the right. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const none = Object.fromEntries(
    [
      'top',
      'top-mid',
      'top-left',
      'top-right',
      'bottom',
      'bottom-mid',
      'bottom-left',
      'bottom-right',
      'left',
      'left-mid',
      'mid',
      'mid-mid',
      'right',
      'right-mid',
    ].map((name) => [name, '']),
  );
  const result = new Table({
    head: head.map((text) => text.split('\n').map(colors.bold).join('\n')),
    chars: { ...none, middle: '  ' },
    style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [] },
    colAligns: head.map((_, i) => (i === 0 ? 'left' : 'right')),
  });
  for (const row of rows) result.push([...row]);
  return trimRight(result.toString());
}

/** Names and values, one pair a line. */
export function pairs(entries: readonly (readonly [string, string])[]): string {
  const width = Math.max(...entries.map(([name]) => name.length));
  return entries.map(([name, value]) => `${colors.dim(name.padEnd(width))}  ${value}`).join('\n');
}

function trimRight(text: string): string {
  return text
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n');
}

/** A word as the shell takes it back. */
export function quoted(word: string): string {
  return /^[\w./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** 0.9432 → '94.3 %'. */
export function percent(fraction: number): string {
  return `${fixed(100 * fraction)} %`;
}

/** One decimal, a true minus sign, no negative zero. */
export function fixed(value: number): string {
  const text = value.toFixed(1);
  return Number(text) === 0 ? text.replace('-', '') : text.replace('-', '−');
}

/** 1536 → '1.5 KiB'. */
export function kibibytes(bytes: number): string {
  return `${(bytes / 1024).toLocaleString('en-US', { minimumFractionDigits: 1, maximumFractionDigits: 1 })} KiB`;
}

/** '8 s', '3 min 20 s', '2 h 5 min'. */
export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  const minutes = Math.round(whole / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
