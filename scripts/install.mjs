// npm's install script. It never fails an installation: without a native core `hardbit --help`, `info` and `build`
// still work, and the first use of the core throws ERR_HARDBIT_NOT_BUILT with the reason, which is the first line
// of build/install.log. HARDBIT_SKIP_BUILD=1 leaves the build to the caller (scripts/bootstrap.sh does).
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** The first complaint of CMake or a compiler in its output, as one line. */
function firstError(output) {
  const complaint =
    /^hardbit: (.+)$/m.exec(output) ??
    /^CMake Error[^\n]*:\n+((?: {2}[^\n]+\n)+)/m.exec(output) ??
    /^CMake Error: ([^\n]+)/m.exec(output) ??
    /^([^\n]*\b(?:error|Error): [^\n]+)/m.exec(output);
  return (complaint?.[1] ?? 'the build of the native core failed')
    .trim()
    .replace(/\s*\n\s*/g, ' ')
    .replace(/[.:]$/, '');
}

const root = resolve(import.meta.dirname, '..');

/** Runs scripts/build.mjs: whether it succeeded, and all it said. */
function build(...options) {
  const { status, error, stdout, stderr } = spawnSync(
    process.execPath,
    [join(root, 'scripts', 'build.mjs'), ...options],
    { encoding: 'utf8', maxBuffer: 1 << 28 },
  );
  return {
    built: status === 0,
    output: `${stdout ?? ''}${stderr ?? ''}${error ? `hardbit: ${error.message}\n` : ''}`,
  };
}

if (!process.env.HARDBIT_SKIP_BUILD) {
  const log = join(root, 'build', 'install.log');
  try {
    const all = build();
    if (all.built) {
      rmSync(log, { force: true });
    } else {
      const packed = build('--packed');
      mkdirSync(join(root, 'build'), { recursive: true });
      writeFileSync(log, `${firstError(all.output)}\n\n${all.output}\n${packed.output}`);
      console.error(
        `hardbit is installed without its native core (${firstError(all.output)}); mend that, then run \`npx hardbit build\`. ${packed.built ? 'hardbit/packed works without it. ' : ''}Log: ${log}`,
      );
    }
  } catch (error) {
    console.error(
      `hardbit is installed without its native core (${error.message}); run \`npx hardbit build\`.`,
    );
  }
}
