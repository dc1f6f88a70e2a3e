//! The strategies by which the tokens of a token classifier become entities.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::unknown_name::UnknownName;

/// The aggregation strategy, by which the classes of tokens become entities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum AggregationStrategy {
    /// Every token is an entity, whose label includes the prefix, for example `B-PER`.
    None,
    /// Adjacent tokens with the same label are grouped to an entity.
    Simple,
    /// The class of a word is that of its first token; adjacent words with the same label are then grouped to an
    /// entity.
    First,
    /// The class of a word is the one with the highest mean score of the word's tokens; adjacent words with the same
    /// label are then grouped to an entity.
    Average,
    /// The class of a word is that of its token with the highest score; adjacent words with the same label are then
    /// grouped to an entity.
    Max,
}

impl AggregationStrategy {
    /// All aggregation strategies.
    pub const ALL: [Self; 5] = [Self::None, Self::Simple, Self::First, Self::Average, Self::Max];

    /// The name of the strategy in manifests and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Simple => "simple",
            Self::First => "first",
            Self::Average => "average",
            Self::Max => "max",
        }
    }
}

impl fmt::Display for AggregationStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for AggregationStrategy {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let known = Self::ALL;
        known.into_iter().find(|strategy| strategy.name() == name).ok_or_else(|| UnknownName::new(name, &known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strategy_is_its_name() {
        for strategy in AggregationStrategy::ALL {
            assert_eq!((strategy.to_string().as_str(), strategy.name().parse()), (strategy.name(), Ok(strategy)));
            assert_eq!(serde_json::to_value(strategy).expect("JSON"), strategy.name());
        }
        assert!("MAX".parse::<AggregationStrategy>().is_err());
    }
}
