// Writes docs/results.schema.json and docs/examples.schema.json from the schemas in lib/study/results.ts:
//   node --import tsx scripts/make-schema.mjs
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { jsonSchemas, schemaText } from '../lib/study/json-schema.ts';

const docs = resolve(import.meta.dirname, '..', 'docs');
for (const [name, schema] of Object.entries(jsonSchemas()))
  writeFileSync(join(docs, name), schemaText(schema));
