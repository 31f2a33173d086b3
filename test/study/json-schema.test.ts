import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { jsonSchemas, schemaText } from '../../lib/study/json-schema.js';
import { packageRoot } from '../../lib/version.js';

describe('the JSON Schemas in docs/', () => {
  for (const [name, schema] of Object.entries(jsonSchemas())) {
    it(`${name} is what scripts/make-schema.mjs writes`, () => {
      expect(readFileSync(join(packageRoot, 'docs', name), 'utf8')).to.equal(schemaText(schema));
    });
  }
});
