//! The values of the metrics of a replay, and the table that shows them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Number;

/// The metrics that compare a variant with the original on the golden cases.
///
/// In JSON it is an object with the value of each metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VariantReport {
    /// The values by metric; `None` if a metric does not apply to the variant.
    values: BTreeMap<String, Option<Number>>,
}

impl VariantReport {
    pub(crate) fn new<const N: usize>(values: [(&str, Option<Number>); N]) -> Self {
        Self { values: values.into_iter().map(|(metric, value)| (metric.to_owned(), value)).collect() }
    }

    /// The value of a metric; `None` if the metric is unknown or does not apply to the variant.
    pub fn figure(&self, metric: &str) -> Option<&Number> {
        self.values.get(metric)?.as_ref()
    }
}

/// A count as the value of a metric.
pub(crate) fn count(value: usize) -> Option<Number> {
    Some(Number::from(value))
}

/// A measurement as the value of a metric; `None` if it is not finite.
pub(crate) fn measurement(value: f64) -> Option<Number> {
    Number::from_f64(value)
}

/// A column of the table that `verify` prints.
#[derive(Debug)]
pub(crate) struct Column {
    /// The metric, which is also the column's header.
    pub(crate) metric: &'static str,
    /// The column's width in characters.
    pub(crate) width: usize,
    pub(crate) notation: Notation,
}

/// How a column shows its values.
#[derive(Debug)]
pub(crate) enum Notation {
    /// The value is shown as an integer.
    Count,
    /// The value is shown with eight decimal places.
    Fixed,
    /// The value is shown with an exponent and three decimal places.
    Scientific,
}

impl Column {
    /// The header of the column, padded to its width.
    pub(crate) fn header(&self) -> String {
        format!("{:>1$}", self.metric, self.width)
    }

    /// The value that a variant has in the column, padded to the column's width; `-` if the variant has none.
    pub(crate) fn cell(&self, report: &VariantReport) -> String {
        let shown = report.figure(self.metric).map(|value| match self.notation {
            Notation::Count => value.to_string(),
            Notation::Fixed => format!("{:.8}", value.as_f64().unwrap_or(f64::NAN)),
            Notation::Scientific => format!("{:.3e}", value.as_f64().unwrap_or(f64::NAN)),
        });
        format!("{:>1$}", shown.as_deref().unwrap_or("-"), self.width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_padded_and_mark_missing_values() {
        let report = VariantReport::new([("cases", count(9)), ("max_abs", measurement(0.00125)), ("score", None)]);
        let cell = |metric, notation| Column { metric, width: 12, notation }.cell(&report);
        assert_eq!(cell("cases", Notation::Count), "           9");
        assert_eq!(cell("max_abs", Notation::Scientific), "    1.250e-3");
        assert_eq!(cell("max_abs", Notation::Fixed), "  0.00125000");
        assert_eq!(cell("score", Notation::Fixed), "           -");
        assert_eq!(Column { metric: "cases", width: 6, notation: Notation::Count }.header(), " cases");
    }

    #[test]
    fn a_report_is_an_object_of_values() {
        let report = VariantReport::new([("cases", count(9)), ("cosine_min", measurement(1.0)), ("score", None)]);
        let json = r#"{"cases":9,"cosine_min":1.0,"score":null}"#;
        assert_eq!(serde_json::to_string(&report).expect("JSON"), json);
        assert_eq!(serde_json::from_str::<VariantReport>(json).expect("a report"), report);
    }
}
