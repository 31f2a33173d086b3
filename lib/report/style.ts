import { bitColors } from './charts.js';
import { heatStyles } from './heatmap.js';

/** The four bit-depth colours and the fallback, lightened for a dark page; in bitColors' order. */
const darkBitColors = ['#56b4e9', '#f08a45', '#2fc79b', '#e39cc6', '#b0b0b0'];

const darkCharts = bitColors
  .map((color, i) => {
    const dark = darkBitColors[i] as string;
    return `.chart [stroke="${color}"]{stroke:${dark}}.chart [fill="${color}"]{fill:${dark}}`;
  })
  .join('\n');

/** The report's one style sheet: system fonts, light and dark, phone and paper. */
export const styleSheet = `
:root{
--page:#fdfdfb;--ink:#1c1e21;--soft:#5a6069;--rule:#d9dad5;--wash:#f3f3ee;--accent:#1f4e79;
--good:#0b6b4f;--good-wash:#e3f2ec;--bad:#a63c06;--bad-wash:#fbeae0;--none:#5a6069;--none-wash:#ededea;--warn:#7a5600;--warn-wash:#faf0cf;
--bar:#7ea6c9;--mark:#fbe7a1;
--serif:Charter,"Bitstream Charter","Sitka Text",Cambria,"Noto Serif",Georgia,serif;
--sans:system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","Helvetica Neue",Arial,sans-serif;
--mono:ui-monospace,"SF Mono","Cascadia Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;
color-scheme:light dark}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:17px/1.55 var(--serif);overflow-wrap:break-word}
main,header,footer{max-width:66rem;margin:0 auto;padding:0 clamp(1rem,4vw,2.5rem)}
header{padding-top:clamp(2rem,6vw,4.5rem)}
p,.lead,section>ul,section>dl{max-width:44rem}
.kicker{font:600 .8rem/1.4 var(--sans);letter-spacing:.04em;color:var(--soft);margin:0 0 .8rem}
h1{font-size:clamp(1.75rem,1.2rem + 2.6vw,2.9rem);line-height:1.12;letter-spacing:-.012em;font-weight:700;margin:0 0 1.2rem;max-width:46rem;text-wrap:balance}
h2{font-size:clamp(1.35rem,1.1rem + 1vw,1.75rem);line-height:1.2;margin:3.6rem 0 .7rem;padding-top:1.1rem;border-top:1px solid var(--ink);text-wrap:balance}
h1.small{font-size:clamp(1.4rem,1.1rem + 1.4vw,2rem)}
section section{scroll-margin-top:.5rem}
section section h3{font-size:1.22rem;margin-top:2.4rem}
h3{font-size:1.12rem;line-height:1.3;margin:2rem 0 .6rem}
h4{font:600 .82rem/1.3 var(--sans);margin:0 0 .15rem}
h4 span{font-weight:400;color:var(--soft)}
.lead{font-size:clamp(1.08rem,1rem + .4vw,1.25rem);line-height:1.5;margin:0 0 1rem}
.byline{font:.86rem/1.5 var(--sans);color:var(--soft)}
nav{font:.86rem/1.5 var(--sans);border-top:1px solid var(--rule);margin-top:1.6rem;padding-top:.8rem}
nav ol{list-style:none;margin:0;padding:0}
nav>ol{columns:13rem;column-gap:2rem}
nav li{break-inside:avoid;padding:.1rem 0}
nav>ol>li>a{font-weight:600}
nav ol ol{padding-left:.9rem}
nav a{text-decoration:none}nav a:hover{text-decoration:underline}
a{color:var(--accent);text-underline-offset:.15em;text-decoration-thickness:1px}
a:focus-visible,.scroll:focus-visible,summary:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
figure{margin:1.6rem 0}
figcaption{font:.84rem/1.45 var(--sans);color:var(--soft);max-width:52rem;margin:0 0 .6rem}
figcaption b{color:var(--ink)}
.scroll{overflow:auto;max-width:100%;max-height:min(46rem,86vh);-webkit-overflow-scrolling:touch;scrollbar-width:thin}
.scroll:has(.clean),.scroll:has(.checks){max-height:none}
.scroll{background:linear-gradient(var(--page) 40%,transparent) top/100% 2rem no-repeat local,linear-gradient(transparent,var(--page) 60%) bottom/100% 2rem no-repeat local,linear-gradient(var(--rule),transparent) top/100% .5rem no-repeat scroll,linear-gradient(transparent,var(--rule)) bottom/100% .5rem no-repeat scroll}
.scroll+.scroll{margin-top:1rem}
.panels+.panels{margin-top:1.2rem}
.scroll thead{position:sticky;top:0;z-index:3}
.scroll thead th{background:var(--page)}
table{border-collapse:collapse;overflow-wrap:normal;font:.82rem/1.3 var(--sans);font-variant-numeric:tabular-nums lining-nums}
th,td{padding:.3rem .6rem;text-align:right;vertical-align:baseline;white-space:nowrap}
th{font-weight:600}
thead th{white-space:normal;vertical-align:bottom;border-bottom:1px solid var(--rule);line-height:1.25}
thead th[scope=colgroup]{text-align:center;border-bottom:1px solid var(--rule)}
thead tr:last-child th{border-bottom:1px solid var(--ink)}
thead th[rowspan]{border-bottom:1px solid var(--ink)}
tbody th,thead tr:first-child th:first-child,thead th.text,td.text{text-align:left}
tbody th{font-weight:400}
tbody tr:not(.group)+tr:not(.group)>*{border-top:1px solid var(--rule)}
tbody:last-child tr:last-child>*{border-bottom:1px solid var(--ink)}
tr.group th{font-weight:600;padding-top:.95rem;border-bottom:1px solid var(--rule)}
tr.group span{position:sticky;left:0}
tr.group i{font-weight:400;font-style:normal;color:var(--soft);margin-left:.6em}
tr.group a{font-weight:600}
th.recipe{vertical-align:top}
table.attack tbody tr:not(.group):not(.first)>*,table.clean tbody tr:not(.group):not(.first)>*,table.modes tbody tr:not(.group):not(.first)>*,table.zero tbody tr:not(.group):not(.first)>*{border-top-color:transparent}
tbody a{color:inherit;text-decoration-color:var(--rule)}
tbody a:hover{color:var(--accent);text-decoration-color:currentColor}
table.checks th{max-width:34rem;white-space:normal;line-height:1.4}
table.checks td{vertical-align:top;white-space:nowrap}
table.transfers thead th{min-width:4rem}
tbody:first-of-type tr.group th{padding-top:.6rem}
.edge{padding-left:1.1rem}
.quiet,td.none,thead th.quiet{color:var(--soft);font-weight:400}
td small,th small{display:block;font-size:.7rem;font-weight:400;color:var(--soft);white-space:nowrap}
.masking{color:var(--soft);background:var(--wash)}
thead .masking{font-weight:400}
mark{background:var(--mark);color:inherit;padding:.06em .3em;margin:-.06em -.3em;border-radius:2px}
sup{font-size:.68em;line-height:0;color:var(--soft);margin-left:.15em}
abbr{text-decoration:none}
thead abbr[title]{text-decoration:underline dotted;text-underline-offset:.2em}
.flag{color:var(--bad);font-weight:700}
table.zero th,table.zero td{min-width:5rem}
thead small{line-height:1.15;margin-top:.1rem}
code,pre{font-family:var(--mono);font-size:.86em}
pre{background:var(--wash);border:1px solid var(--rule);border-radius:4px;padding:.7rem .9rem;overflow-x:auto;max-width:100%;line-height:1.5}
.badge{display:inline-block;font:600 .76rem/1 var(--sans);padding:.34em .6em .36em;border-radius:3px;white-space:nowrap}
.badge.holds{color:var(--good);background:var(--good-wash)}
.badge.fails{color:var(--bad);background:var(--bad-wash)}
.badge.mixed{color:var(--warn);background:var(--warn-wash)}
.badge.untested{color:var(--none);background:var(--none-wash)}
.tally{list-style:none;margin:1.6rem 0 1.2rem;padding:0;display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,10.4rem),1fr));gap:0 1.2rem;font:.86rem/1.4 var(--sans)}
.tally li{border-top:2px solid var(--ink);padding:.6rem 0 1rem;display:flex;flex-direction:column;gap:.6rem;justify-content:space-between}
.tally a{color:inherit;text-decoration:none}
.tally a:hover{text-decoration:underline}
.tally .views{display:flex;flex-direction:column;gap:.35rem}
.tally small{color:var(--soft)}
.caveat{border-left:3px solid var(--warn);background:var(--warn-wash);padding:.7rem 1rem;margin:1rem 0;max-width:46rem;font-size:.95em}
.claim p.caveat{padding:.5rem .9rem;margin:.6rem 0}
.caveat p{margin:0}.caveat ul{margin:.4rem 0 0;padding-left:1.2rem}.caveat li{margin:.2rem 0}
.claim{padding:1.3rem 0 1.1rem;border-top:1px solid var(--rule)}
.claim:first-of-type{border-top:0}
.claim h3{margin:0 0 .4rem}
.claim .heading{font-weight:600}
.claim .fold summary b{font-weight:600}
.claim p{margin:.3rem 0}
.claim .criterion{font:.88rem/1.5 var(--sans);color:var(--soft)}
.tests{list-style:none;margin:.7rem 0 0;padding:0;max-width:none!important;font:.86rem/1.45 var(--sans)}
.tests li{display:grid;grid-template-columns:6.4rem minmax(0,1fr);gap:.2rem 1rem;padding:.5rem 0;border-top:1px dotted var(--rule)}
.tests .scope{font-weight:600}
.tests .scope span{font-weight:400;color:var(--soft)}
details{margin-top:.25rem}
summary{cursor:pointer;color:var(--soft);width:max-content;max-width:100%}
.fold{border-top:1px solid var(--rule);margin:0;padding:.2rem 0}
.fold+.fold,.fold+section{margin-top:0}
.fold>summary{font:.9rem/1.5 var(--sans);color:var(--accent);padding:.45rem 0;width:auto}
.fold>summary:hover{text-decoration:underline}
.claim .fold>summary{color:inherit}
.claim .fold>summary:hover{text-decoration:none}
.fold figure{margin-top:.6rem}
.figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,17rem),1fr));gap:.1rem 1.5rem;margin:.3rem 0 0;font-size:.95em}
.figures div{display:flex;justify-content:space-between;gap:1rem}
.figures dt{color:var(--soft);overflow-wrap:anywhere}.figures dd{margin:0;font-variant-numeric:tabular-nums}
.panels{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,13.2rem),1fr));gap:1.3rem 1.2rem}
.panel{min-width:0}
.chart svg{display:block;max-width:100%;height:auto;font-family:var(--sans)}
.chart text{font-family:var(--sans)}
table.heat th,table.heat td{padding:.3rem .25rem;text-align:center;border:1px solid var(--page)!important;min-width:2.6rem}
${heatStyles}
table.heat thead th{font-weight:400;vertical-align:middle}
table.heat tbody th{text-align:right;padding-right:.5rem}
table.heat .corner{font-size:.9em;color:var(--soft);text-align:right;padding-right:.5rem;line-height:1.5}
table.heat .span{white-space:normal;max-width:6.5rem;line-height:1.25}
table.heat td{vertical-align:middle}
table.heat tbody th{vertical-align:middle}
table.heat td.diagonal{outline:2px solid currentColor;outline-offset:-3px;font-weight:700}
.networks th code{display:inline-block;max-width:14.5rem;white-space:normal;overflow-wrap:anywhere}
table.heat sup{color:inherit}
.heat-scale{display:flex;align-items:center;gap:.5rem;font:.78rem var(--sans);color:var(--soft)}
.heat-scale .strip{display:flex;width:11rem;height:.7rem}.heat-scale i{flex:1}
.examples{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,27rem),1fr));gap:1.5rem 2.2rem}
.example{margin:0;min-width:0}
.example figcaption{font-size:.78rem;margin-bottom:.4rem}
.example .wrong{color:var(--bad)}
.example .strip{display:grid;grid-template-columns:repeat(5,minmax(0,1fr));gap:.4rem;max-width:30rem}
.example .strip span{display:block;font:.7rem/1.25 var(--sans);color:var(--soft);text-align:center;margin-top:.15rem}
.example img{display:block;width:100%;height:auto;image-rendering:pixelated;border:1px solid var(--rule)}
.facts{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.25rem 1.4rem;font:.88rem/1.5 var(--sans);margin:1rem 0}
.facts dt{color:var(--soft)}.facts dd{margin:0;overflow-wrap:anywhere}
.notes dt{font-weight:600;margin-top:.8rem}.notes dd{margin:.1rem 0 0}
.swatch{display:inline-block;width:.8em;height:.8em;border-radius:2px;vertical-align:-.05em;margin-right:.15em}
footer{margin-top:4rem;padding-bottom:3rem;font:.82rem/1.5 var(--sans);color:var(--soft)}
footer p{border-top:1px solid var(--rule);padding-top:1rem}
@media screen and (max-width:46rem){
table.clean .recipe,table.trainings th[scope=row],table.modes th[scope=row],table.attack .recipe,table.zero .recipe,table.heat .span+.span+th,table:not(.heat) thead tr:first-child th:first-child{position:sticky;left:0;background:var(--page);z-index:1}
table.attack th.recipe,table.zero th.recipe,table.clean th.recipe{max-width:6.2rem;white-space:normal}
table.networks th[scope=row]{position:static!important}
table.checks th[scope=row]{min-width:13rem}
}
@media screen and (max-width:34rem){
body{font-size:16px}
.tests li{grid-template-columns:minmax(0,1fr)}
.facts{grid-template-columns:minmax(0,1fr);gap:0}.facts dd{margin-bottom:.5rem}
th,td{padding:.3rem .45rem}
.example .strip{gap:.25rem}
}
@media screen and (prefers-color-scheme:dark){
:root{--page:#15171a;--ink:#e7e5df;--soft:#a2a6ad;--rule:#34383e;--wash:#1e2125;--accent:#8ab8e6;
--good:#6fd3ad;--good-wash:#12332a;--bad:#f5a274;--bad-wash:#3d2112;--none:#b4b8bd;--none-wash:#2a2d31;--warn:#e6c46a;--warn-wash:#3a3010;
--bar:#4d7ba6;--mark:#5c4a0c}
${darkCharts}
}
@media print{
@page{margin:16mm 14mm}
html{font-size:13px}
:root{--page:#fff;--ink:#000;--soft:#444;--rule:#bbb;--wash:#f4f4f4;color-scheme:light}
body{font-size:10.5pt;line-height:1.42}
main,header,footer{max-width:none;padding:0}
header{padding-top:0}
nav{display:none}
h2{margin-top:1.8rem}
h2,h3,h4{break-after:avoid}
figcaption{break-after:avoid;break-inside:avoid}
.panel,.example,.claim,tr,.tests li,pre{break-inside:avoid}
figure.table{break-inside:avoid-page}
thead{display:table-header-group}
.scroll{overflow:visible}
table{font-size:7pt}
th,td{padding:.16rem .3rem}
.edge{padding-left:.55rem}
table.heat th,table.heat td{min-width:0;padding:.18rem .1rem}
table.heat{font-size:6.4pt}
.networks th:first-child code{font-size:.9em}
table.heat td,mark,.badge,.masking,.heat-scale i,.swatch{-webkit-print-color-adjust:exact;print-color-adjust:exact}
.panels{grid-template-columns:repeat(3,minmax(0,1fr))}
.examples{grid-template-columns:repeat(2,minmax(0,1fr));gap:1rem 1.4rem}
pre{white-space:pre-wrap}
details>summary{display:none}
details::details-content{content-visibility:visible;display:block;block-size:auto}
.scroll{max-height:none;background:none}
.scroll thead{position:static}
}
`.trim();
