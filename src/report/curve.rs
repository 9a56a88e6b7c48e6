//! Line charts as SVG, for people who open a report in a browser.

use super::html::escaped;

/// One line of a chart.
pub struct Series {
    pub name: String,
    /// CSS colour.
    pub color: String,
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 56.0;
const BOTTOM: f64 = 30.0;
const TOP: f64 = 14.0;
/// Points that a line keeps: more are noise to the eye.
const MOST: usize = 200;
/// Points that are marked each, so that a few of them, or one, can be seen.
const MARKED: usize = 40;

/// How y is drawn.
#[derive(Clone, Copy, PartialEq)]
pub enum Scale {
    Linear,
    Logarithmic,
    /// Shares, up to 1.
    Share,
}

/// A chart of `series` over steps.
pub fn chart(title: &str, series: &[Series], scale: Scale) -> String {
    let logarithmic = scale == Scale::Logarithmic;
    let height = |y: f64| if logarithmic { y.max(1e-12).log10() } else { y };
    let series: Vec<Series> = series.iter().map(Series::thinned).collect();
    let all = || series.iter().flat_map(|series| &series.points).filter(|(x, y)| x.is_finite() && y.is_finite());
    let most_x = all().fold(1.0, |most: f64, (x, _)| most.max(*x));
    let (mut low, mut high) = all()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), (_, y)| (low.min(height(*y)), high.max(height(*y))));
    if low > high {
        return String::new();
    }
    if scale == Scale::Share {
        (low, high) = ((low * 10.0 - 1e-9).floor().max(0.0) / 10.0, 1.0);
    }
    if high - low < 1e-9 {
        (low, high) = (low - 0.5, high + 0.5);
    }
    let place = |x: f64, y: f64| {
        let across = LEFT + (WIDTH - LEFT - 10.0) * x / most_x;
        let up = (HEIGHT - BOTTOM) - (HEIGHT - BOTTOM - TOP) * (height(y) - low) / (high - low);
        (across, up)
    };
    let mut svg = format!(
        "<figure><figcaption>{}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">",
        escaped(title)
    );
    for n in 0..5 {
        let part = f64::from(n) / 4.0;
        let y = HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * part;
        let value = low + (high - low) * part;
        let value = if logarithmic { 10f64.powf(value) } else { value };
        svg += &format!(
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"axis\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - 10.0,
            LEFT - 6.0,
            y + 4.0,
            brief(value)
        );
        let (x, _) = place(most_x * part, 1.0);
        svg += &format!(
            "<text class=\"axis\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"{}\">{:.0}{}</text>",
            HEIGHT - 10.0,
            if n == 4 { "end" } else { "middle" },
            most_x * part,
            if n == 4 { " steps" } else { "" }
        );
    }
    for series in &series {
        let places: Vec<(f64, f64)> = series.points.iter().map(|&(x, y)| place(x, y)).collect();
        let points: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        svg += &format!("<polyline style=\"stroke:{}\" points=\"{}\"/>", series.color, points.join(" "));
        for (x, y) in places.iter().filter(|_| places.len() <= MARKED) {
            svg += &format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"{}\"/>", series.color);
        }
    }
    svg += "</svg><div class=\"legend\">";
    for series in series.iter().filter(|series| !series.name.is_empty()) {
        svg += &format!("<span><i style=\"background:{}\"></i>{}</span>", series.color, escaped(&series.name));
    }
    svg + "</div></figure>"
}

impl Series {
    /// Means of equal stretches, where there are more points than can be seen.
    fn thinned(&self) -> Series {
        let stretch = self.points.len().div_ceil(MOST).max(1);
        let mean = |points: &[(f64, f64)]| {
            let count = points.len() as f64;
            (points.iter().map(|p| p.0).sum::<f64>() / count, points.iter().map(|p| p.1).sum::<f64>() / count)
        };
        let points = self.points.chunks(stretch).map(mean).filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
        Series { name: self.name.clone(), color: self.color.clone(), points }
    }
}

fn brief(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        x if !(1e-3..1e4).contains(&x) => format!("{value:.1e}"),
        x if x < 1.0 => format!("{value:.3}"),
        x if x < 100.0 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    }
}
