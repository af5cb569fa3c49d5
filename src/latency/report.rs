//! Latency on paper: `.hgrm` text that every HdrHistogram plotter reads, and SVG curves.

use std::fmt::Write;

use super::StepSnapshot;

/// The percentile distribution in HdrHistogram's text format, values in milliseconds.
pub fn hgrm(step: &StepSnapshot) -> String {
    let histogram = &step.histogram;
    let mut text = format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut count_below = 0;
    for value in histogram.iter_quantiles(5) {
        count_below += value.count_since_last_iteration();
        let quantile = value.quantile_iterated_to();
        let inverse = if quantile < 1.0 { format!("{:14.2}", 1.0 / (1.0 - quantile)) } else { format!("{:>14}", "Infinity") };
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{:12.3} {quantile:14.12} {count_below:10} {inverse}", value.value_iterated_to() as f64 / 1e6);
    }
    let ms = |ns: f64| ns / 1e6;
    let _infallible = writeln!(
        text,
        "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]\n#[Max     = {:12.3}, Total count    = {:12}]\n#[Negative latencies, not above: {}]",
        ms(histogram.mean()),
        ms(histogram.stdev()),
        ms(histogram.max() as f64),
        histogram.len(),
        step.negative
    );
    text
}

/// One line of a chart.
pub struct Curve {
    pub label: String,
    /// (x, y); y in milliseconds.
    pub points: Vec<(f64, f64)>,
}

/// What the x axis means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// x = quantile in 0…1, drawn as number of nines.
    Percentile,
    /// x = streams, linear.
    Streams,
}

const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 800.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 362.0;
/// Readable on light and dark alike.
const COLOURS: [&str; 6] = ["#0b6bcb", "#c4461f", "#2d8a4e", "#8a5cc2", "#a8790a", "#5f6b7a"];

/// Percentile curve of a step: x = quantile, up to 99.99 %.
pub fn percentile_curve(step: &StepSnapshot) -> Curve {
    let quantiles = (0..=80).map(|i| 1.0 - 10_f64.powf(-f64::from(i) / 20.0));
    let points = quantiles.map(|q| (q, step.histogram.value_at_quantile(q) as f64 / 1e6)).collect();
    Curve { label: step.name.to_string(), points }
}

/// A chart of latency in milliseconds over `axis`, self-contained SVG.
pub fn svg(title: &str, axis: Axis, curves: &[Curve]) -> String {
    let position = |x: f64| match axis {
        Axis::Percentile => -(1.0 - x).max(1e-4).log10(),
        Axis::Streams => x,
    };
    let all = || curves.iter().flat_map(|c| &c.points);
    let x_max = match axis {
        Axis::Percentile => 4.0,
        Axis::Streams => all().map(|p| p.0).fold(1.0, f64::max),
    };
    let y_max = nice_ceiling(all().map(|p| p.1).fold(0.1, f64::max));
    let px = |x: f64| LEFT + position(x) / x_max * (RIGHT - LEFT);
    let py = |y: f64| BOTTOM - (y / y_max).min(1.0) * (BOTTOM - TOP);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n<text x=\"{LEFT}\" y=\"26\" font-size=\"16\" fill=\"#1b1f24\">{}</text>\n",
        escape(title)
    );
    for i in 0..=5 {
        let y = y_max * f64::from(i) / 5.0;
        let _infallible = writeln!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{0:.1}\" y2=\"{0:.1}\" stroke=\"#d9dee4\"/><text x=\"{1}\" y=\"{2:.1}\" text-anchor=\"end\" fill=\"#3d4650\">{3}</text>",
            py(y),
            LEFT - 8.0,
            py(y) + 4.0,
            trim(y)
        );
    }
    for (x, label) in x_ticks(axis, x_max) {
        // A label at the very edge would be cut off by it.
        let anchor = if x < x_max { "middle" } else { "end" };
        let _infallible = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"{anchor}\" fill=\"#3d4650\">{label}</text>",
            LEFT + x / x_max * (RIGHT - LEFT),
            BOTTOM + 20.0
        );
    }
    for (i, curve) in curves.iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        let points: Vec<String> = curve.points.iter().map(|p| format!("{:.1},{:.1}", px(p.0), py(p.1))).collect();
        let _infallible = writeln!(out, "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>", points.join(" "));
        let legend_y = TOP + 8.0 + 18.0 * i as f64;
        let _infallible = writeln!(
            out,
            "<rect x=\"{0}\" y=\"{1}\" width=\"14\" height=\"4\" fill=\"{colour}\"/><text x=\"{2}\" y=\"{3}\" fill=\"#1b1f24\">{4}</text>",
            LEFT + 14.0,
            legend_y - 5.0,
            LEFT + 34.0,
            legend_y,
            escape(&curve.label)
        );
    }
    let caption = if axis == Axis::Percentile { "percentile" } else { "streams" };
    let _infallible = write!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"#3d4650\">{caption}</text>\n<text x=\"16\" y=\"{}\" fill=\"#3d4650\" transform=\"rotate(-90 16 {2})\">ms</text>\n</svg>\n",
        (LEFT + RIGHT) / 2.0,
        BOTTOM + 44.0,
        (TOP + BOTTOM) / 2.0
    );
    out
}

fn x_ticks(axis: Axis, x_max: f64) -> Vec<(f64, String)> {
    match axis {
        Axis::Percentile => [(0.0, "0 %"), (0.301, "50 %"), (1.0, "90 %"), (2.0, "99 %"), (3.0, "99.9 %"), (4.0, "99.99 %")]
            .map(|(x, label)| (x, label.to_owned()))
            .to_vec(),
        Axis::Streams => {
            let step = (x_max / 8.0).ceil().max(1.0);
            (0..=8).map(|i| step * f64::from(i)).take_while(|x| *x <= x_max).map(|x| (x, trim(x))).collect()
        }
    }
}

/// 1, 2 or 5 times a power of ten, not below `value`.
fn nice_ceiling(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|c| *c >= value).unwrap_or(value)
}

fn trim(value: f64) -> String {
    if value >= 10.0 || value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::Latencies;

    #[test]
    fn hgrm_ends_at_the_maximum_and_counts_everything() {
        let all = Latencies::new();
        let mut recorder = all.recorder("journey").expect("bounds");
        (1..=1_000).for_each(|ms| recorder.record_ns(ms * 1_000_000));
        let step = &all.snapshot().expect("bounds")[0];
        let text = hgrm(step);
        let last = text.lines().rev().find(|l| !l.starts_with('#')).expect("rows");
        assert!(last.contains("1000") && last.contains("Infinity"), "{last}");
        let chart = svg("a < b", Axis::Percentile, &[percentile_curve(step)]);
        assert!(chart.contains("a &lt; b") && chart.ends_with("</svg>\n"));
    }
}
