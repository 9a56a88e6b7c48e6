//! Text and style of the report's page.

/// Text as HTML shows it.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A table; cells are HTML already.
pub fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let cells = |tag: &str, cells: Vec<String>| -> String {
        cells.into_iter().map(|cell| format!("<{tag}>{cell}</{tag}>")).collect()
    };
    let head = cells("th", head.iter().map(|cell| escaped(cell)).collect());
    let rows: String = rows.map(|row| format!("<tr>{}</tr>", cells("td", row))).collect();
    format!("<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>")
}

pub const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c1d22; --faint: #6b6e78; --paper: #fff; --line: #e3e4e8; --card: #f6f7f9; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e9eaee; --faint: #9a9da8; --paper: #15161a; --line: #2d2f36; --card: #1d1f24; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  max-width: 1080px; padding: 2rem 1.5rem 4rem; }
h1 { font-size: 1.7rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; }
p.sub { color: var(--faint); margin: .2rem 0 1.4rem; }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; }
.cards div { background: var(--card); border-radius: 8px; padding: .7rem 1.1rem; min-width: 7rem; }
.cards b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; } .cards span { color: var(--faint); }
.curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 1.2rem; }
figure { margin: 0; } figcaption { font-weight: 600; margin-bottom: .2rem; }
svg { width: 100%; height: auto; } polyline { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
.grid { stroke: var(--line); } .axis { fill: var(--faint); font-size: 11px; }
.legend span { margin-right: 1rem; color: var(--faint); }
.legend i, .swatch { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .4em; }
summary { cursor: pointer; color: var(--faint); }
table { border-collapse: collapse; margin-bottom: 16px; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; } th { color: var(--faint); font-weight: 600; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 1.2rem; }
.pictures img { width: 100%; border-radius: 6px; image-rendering: auto; }
pre { background: var(--card); border-radius: 8px; padding: 1rem; overflow-x: auto; font-size: 13px; }
footer { color: var(--faint); margin-top: 3rem; }
@media print { body { max-width: none; } figure, .pictures > * { break-inside: avoid; } }
";
