//! The settings of a golden case of a GLiNER model.

use serde::Deserialize;
use serde_json::Value;

use crate::tasks::RecognizeOptions;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    labels: Vec<String>,
    multi_label: bool,
    nested: bool,
    stride: usize,
    threshold: f64,
}

/// The options of the call, given the settings of a golden case. The error describes what is wrong with them.
pub(super) fn case_options(settings: Value) -> Result<RecognizeOptions, String> {
    let settings: Settings = serde_json::from_value(settings).map_err(|error| error.to_string())?;
    Ok(RecognizeOptions {
        labels: Some(settings.labels),
        multi_label: Some(settings.multi_label),
        nested: Some(settings.nested),
        stride: Some(settings.stride),
        threshold: Some(settings.threshold),
        ..RecognizeOptions::default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_have_all_keys_and_no_others() {
        let good = json!({"labels": ["a"], "multi_label": false, "nested": true, "stride": 3, "threshold": 0.5});
        let options = case_options(good.clone()).expect("options");
        assert_eq!((options.nested, options.stride, options.threshold), (Some(true), Some(3), Some(0.5)));
        for key in ["labels", "multi_label", "nested", "stride", "threshold"] {
            let mut bad = good.clone();
            bad.as_object_mut().expect("an object").remove(key);
            assert!(case_options(bad).is_err(), "{key}");
        }
        let mut other = good;
        other["x"] = json!(1);
        assert!(case_options(other).is_err());
    }
}
