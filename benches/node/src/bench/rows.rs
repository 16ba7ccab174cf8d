use std::fmt;

use serde::Serialize;

/// A figure with its goal and its floor.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub(super) bench: &'static str,
    pub(super) figure: String,
    pub(super) value: f64,
    pub(super) unit: &'static str,
    pub(super) asked: Option<Goal>,
    pub(super) floor: Option<Floor>,
}

/// A goal: a bound in the figure's unit.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Goal {
    AtLeast(f64),
    LessThan(f64),
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, "≥ {}", number(*bound)),
            Self::LessThan(bound) => write!(f, "< {}", number(*bound)),
        }
    }
}

/// The machine's own figure in the same run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Floor {
    pub(super) name: &'static str,
    pub(super) value: f64,
}

impl Row {
    pub(super) fn new(bench: &'static str, figure: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { bench, figure: figure.into(), value, unit, asked: None, floor: None }
    }

    pub(super) fn asked(self, asked: Goal) -> Self {
        Self { asked: Some(asked), ..self }
    }

    pub(super) fn floor(self, name: &'static str, value: f64) -> Self {
        Self { floor: Some(Floor { name, value }), ..self }
    }

    /// Whether the goal is met; `None` without a goal.
    pub(super) fn holds(&self) -> Option<bool> {
        self.asked.map(|asked| match asked {
            Goal::AtLeast(bound) => self.value >= bound,
            Goal::LessThan(bound) => self.value < bound,
        })
    }

    /// The ratio of the figure to its floor.
    pub(super) fn ratio(&self) -> Option<f64> {
        self.floor.as_ref().filter(|floor| floor.value > 0.0).map(|floor| self.value / floor.value)
    }
}

/// Three significant digits, with thousands apart.
pub(super) fn number(value: f64) -> String {
    if value >= 1_000.0 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a figure for people")]
        let digits = (value.round() as u64).to_string();
        let mut grouped = String::new();
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        grouped
    } else if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// The value below which this share of the samples lies. Sorts the samples.
pub(super) fn quantile(samples: &mut [f64], share: f64) -> f64 {
    samples.sort_unstable_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let at = ((samples.len() as f64 - 1.0) * share).round() as usize;
    samples.get(at).copied().unwrap_or_default()
}
