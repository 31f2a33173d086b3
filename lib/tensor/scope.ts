import { HardbitError } from '../errors.js';
import type { Tensor } from './tensor.js';

/** Scopes open in this thread, innermost last. Scopes are synchronous, so they nest properly. */
const open: Set<Tensor>[] = [];

/** Hands a new tensor to the innermost open scope. */
export function adopt(tensor: Tensor): void {
  open.at(-1)?.add(tensor);
}

/** Takes a tensor out of the innermost scope: it then lives until `dispose()` or garbage collection. */
export function keep<T extends Tensor>(tensor: T): T {
  for (const tensors of open) tensors.delete(tensor);
  return tensor;
}

function isTensor(value: unknown): value is Tensor {
  return typeof value === 'object' && value !== null && 'handle' in value && 'dispose' in value;
}

/** Visits the tensors in a returned value: a tensor, or arrays and plain objects of them, nested. */
function visit(value: unknown, each: (tensor: Tensor) => void): void {
  if (isTensor(value)) each(value);
  else if (Array.isArray(value)) for (const item of value) visit(item, each);
  else if (typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype) {
    for (const item of Object.values(value)) visit(item, each);
  }
}

/**
 * Runs `body` and frees every tensor made in it that it does not return (alone, or in arrays and plain objects);
 * returned ones pass to the enclosing scope. On an exception all are freed.
 *
 * @throws ERR_HARDBIT_SCOPE where `body` returns a promise: tensors made after the first `await` would escape.
 */
export function scope<T>(body: () => T): T {
  const tensors = new Set<Tensor>();
  open.push(tensors);
  let result: T;
  try {
    result = body();
    if (typeof (result as { then?: unknown } | null | undefined)?.then === 'function') {
      // The rejected or resolved value is of no use to anyone once its tensors are freed.
      void (result as unknown as Promise<unknown>).then(undefined, () => undefined);
      throw new HardbitError(
        'ERR_HARDBIT_SCOPE',
        'scope() was given an asynchronous function; it must finish synchronously: use dispose() or `using` around await.',
      );
    }
    visit(result, (tensor) => tensors.delete(tensor));
  } catch (error) {
    open.pop();
    for (const tensor of tensors) tensor.dispose();
    throw error;
  }
  open.pop();
  for (const tensor of tensors) tensor.dispose();
  visit(result, adopt);
  return result;
}
