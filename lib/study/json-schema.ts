import { z } from 'zod';
import { examplesSchema, resultsSchema } from './results.js';

/** The JSON Schemas (draft 2020-12) of the files a study leaves, by file name in docs/. */
export function jsonSchemas(): Readonly<Record<string, object>> {
  const schema = (title: string, of: z.ZodType) => ({ title, ...z.toJSONSchema(of) });
  return {
    'results.schema.json': schema('results.json of hardbit', resultsSchema),
    'examples.schema.json': schema('examples.json of hardbit', examplesSchema),
  };
}

/** A schema as it stands in its file. */
export function schemaText(schema: object): string {
  return `${JSON.stringify(schema, null, 2)}\n`;
}
