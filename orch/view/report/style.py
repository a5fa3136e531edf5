"""How a report looks: its colours, light and dark, and the sheet that uses them.

Paper is always light. No colour carries a meaning alone: a word, a sign or a form goes with it.
"""

from collections.abc import Mapping

LIGHT: Mapping[str, str] = {
    "paper": "#ffffff",
    "panel": "#f5f6f8",
    "ink": "#1a1e24",
    "quiet": "#566070",
    "rule": "#d3d8df",
    "link": "#0b52c4",
    "ok": "#0f6129",
    "ok-ground": "#e4f4e8",
    "bad": "#a20d25",
    "bad-ground": "#fde9ea",
    "warn": "#714600",
    "warn-ground": "#fdf1d3",
    "info": "#0b4a9e",
    "info-ground": "#e6effc",
    "commander": "#6a49c9",
    "planner": "#0b7285",
    "worker": "#2467cf",
    "reviewer": "#a84f12",
    "orch": "#4d5866",
    "wait": "#79828f",
    "stripe": "#9a6700",
}
DARK: Mapping[str, str] = {
    "paper": "#0f1216",
    "panel": "#181c22",
    "ink": "#e5e8ec",
    "quiet": "#a2acb9",
    "rule": "#343c46",
    "link": "#8ab6ff",
    "ok": "#7fe0a1",
    "ok-ground": "#10291b",
    "bad": "#ffa0a0",
    "bad-ground": "#351819",
    "warn": "#f1c670",
    "warn-ground": "#2f2511",
    "info": "#9cc2ff",
    "info-ground": "#13233d",
    "commander": "#b6a2fb",
    "planner": "#55c5d6",
    "worker": "#74abff",
    "reviewer": "#f19d60",
    "orch": "#aab4c0",
    "wait": "#7f8a98",
    "stripe": "#e0b04a",
}


def _variables(colours: Mapping[str, str]) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in colours.items())


_RULES = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-padding-top:1rem}
body{margin:0 auto;max-width:78rem;padding:0 clamp(.9rem,3vw,2.5rem) 3rem;background:var(--paper);
color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;
overflow-wrap:anywhere}
a{color:var(--link);text-underline-offset:.15em}
:focus-visible{outline:3px solid var(--link);outline-offset:2px;border-radius:2px}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;font-size:.86em}
pre{margin:.4rem 0;padding:.7rem .9rem;background:var(--panel);border:1px solid var(--rule);border-radius:6px;
overflow:auto;max-height:24rem;white-space:pre-wrap}
pre code{font-size:1em}
h1{margin:.1rem 0 1.1rem;font-size:clamp(1.45rem,1.1rem + 1.6vw,2.1rem);line-height:1.2;
letter-spacing:-.012em;text-wrap:balance}
h2{margin:0 0 .8rem;font-size:1.3rem;line-height:1.3;letter-spacing:-.005em}
h3{margin:1.5rem 0 .5rem;font-size:1.02rem}
p{margin:.4rem 0;max-width:70ch}
ul{margin:.4rem 0;padding-left:1.2rem}
li{max-width:75ch}
section{margin-top:2.6rem;padding-top:1.4rem;border-top:1px solid var(--rule)}
footer{margin-top:3rem;padding-top:1rem;border-top:1px solid var(--rule);color:var(--quiet);font-size:.86rem}
.skip{position:absolute;left:-200vw;top:.4rem;padding:.5rem .9rem;background:var(--paper);z-index:9}
.skip:focus{left:.9rem}
.kicker{margin:1.6rem 0 0;color:var(--quiet);font-size:.8rem;font-weight:600;letter-spacing:.09em;
text-transform:uppercase}
.none{color:var(--quiet);font-size:.88rem}
.prose{white-space:pre-line}
.hash{overflow-wrap:anywhere}
.verdict{margin:0 0 1.4rem;padding:1rem 1.2rem;border:1px solid;border-left-width:8px;border-radius:8px}
.verdict p{margin:.15rem 0}
.verdict .word{font-size:1.5rem;font-weight:700;line-height:1.25}
.verdict .none{color:inherit}
.verdict .why{margin:.5rem 0;white-space:pre-line;color:var(--ink)}
.ok{color:var(--ok)}.bad{color:var(--bad)}.warn{color:var(--warn)}.info{color:var(--info)}
.verdict.ok,.chip.ok{background:var(--ok-ground);border-color:var(--ok)}
.verdict.bad,.chip.bad{background:var(--bad-ground);border-color:var(--bad)}
.verdict.warn{background:var(--warn-ground);border-color:var(--warn)}
.verdict.info{background:var(--info-ground);border-color:var(--info)}
.chip.warn,.note.warn{background:var(--warn-ground);border-color:var(--warn)}
.chip.plain{color:var(--ink);background:var(--panel);border-color:var(--wait)}
.chip{display:inline-block;padding:0 .5em;border:1px solid;border-radius:1em;font-size:.8rem;line-height:1.5;
font-weight:600;white-space:nowrap}
.sha{white-space:nowrap}
.note{margin:.6rem 0 1rem;padding:.6rem .9rem;border:1px solid;border-radius:6px}
.note ul,.note li{color:var(--ink)}
.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,13.5rem),1fr));gap:.9rem 1.6rem;
margin:0}
.facts div{min-width:0;padding-top:.45rem;border-top:2px solid var(--rule)}
.facts dt{color:var(--quiet);font-size:.8rem;font-weight:600}
.facts dd{margin:0;font-variant-numeric:tabular-nums}
nav ul{display:flex;flex-wrap:wrap;gap:.1rem 1.1rem;margin:1.6rem 0 0;padding:0;list-style:none}
nav a{display:inline-block;padding:.3rem 0}
details{margin:.7rem 0}
td details{margin:0}
td .none{font-size:.92em}
summary{cursor:pointer;color:var(--link);padding:.2rem 0;width:fit-content;max-width:100%}
.box{overflow:auto;max-width:100%;margin:.5rem 0;border:1px solid var(--rule);border-radius:6px}
.picture{max-height:80vh;background:var(--panel)}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
caption{padding:.5rem .75rem;text-align:left;color:var(--quiet);font-size:.84rem}
th,td{padding:.45rem .75rem;border-top:1px solid var(--rule);text-align:left;vertical-align:top;
min-width:4.2rem;max-width:26rem}
td,tbody th{overflow-wrap:break-word}
thead th{background:var(--panel);font-size:.8rem;color:var(--quiet);white-space:nowrap}
tbody th{font-weight:600}
td code,th code{overflow-wrap:anywhere;font-weight:400}
td:has(code:not(.sha)),th:has(code){min-width:12rem}
td>a:only-child{white-space:nowrap}
td:has(details[open]){min-width:24rem}
.again th{opacity:1;font-weight:400;color:var(--quiet)}
.total th,.total td{font-weight:700;border-top:2px solid var(--wait)}
.sums td{text-align:right}.sums thead th+th{text-align:right}
tr:target,li:target{outline:3px solid var(--link);outline-offset:-3px}
.role{font-weight:600}
.role.commander{color:var(--commander)}.role.planner{color:var(--planner)}
.role.worker{color:var(--worker)}.role.reviewer{color:var(--reviewer)}
.commander{--hue:var(--commander)}.planner{--hue:var(--planner)}.worker{--hue:var(--worker)}
.reviewer{--hue:var(--reviewer)}.track.orch{--hue:var(--orch)}
.timeline{margin:0 0 1rem}
.defs{position:absolute}
.rows{margin:0;padding:0 12px 0 0;list-style:none;border:1px solid var(--rule);border-radius:6px;
background:var(--panel)}
.rows li{display:grid;grid-template-columns:15.5rem minmax(0,1fr);align-items:center;max-width:none;
border-top:1px solid var(--rule);break-inside:avoid}
.rows li:first-child{border-top:0}
.who{padding:.12rem .7rem;font-size:.86rem;white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
.who .about{color:var(--quiet)}
.track{display:block;width:100%;height:26px;overflow:visible}
.track path{fill:none;vector-effect:non-scaling-stroke}
.track.key{width:36px;height:20px;flex:none}
.life{stroke:var(--rule);stroke-width:2px}
.turn{stroke:var(--hue);stroke-width:15px}
.tool{stroke:var(--hue);stroke-width:7px}
.idle{stroke:var(--wait);stroke-width:2px;stroke-dasharray:2 4}
.gate{stroke:var(--stripe);stroke-width:15px;stroke-dasharray:3 3}
.backoff{stroke:var(--stripe);stroke-width:7px;stroke-dasharray:3 3}
#grid line{stroke:var(--rule);stroke-width:1px}
#grid rect{fill:var(--paper);stroke:var(--wait);stroke-width:1px;stroke-dasharray:2 2}
.mark{overflow:visible;color:var(--ink)}
.mark.key{width:20px;height:20px;flex:none}
.reject,.fail,.deny{color:var(--bad)}.retry{color:var(--warn)}.heal{color:var(--ok)}
[id^=mark-] circle{fill:var(--paper);stroke:currentColor;stroke-width:1.2px}
[id^=mark-] path{fill:none;stroke:currentColor;stroke-width:1.8px}
.axis{padding-right:13px;display:grid;grid-template-columns:15.5rem minmax(0,1fr);
font-size:.76rem;color:var(--quiet)}
.axis div{grid-column:2;position:relative;height:1.5rem}
.axis span{position:absolute;padding-left:.25rem;border-left:1px solid var(--wait);white-space:nowrap;
font-variant-numeric:tabular-nums}
.axis .fold{border:0;padding:0;transform:translateX(-50%)}
.legend{display:flex;flex-wrap:wrap;gap:.15rem 1.1rem;margin:.2rem 0 .8rem;padding:0;list-style:none;
font-size:.84rem}
.legend li{display:flex;align-items:center;gap:.35rem}
.graph{display:block;font:12px system-ui,sans-serif}
.graph text{fill:var(--ink)}
.graph .name{font-weight:700}.graph .state{fill:var(--quiet);font-size:11px}
.graph a:hover rect,.graph a:focus rect{stroke-width:3px}
.edges path{fill:none;stroke:var(--wait);stroke-width:1.4px}
.edges .fix{stroke-dasharray:5 4}
.node rect{fill:var(--paper);stroke:var(--wait);stroke-width:1.4px}
.node.completed rect{stroke:var(--ok);stroke-width:2px}
.node.failed rect,.node.blocked rect{stroke:var(--bad);stroke-width:3px}
.node.rejected rect{stroke:var(--stripe);stroke-width:2px;stroke-dasharray:9 3}
.node.dropped rect{stroke-dasharray:3 3;fill:var(--panel)}
.node.working rect,.node.submitted rect,.node.reviewing rect{stroke:var(--link);stroke-width:2px;
stroke-dasharray:12 3}
@media (max-width:46rem){
body{font-size:15px}
.rows li,.axis{grid-template-columns:minmax(0,1fr)}
.axis div{grid-column:1}
.rows{padding:0 10px}
.axis{padding:0 11px}
.who{padding-left:0}
.axis span:nth-child(even):not(.fold){display:none}
.who{padding-top:.3rem}
.verdict{padding:.8rem .9rem}
.facts{grid-template-columns:repeat(auto-fill,minmax(min(100%,9.5rem),1fr))}
td:has(details[open]){min-width:16rem}
nav a{padding:.45rem 0}
summary{padding:.5rem 0}
td summary{padding:.1rem 0}
}
@media print{
@page{margin:14mm}
body{max-width:none;padding:0;font-size:10pt}
.skip,nav{display:none}
.box,pre{overflow:visible;max-height:none}
.box{border:0}
section{margin-top:1.2rem;padding-top:.8rem}
h2,h3,caption,summary{break-after:avoid}
tr,li,.verdict,.facts div{break-inside:avoid}
thead{display:table-header-group}
table{font-size:8pt}
th,td{padding:.25rem .4rem;min-width:0}
a{color:inherit;text-decoration:none}
details::details-content{content-visibility:visible;block-size:auto}
.graph{width:100%;height:auto;max-height:240mm}
.verdict,.chip,.track,.node rect,.legend svg{print-color-adjust:exact;-webkit-print-color-adjust:exact}
.rows li,.axis{grid-template-columns:54mm minmax(0,1fr)}
.axis div{grid-column:2}
}
"""
SHEET = (
    f":root{{color-scheme:light;{_variables(LIGHT)}}}"
    f"@media screen and (prefers-color-scheme:dark){{:root{{color-scheme:dark;{_variables(DARK)}}}}}{_RULES}"
)
