//! The figures of a replay, and the table that shows them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Number;

/// How close a variant came to the original on the golden cases.
///
/// In JSON it is an object of the figures by metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VariantReport {
    /// The figures by metric; `None` where a metric does not apply to the variant.
    figures: BTreeMap<String, Option<Number>>,
}

impl VariantReport {
    pub(crate) fn new<const N: usize>(figures: [(&str, Option<Number>); N]) -> Self {
        Self { figures: figures.into_iter().map(|(metric, figure)| (metric.to_owned(), figure)).collect() }
    }

    /// The figure of a metric, where it has one.
    pub fn figure(&self, metric: &str) -> Option<&Number> {
        self.figures.get(metric)?.as_ref()
    }
}

/// A count as a figure.
pub(crate) fn count(value: usize) -> Option<Number> {
    Some(Number::from(value))
}

/// A measurement as a figure; `None` where it is not finite.
pub(crate) fn measurement(value: f64) -> Option<Number> {
    Number::from_f64(value)
}

/// A column of the table that `verify` prints.
#[derive(Debug)]
pub(crate) struct Column {
    /// The metric, which is the column's header too.
    pub(crate) metric: &'static str,
    /// Its width in characters.
    pub(crate) width: usize,
    pub(crate) notation: Notation,
}

/// How a column shows its figures.
#[derive(Debug)]
pub(crate) enum Notation {
    /// As a whole number.
    Count,
    /// With eight digits after the point.
    Fixed,
    /// With an exponent and three digits after the point.
    Scientific,
}

impl Column {
    /// The header, padded to the column's width.
    pub(crate) fn header(&self) -> String {
        format!("{:>1$}", self.metric, self.width)
    }

    /// The figure of a variant, padded to the column's width; `-` where there is none.
    pub(crate) fn cell(&self, report: &VariantReport) -> String {
        let shown = report.figure(self.metric).map(|figure| match self.notation {
            Notation::Count => figure.to_string(),
            Notation::Fixed => format!("{:.8}", figure.as_f64().unwrap_or(f64::NAN)),
            Notation::Scientific => format!("{:.3e}", figure.as_f64().unwrap_or(f64::NAN)),
        });
        format!("{:>1$}", shown.as_deref().unwrap_or("-"), self.width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_padded_and_mark_missing_figures() {
        let report = VariantReport::new([("cases", count(9)), ("max_abs", measurement(0.00125)), ("score", None)]);
        let cell = |metric, notation| Column { metric, width: 12, notation }.cell(&report);
        assert_eq!(cell("cases", Notation::Count), "           9");
        assert_eq!(cell("max_abs", Notation::Scientific), "    1.250e-3");
        assert_eq!(cell("max_abs", Notation::Fixed), "  0.00125000");
        assert_eq!(cell("score", Notation::Fixed), "           -");
        assert_eq!(Column { metric: "cases", width: 6, notation: Notation::Count }.header(), " cases");
    }

    #[test]
    fn a_report_is_an_object_of_figures() {
        let report = VariantReport::new([("cases", count(9)), ("cosine_min", measurement(1.0)), ("score", None)]);
        let json = r#"{"cases":9,"cosine_min":1.0,"score":null}"#;
        assert_eq!(serde_json::to_string(&report).expect("JSON"), json);
        assert_eq!(serde_json::from_str::<VariantReport>(json).expect("a report"), report);
    }
}
