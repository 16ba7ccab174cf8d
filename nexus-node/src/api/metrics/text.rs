use std::fmt::{Display, Write};

use crate::histogram::{BUCKETS, Counts, Histogram};

/// The text format: a family, then its values.
#[derive(Default)]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) family: &'static str,
}

impl Text {
    pub(super) fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.family = name;
        // Writing to memory cannot fail.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    pub(super) fn value(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.text, "{}{suffix}", self.family);
        for (index, (name, label)) in labels.iter().enumerate() {
            let label = label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.text, "{}{name}=\"{label}\"", if index == 0 { "{" } else { "," });
        }
        let _ = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// The values of a family of durations.
    pub(super) fn histogram(&mut self, labels: &[(&str, &str)], durations: &Histogram) {
        let Counts { up_to, all, seconds } = durations.counts();
        let bounds = BUCKETS.iter().map(ToString::to_string).zip(up_to).chain([("+Inf".to_owned(), all)]);
        for (bound, count) in bounds {
            let labels: Vec<(&str, &str)> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
            self.value("_bucket", &labels, count);
        }
        self.value("_sum", labels, seconds);
        self.value("_count", labels, all);
    }

    pub(super) fn one(&mut self, name: &'static str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.value("", &[], value);
    }
}
