import { sha256 } from '../files.js';
import type { NetworkRecord, Results } from '../study/results.js';
import { duration, listing, slug } from './format.js';
import { html, Markup } from './markup.js';
import { styleSheet } from './style.js';

export function datasetLabel(name: string): string {
  return { mnist: 'MNIST', 'fashion-mnist': 'Fashion-MNIST', 'cifar-10': 'CIFAR-10' }[name] ?? name;
}

/** '2026-01-02T03:04:05.678Z' → '2026-01-02 03:04 UTC'; any other text as it is. */
export function moment(iso: string): string {
  return iso.replace(/^(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(:[\d.]+)?Z$/, '$1 $2 UTC');
}

/** Keeps 'ε = 0.1' and '95 %' on one line. */
export function typeset(markup: Markup): Markup {
  return new Markup(markup.text.replaceAll('ε = ', 'ε\u00a0=\u00a0').replace(/(\d) %/g, '$1\u00a0%'));
}

/** A name that may stand in a path: the text itself where it is plain, else its slug and a hash of it. */
export function fileSlug(text: string): string {
  const plain = slug(text).slice(0, 120);
  return plain === text ? plain : `${plain}-${sha256(Buffer.from(text)).slice(0, 8)}`;
}

/** The network's page, relative to the report's folder. */
export function networkPath(id: string): string {
  return `networks/${fileSlug(id)}.html`;
}

/** A link to the network's page; `up` leads from the page that links to the report's folder. */
export function networkLink(network: Pick<NetworkRecord, 'id'>, text: string | Markup, up = ''): Markup {
  return html`<a href="${up}${networkPath(network.id)}">${text}</a>`;
}

/** What was run, on what and when, in one line. */
export function runLine({ finishedAt, seconds, complete, shards }: Results): string {
  const cut = shards.length > 1 ? ` in ${shards.length} shards` : '';
  const time = `${duration(seconds)} of work${cut}`;
  const state = complete ? '' : 'Not all of the plan is in these results. ';
  return `${state}${finishedAt === null ? `Not finished; ${time} so far` : `Finished ${moment(finishedAt)} after ${time}`}.`;
}

/** 'n = 2,000 test images' and such, joined by semicolons. */
export function factLine(facts: readonly (string | false | null)[]): string {
  return facts.filter((fact) => typeof fact === 'string' && fact !== '').join('; ');
}

/** The machines of all shards, each once. */
export function machineLine({ shards }: Results): string {
  const machines = new Set(
    shards.map(
      ({ machine }) =>
        `${machine.cpu}; kernels ${machine.isa}; ${machine.threads} ${machine.threads === 1 ? 'thread' : 'threads'}; ` +
        `Node ${machine.node.replace(/^v/, '')}; ${machine.platform}${machine.gpu === undefined ? '' : `; computed on ${machine.gpu}`}`,
    ),
  );
  return listing([...machines]);
}

export function section(id: string, title: string, body: Markup, level: 2 | 3 = 2): Markup {
  const heading = new Markup(`h${level}`);
  return html`<section id="${id}" aria-labelledby="${id}-title">
<${heading} id="${id}-title">${title}</${heading}>
${body}</section>
`;
}

/** Something long that stays closed until it is wanted. It prints open. */
export function fold(summary: string | Markup, body: Markup | readonly Markup[], open = false): Markup {
  return html`<details class="fold"${open && new Markup(' open')}><summary>${summary}</summary>
${body}</details>
`;
}

/** One complete document: style and figures inline, no script, no request to anywhere. */
export function document(
  results: Results,
  { title, description }: { readonly title: string; readonly description: string },
  body: Markup,
): string {
  const { library } = results;
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="${library.name} ${library.version}">
<meta name="description" content="${description}">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>${title}</title>
<style>
${new Markup(styleSheet)}
</style>
</head>
<body>
${body}</body>
</html>
`.text;
}
