import { bars } from './helpers.js';
import { runPreset } from '../../lib/study/run.js';
import { presets } from '../../lib/study/plan.js';
import { memoryInfo } from '../../lib/tensor/runtime.js';
const preset = { ...presets.quick, epochs: 2, inputBits: [8,2], images: 200 } as any;
const before = memoryInfo().liveTensors;
const r = await runPreset(preset, async () => ({ train: bars(1280, 1), test: bars(300, 2), sha256: {} }), { out: process.argv[2]!, command: 'x', resume: true, onEvent: (e) => { if (e.kind==='estimate') console.log(e); } });
console.log(r.seconds, r.networks.map(n=>[n.id,n.cleanAccuracy,n.trainSeconds]), r.whiteBox.length, r.transfer.length);
for (const c of r.claims) { console.log(c.id, c.verdict); for (const v of c.verdicts) console.log('  ', v.verdict, '|', v.scope, '|', v.measured); }
console.log(memoryInfo().liveTensors - before);
