/** A piece of HTML that is already safe to put into a page. */
export class Markup {
  constructor(readonly text: string) {}
}

export type Renderable = Markup | string | number | false | null | undefined | readonly Renderable[];

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Escapes text for element content and quoted attributes, and drops control characters HTML forbids. */
export function escapeHtml(text: string): string {
  return (
    text
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters to drop
      .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g, '\ufffd')
      .replace(/[&<>"']/g, (character) => entities[character] as string)
  );
}

function render(value: Renderable): string {
  if (value instanceof Markup) return value.text;
  if (value === false || value === null || value === undefined) return '';
  if (typeof value === 'string') return escapeHtml(value);
  if (typeof value === 'number') return String(value);
  return value.map(render).join('');
}

/** Template tag: everything interpolated is escaped unless it is Markup; lists are joined. */
export function html(parts: TemplateStringsArray, ...values: readonly Renderable[]): Markup {
  let text = parts[0] as string;
  values.forEach((value, i) => {
    text += render(value) + (parts[i + 1] as string);
  });
  return new Markup(text);
}

/** Joins pieces with a separator. */
export function join(pieces: readonly Renderable[], separator: string): Markup {
  return new Markup(pieces.map(render).join(escapeHtml(separator)));
}
