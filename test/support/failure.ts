import { expect } from 'chai';
import { type ErrorCode, isHardbitError } from '../../lib/errors.js';

export type Failure = Error & { readonly code: ErrorCode };

/** A coded error of one sentence, as every error of the library is. */
function requireSentence(error: unknown): Failure {
  if (!isHardbitError(error))
    throw new Error(`Expected a coded error, got ${String(error)}`, { cause: error });
  expect(error.message).to.match(/^\S.*\.$/);
  expect(error.message).not.to.contain('\n');
  return error;
}

/** The coded error that `body` throws; fails where it throws none, or another kind. */
export function failure(body: () => unknown): Failure {
  try {
    body();
  } catch (error) {
    return requireSentence(error);
  }
  throw new Error('Expected an error; there was none.');
}

/** The same for a promise. */
export async function rejection(promise: Promise<unknown>): Promise<Failure> {
  return promise.then(
    () => {
      throw new Error('Expected an error; there was none.');
    },
    (error: unknown) => requireSentence(error),
  );
}

/** For fuzzers: runs `body`, which may succeed or throw a coded error; anything else passes through and fails the test. */
export function mayFail<T>(body: () => T): T | undefined {
  try {
    return body();
  } catch (error) {
    if (isHardbitError(error)) return undefined;
    throw error;
  }
}
