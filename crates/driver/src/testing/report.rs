//! How tests ended, and that as JUnit XML.

use std::time::Duration;

/// How a test, or a part of it, ended.
#[derive(Debug, Clone, PartialEq)]
pub struct TestReport {
    /// Its name.
    pub name: String,
    /// How long it took.
    pub took: Duration,
    /// Why it failed; `None` when it passed.
    pub failure: Option<String>,
    /// Its subtests in their order: name, time, failure.
    pub subtests: Vec<Subtest>,
    /// Whether it was interrupted.
    pub is_interrupted: bool,
}

impl TestReport {
    /// The report as text: verdict, cases, and why it failed.
    #[must_use]
    pub fn text(&self) -> String {
        let verdict = |failure: &Option<String>| if failure.is_some() { "FAILED" } else { "passed" };
        let mut text = format!("test {}: {} after {:.1} s\n", self.name, verdict(&self.failure), self.took.as_secs_f64());
        for case in &self.subtests {
            text.push_str(&format!("  {}: {} after {:.1} s\n", case.name, verdict(&case.failure), case.took.as_secs_f64()));
        }
        if let Some(failure) = &self.failure {
            text.push_str(&format!("\n{failure}\n"));
        }
        text
    }
}

/// A subtest.
#[derive(Debug, Clone, PartialEq)]
pub struct Subtest {
    /// Its name.
    pub name: String,
    /// How long it took.
    pub took: Duration,
    /// Why it failed.
    pub failure: Option<String>,
}

/// Reports as JUnit XML.
#[must_use]
pub fn junit(reports: &[TestReport]) -> String {
    let failures = reports.iter().filter(|report| report.failure.is_some()).count();
    let mut text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites tests=\"{}\" failures=\"{failures}\">\n", reports.len());
    for report in reports {
        let mut cases = report.subtests.clone();
        cases.push(Subtest { name: report.name.clone(), took: report.took, failure: report.failure.clone() });
        let failed = cases.iter().filter(|case| case.failure.is_some()).count();
        let suite = escape(&report.name);
        text.push_str(&format!("  <testsuite name=\"{suite}\" tests=\"{}\" failures=\"{failed}\" time=\"{:.3}\">\n", cases.len(), report.took.as_secs_f64()));
        for case in cases {
            let head = format!("    <testcase classname=\"{suite}\" name=\"{}\" time=\"{:.3}\"", escape(&case.name), case.took.as_secs_f64());
            match case.failure {
                None => text.push_str(&format!("{head}/>\n")),
                Some(failure) => {
                    let first = escape(failure.lines().next().unwrap_or_default());
                    text.push_str(&format!("{head}><failure message=\"{first}\">{}</failure></testcase>\n", escape(&failure)));
                }
            }
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

/// Text within XML; characters that XML cannot have are left out.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            c if c < ' ' && c != '\t' => {}
            '\u{fffe}' | '\u{ffff}' => {}
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_xml_whatever_a_failure_says() {
        let report = TestReport {
            name: "a<b".into(),
            took: Duration::from_millis(1500),
            failure: Some("\"x\" & \u{1}y\nz".into()),
            subtests: vec![Subtest { name: "one".into(), took: Duration::ZERO, failure: None }],
            is_interrupted: false,
        };
        let text = junit(&[report]);
        assert!(text.contains("message=\"&quot;x&quot; &amp; y\"") && text.contains("time=\"1.500\"") && text.contains("a&lt;b"), "{text}");
        assert_eq!(text.matches("<testcase").count(), 2);
    }
}
