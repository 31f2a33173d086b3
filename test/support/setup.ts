import fc from 'fast-check';

/** Property tests draw the same inputs in every run; FAST_CHECK_SEED=N draws others, to look for more. */
fc.configureGlobal({ seed: Number(process.env['FAST_CHECK_SEED'] ?? 1) });
