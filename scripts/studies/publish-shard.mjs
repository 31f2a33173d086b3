#!/usr/bin/env node
// A finished study's folder as it may be published: what merging needs, without models and without example images, which
// belong to the dataset. The copy is merged by `hardbit report`.
//
//   node scripts/studies/publish-shard.mjs SHARD OUT
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [shard, out] = process.argv.slice(2);
if (
  shard === undefined ||
  out === undefined ||
  !existsSync(join(shard, 'finished.json')) ||
  existsSync(out)
) {
  process.stderr.write(
    'hardbit: give the folder of a finished study and one that does not exist: publish-shard.mjs SHARD OUT.\n',
  );
  process.exit(1);
}
for (const folder of ['cells', 'networks']) {
  mkdirSync(join(out, folder), { recursive: true });
  for (const name of readdirSync(join(shard, folder)).filter((each) => each.endsWith('.json'))) {
    const { content } = JSON.parse(readFileSync(join(shard, folder, name), 'utf8'));
    if (content.example != null) content.example = null;
    // As the study's store keeps its files.
    const sha256 = createHash('sha256').update(JSON.stringify(content)).digest('hex');
    writeFileSync(join(out, folder, name), `${JSON.stringify({ sha256, content })}\n`);
  }
}
for (const name of ['environment.json', 'finished.json', 'study.json']) {
  copyFileSync(join(shard, name), join(out, name));
}
