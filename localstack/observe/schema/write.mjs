// Writes a program in TypeScript that compiles only if a dashboard is what Grafana's own types say: node write.mjs dashboard.json
import { readFileSync } from 'node:fs';

const dashboard = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const kinds = { timeseries: 'TimeSeries', stat: 'Stat', table: 'Table' };
const out = ["import type { Dashboard } from '@grafana/schema';"];
for (const [type, name] of Object.entries(kinds)) {
  out.push(`import type * as ${name} from '@grafana/schema/dist/esm/raw/composable/${type}/panelcfg/x/${name}PanelCfg_types.gen';`);
}
// In JSON, the values of an enum are plain strings.
out.push(`type Plain<T> = unknown extends T ? unknown
  : T extends string ? \`\${T}\`
  : T extends number | boolean | null | undefined ? T
  : T extends Array<infer E> ? Array<Plain<E>>
  : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;`);
out.push(`export const dashboard: Plain<Dashboard> = ${JSON.stringify(dashboard, null, 1)};`);
for (const panel of dashboard.panels) {
  if (panel.type === 'row') continue;
  const kind = kinds[panel.type];
  if (!kind) throw new Error(`panel ${panel.title}: nobody here knows the options of ${panel.type}`);
  out.push(`// panel ${panel.id}: ${panel.title}`);
  out.push(`export const options${panel.id}: Partial<Plain<${kind}.Options>> = ${JSON.stringify(panel.options)};`);
  const custom = panel.fieldConfig.defaults.custom;
  if (custom) out.push(`export const field${panel.id}: Plain<${kind}.FieldConfig> = ${JSON.stringify(custom)};`);
}
console.log(out.join('\n'));
