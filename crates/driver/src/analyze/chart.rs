//! A boot as a picture: time to the right, a row for each part and each unit.

use super::Analysis;

/// Width of the whole, and of what stands left of the bars.
const WIDTH: f64 = 1160.0;
const LEFT: f64 = 330.0;
const RIGHT: f64 = 130.0;
const ROW: f64 = 21.0;
const TOP: f64 = 66.0;

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The chart in SVG. Bars of the critical chain are darker and have a dot before their name.
#[must_use]
pub fn svg(it: &Analysis) -> String {
    let start = it.phases.first().map_or(0.0, |phase| phase.from).min(0.0);
    let end = it.units.iter().map(|unit| unit.from + unit.takes).fold(it.ready, f64::max);
    let span = (end - start).max(0.001);
    let x = |at: f64| LEFT + (at - start) / span * (WIDTH - LEFT - RIGHT);
    let units: Vec<_> = it.worth().collect();
    let gap = 30.0;
    let units_top = TOP + it.phases.len() as f64 * ROW + gap;
    let bottom = units_top + units.len() as f64 * ROW;
    let height = bottom + 46.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" height=\"{height:.0}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"16\" y=\"26\" font-size=\"17\" font-weight=\"bold\" fill=\"#1b2733\">Boot of {}</text>\n\
         <text x=\"16\" y=\"45\" fill=\"#5b6875\">ready {:.2} s after its kernel began; seconds of the guest's clock</text>\n",
        escape(&it.machine),
        it.ready
    );
    // Lines at whole steps of 1, 2 or 5 of a power of ten: some ten of them.
    let rough = span / 10.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= rough).unwrap_or(rough);
    let digits = if step >= 1.0 { 0 } else if step >= 0.1 { 1 } else { 2 };
    let mut at = (start / step).ceil() * step;
    while at <= end + 1e-9 {
        let place = x(at);
        let label = if at.abs() < step / 1000.0 { 0.0 } else { at };
        out.push_str(&format!(
            "<line x1=\"{place:.1}\" y1=\"{:.1}\" x2=\"{place:.1}\" y2=\"{:.1}\" stroke=\"#e3e8ed\"/><text x=\"{place:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#5b6875\">{label:.digits$}</text>\n",
            TOP - 4.0,
            bottom + 4.0,
            bottom + 18.0
        ));
        at += step;
    }
    let mut bar = |row_top: f64, name: &str, from: f64, takes: f64, note: &str, fill: &str, is_critical: bool| {
        let (left, right) = (x(from), x(from + takes));
        let middle = row_top + ROW / 2.0 + 4.0;
        let weight = if is_critical { " font-weight=\"bold\"" } else { "" };
        let dot = if is_critical { "● " } else { "" };
        out.push_str(&format!("<text x=\"{:.1}\" y=\"{middle:.1}\" text-anchor=\"end\" fill=\"#1b2733\"{weight}>{dot}{}</text>", LEFT - 10.0, escape(name)));
        out.push_str(&format!(
            "<rect x=\"{left:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"2\" fill=\"{fill}\"/>",
            row_top + 3.0,
            (right - left).max(1.5),
            ROW - 6.0
        ));
        out.push_str(&format!("<text x=\"{:.1}\" y=\"{middle:.1}\" fill=\"#5b6875\">{note}</text>\n", right.max(left + 1.5) + 6.0));
    };
    for (row, phase) in it.phases.iter().enumerate() {
        bar(TOP + row as f64 * ROW, &phase.name, phase.from, phase.takes, &format!("{:.3} s", phase.takes), "#3f7cac", false);
    }
    for (row, unit) in units.iter().enumerate() {
        let takes = (unit.takes >= 0.001).then(|| format!("{:.3} s", unit.takes));
        let cpu = unit.cpu.map(|cpu| format!("cpu {cpu:.3} s"));
        let note = takes.into_iter().chain(cpu).collect::<Vec<_>>().join(", ");
        bar(units_top + row as f64 * ROW, &unit.name, unit.from, unit.takes, &note, if unit.is_critical { "#c8553d" } else { "#9fb4c4" }, unit.is_critical);
    }
    out.push_str(&format!(
        "<text x=\"16\" y=\"{:.1}\" fill=\"#5b6875\">● on the critical chain: of what a unit waits for, the one that was active last</text>\n</svg>\n",
        height - 8.0
    ));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_where_their_times_are() {
        let mut it = Analysis::parse("a<b", super::super::tests::SAID, None).unwrap();
        it.units[0].name = "x&y.service".into();
        let picture = svg(&it);
        assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
        assert!(picture.contains("Boot of a&lt;b") && picture.contains("x&amp;y.service"));
        // 3.0 to 3.5 of 4 seconds.
        let width = WIDTH - LEFT - RIGHT;
        assert!(picture.contains(&format!("<rect x=\"{:.1}\"", LEFT + width * 0.75)), "{picture}");
        assert!(picture.contains(&format!("width=\"{:.1}\"", width * 0.125)), "{picture}");
        assert_eq!(picture.matches("<rect ").count(), 1 + it.phases.len() + it.worth().count());
    }
}
