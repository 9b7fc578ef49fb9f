//! The plot: one row a scheduler, one dot a seed.

use std::fmt::Write as _;

const LEFT: f64 = 250.0;
const WIDTH: f64 = 520.0;
const ROW: f64 = 26.0;
const TOP: f64 = 44.0;

/// An SVG of rejected jobs.
pub(crate) fn svg(rows: &[(String, Vec<usize>)], jobs: usize, hosts: usize) -> String {
    let most = rows.iter().flat_map(|(_, r)| r).copied().max().unwrap_or(1).max(1);
    let step = [10, 20, 50, 100, 200, 500, 1_000].into_iter().find(|s| most / s <= 8).unwrap_or(2_000);
    let end = most.div_ceil(step) * step;
    let x = |value: usize| LEFT + WIDTH * value as f64 / end as f64;
    let bottom = TOP + ROW * rows.len() as f64;
    let mut out = String::new();
    let (width, height) = (LEFT + WIDTH + 40.0, bottom + 40.0);
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"13\"><rect width=\"100%\" height=\"100%\" fill=\"white\"/>\
         <text x=\"12\" y=\"22\">openb trace, {jobs} jobs on {hosts} hosts: jobs rejected, one dot a seed</text>"
    );
    for tick in (0..=end).step_by(step) {
        let at = x(tick);
        let _ = writeln!(
            out,
            "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom}\" stroke=\"#ddd\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555\">{tick}</text>",
            bottom + 18.0
        );
    }
    for (i, (name, rejected)) in rows.iter().enumerate() {
        let y = TOP + ROW * (i as f64 + 0.5);
        let _ = writeln!(out, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>", LEFT - 12.0, y + 4.0);
        let (low, high) = (rejected.iter().min().copied().unwrap_or(0), rejected.iter().max().copied().unwrap_or(0));
        let _ = writeln!(
            out,
            "<line x1=\"{:.1}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\" stroke=\"#888\"/>",
            x(low),
            x(high)
        );
        let colour = if name.contains("candidates") { "#1f5fa8" } else { "#b0601c" };
        for value in rejected {
            let _ = writeln!(out, "<circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>", x(*value));
        }
    }
    out.push_str("</svg>\n");
    out
}
