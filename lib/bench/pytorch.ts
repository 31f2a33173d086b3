import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { HardbitError } from '../errors.js';
import { packageRoot } from '../version.js';
import type { Configuration } from './programs.js';
import type { AbsentPeer } from './results.js';

/** The networks and recipes that scripts/peers/pytorch_steps.py writes down for PyTorch. */
const models: Readonly<Record<string, { readonly convolutions: boolean }>> = {
  'mnist-fcn': { convolutions: false },
  lenet5: { convolutions: true },
  'mnist-cnn': { convolutions: true },
  'vgg-small': { convolutions: true },
};
const recipes: readonly string[] = ['none', 'bnn', 'xnor'];

/** A step or an attack of one network, as both sides are told of it. */
export interface StepWork {
  readonly task: 'train' | 'attack';
  readonly model: string;
  readonly recipe: string;
  readonly batch: number;
  readonly bits: number;
  /** Of our gradients of products of quantized operands; PyTorch's are float. */
  readonly gradientArithmetic: string;
  /** Of PGD. */
  readonly attackSteps: number;
}

function hasTorch(python: string): boolean {
  const { status } = spawnSync(python, ['-c', 'import torch'], { stdio: 'ignore', timeout: 60_000 });
  return status === 0;
}

/** A Python with PyTorch: Debian's python3-torch is of /usr/bin/python3, whatever comes first in PATH. */
function findPython(chosen: string | undefined): string | undefined {
  if (chosen === undefined) return ['/usr/bin/python3', 'python3'].find(hasTorch);
  if (hasTorch(chosen)) return chosen;
  throw new HardbitError(
    'ERR_HARDBIT_UNSUPPORTED',
    `${chosen} does not import torch; install PyTorch for it (Debian and Ubuntu: python3-torch) or name another --python.`,
  );
}

/** Folders of Debian's OpenBLAS, which its PyTorch uses where LD_LIBRARY_PATH names them; [null]: the system's choice. */
function blasFolders(): readonly (string | null)[] {
  const found = ['openblas-pthread', 'openblas-openmp']
    .flatMap((name) => ['x86_64', 'aarch64'].map((arch) => `/usr/lib/${arch}-linux-gnu/${name}`))
    .filter((folder) => existsSync(join(folder, 'libblas.so.3')));
  return found.length > 0 ? found : [null];
}

/**
 * PyTorch in each of its memory layouts, with each BLAS there is, on one thread and on `threads`: the fastest of them is
 * the one to compare with. None, and why, where PyTorch is not installed or the work is not written down for it.
 *
 * @throws ERR_HARDBIT_UNSUPPORTED where `python` is given and has no PyTorch
 */
export function pytorchConfigurations(
  work: StepWork,
  threads: number,
  python?: string,
): { readonly configurations: readonly Configuration[]; readonly absent: readonly AbsentPeer[] } {
  const none = (reason: string) => ({ configurations: [], absent: [{ name: 'PyTorch', reason }] });
  const known = models[work.model];
  if (known === undefined) return none(`it has no program for ${work.model}`);
  if (!recipes.includes(work.recipe)) return none(`it has no program for the recipe ${work.recipe}`);
  const found = findPython(python);
  if (found === undefined) return none('not present: no python3 imports torch');
  const configurations: Configuration[] = [];
  for (const folder of blasFolders()) {
    for (const layout of known.convolutions ? ['first', 'last'] : ['first']) {
      for (const count of new Set([1, threads])) {
        const blas = folder === null ? '' : `, ${folder.split('/').at(-1)}`;
        const text = known.convolutions ? `, channels ${layout}` : '';
        configurations.push({
          name: `PyTorch, ${count} ${count === 1 ? 'thread' : 'threads'}${text}${blas}`,
          command: found,
          args: [
            join(packageRoot, 'scripts', 'peers', 'pytorch_steps.py'),
            ...['--model', work.model, '--recipe', work.recipe, '--task', work.task],
            ...['--batch', String(work.batch), '--bits', String(work.bits), '--threads', String(count)],
            ...['--layout', layout, '--attack-steps', String(work.attackSteps)],
          ],
          env: folder === null ? {} : { LD_LIBRARY_PATH: folder },
        });
      }
    }
  }
  return { configurations, absent: [] };
}
