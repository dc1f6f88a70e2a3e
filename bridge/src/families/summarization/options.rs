//! The settings of a call, which its options and the manifest's defaults result in.

use super::section::SummarizationSpec;
use crate::BridgeError;
use crate::tasks::SummarizeOptions;

/// The resolved settings of a call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Settings {
    pub(super) num_beams: usize,
    pub(super) min_length: usize,
    pub(super) max_length: usize,
    pub(super) length_penalty: f32,
}

impl Settings {
    /// Resolves options to settings. An option that is `None` has the manifest's default.
    ///
    /// # Errors
    /// `config` for a setting out of its range, or if beams x `max_length` exceeds `beam_limit`.
    pub(super) fn resolve(
        options: &SummarizeOptions,
        spec: &SummarizationSpec,
        beam_limit: usize,
    ) -> Result<Self, BridgeError> {
        let defaults = &spec.defaults;
        let max_length = within("max_length", options.max_length, defaults.max_length, 2, spec.max_target_tokens)?;
        let min_length = within("min_length", options.min_length, defaults.min_length, 0, max_length)?;
        let num_beams = within("num_beams", options.num_beams, defaults.num_beams, 1, usize::MAX)?;
        if num_beams.checked_mul(max_length).is_none_or(|product| product > beam_limit) {
            return Err(BridgeError::config(format!(
                "num_beams {num_beams} times max_length {max_length} exceeds the beam limit {beam_limit}: reduce \
                 them, or raise the limit, which bounds the memory of a run"
            )));
        }
        // The conversion of a value outside the range of float32 results in an infinity, which is refused.
        let length_penalty = options.length_penalty.unwrap_or(defaults.length_penalty as f32);
        if !length_penalty.is_finite() {
            return Err(BridgeError::config(format!("length_penalty is {length_penalty}, expected a finite float32")));
        }
        Ok(Self { num_beams, min_length, max_length, length_penalty })
    }

    /// The size of the beam search for one text: beams x `max_length`.
    pub(super) fn beam_tokens(&self) -> usize {
        self.num_beams * self.max_length
    }
}

/// The value of an option, or the option's default.
///
/// # Errors
/// `config`, if the value is out of the range.
fn within(name: &str, option: Option<usize>, default: usize, min: usize, max: usize) -> Result<usize, BridgeError> {
    let value = option.unwrap_or(default);
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    let origin = if option.is_none() { " (the artifact's default)" } else { "" };
    let range = if max == usize::MAX { format!("at least {min}") } else { format!("{min} to {max}") };
    Err(BridgeError::config(format!("{name} is {value}{origin}, expected {range}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(length_penalty: f64) -> SummarizationSpec {
        serde_json::from_value(json!({"join": " ", "decoder_start_token_id": 2, "eos_token_id": 2,
            "max_target_tokens": 1024,
            "defaults": {"num_beams": 4, "min_length": 56, "max_length": 142, "length_penalty": length_penalty},
            "fixed": {"no_repeat_ngram_size": 3, "early_stopping": "never", "forced_bos_token_id": null,
                "forced_eos_token_id": null}}))
        .expect("a section")
    }

    fn resolve(options: &SummarizeOptions) -> Result<Settings, &'static str> {
        Settings::resolve(options, &spec(2.0), 8192).map_err(|error| error.code().as_str())
    }

    fn with(num_beams: usize, min_length: usize, max_length: usize) -> SummarizeOptions {
        let (num_beams, min_length, max_length) = (Some(num_beams), Some(min_length), Some(max_length));
        SummarizeOptions { num_beams, min_length, max_length, ..SummarizeOptions::default() }
    }

    #[test]
    fn defaults_are_those_of_the_manifest() {
        let defaults = Settings { num_beams: 4, min_length: 56, max_length: 142, length_penalty: 2.0 };
        assert_eq!(resolve(&SummarizeOptions::default()), Ok(defaults));
        let longer = SummarizeOptions { max_length: Some(200), ..SummarizeOptions::default() };
        assert_eq!(resolve(&longer), Ok(Settings { max_length: 200, ..defaults }));
        let negative = SummarizeOptions { length_penalty: Some(-0.5), ..SummarizeOptions::default() };
        assert_eq!(resolve(&negative), Ok(Settings { length_penalty: -0.5, ..defaults }));
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        for good in [with(1, 0, 2), with(1, 2, 2), with(8, 1024, 1024), with(4096, 0, 2)] {
            assert!(resolve(&good).is_ok(), "{good:?}");
        }
        for bad in [with(0, 0, 2), with(1, 0, 1), with(1, 3, 2), with(1, 0, 1025), with(usize::MAX, 0, 2)] {
            assert_eq!(resolve(&bad), Err("config"), "{bad:?}");
        }
        // The artifact's default of min_length exceeds this max_length.
        assert_eq!(resolve(&SummarizeOptions { max_length: Some(55), ..SummarizeOptions::default() }), Err("config"));
    }

    #[test]
    fn the_product_of_beams_and_length_is_limited() {
        assert!(resolve(&with(8, 0, 1024)).is_ok());
        assert_eq!((resolve(&with(9, 0, 1024)), resolve(&with(4097, 0, 2))), (Err("config"), Err("config")));
    }

    #[test]
    fn penalties_outside_float32_are_refused() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let options = SummarizeOptions { length_penalty: Some(bad), ..SummarizeOptions::default() };
            assert_eq!(resolve(&options), Err("config"), "{bad}");
        }
        assert!(Settings::resolve(&SummarizeOptions::default(), &spec(1e39), 8192).is_err());
    }
}
