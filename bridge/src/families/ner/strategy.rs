//! How the tokens of a token classifier become entities.

use serde::{Deserialize, Serialize};

/// How the classes of tokens become entities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AggregationStrategy {
    /// Every token is an entity, whose label includes the prefix, for example `B-PER`.
    None,
    /// Adjacent tokens with the same label are grouped to an entity.
    Simple,
    /// The first token of a word decides for the word; then words are grouped.
    First,
    /// The mean of the scores of a word's tokens decides for the word; then words are grouped.
    Average,
    /// The token of a word with the highest score decides for the word; then words are grouped.
    Max,
}

impl AggregationStrategy {
    /// All strategies.
    pub const ALL: [Self; 5] = [Self::None, Self::Simple, Self::First, Self::Average, Self::Max];

    /// The name of the strategy in manifests and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Simple => "simple",
            Self::First => "first",
            Self::Average => "average",
            Self::Max => "max",
        }
    }
}
