//! Where the keywords of a configuration were given, and what was written that the model does not have.

use std::collections::HashMap;

use super::given::{Draft, Given};
use crate::{
    schema::{keyword::Block, statement::Statement, table},
    syntax::report::Report,
};

/// Where the keywords of a configuration were given, by their names: the last place of each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Origins {
    global: HashMap<&'static str, String>,
    /// In the order of the instances.
    instances: Vec<HashMap<&'static str, String>>,
    pub(crate) written: Written,
}

/// The statements that were read by a grammar, as the file has them; what vipd does not serve is among them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Written {
    /// Of `global_defs`.
    pub global: Vec<Statement>,
    /// Blocks at the top level.
    pub blocks: Vec<Statement>,
    /// In the order of the instances.
    pub instances: Vec<Vec<Statement>>,
}

/// Where what nobody has given comes from.
pub const DEFAULT: &str = "default";

impl Origins {
    pub(super) fn new(global: Given, top: Given, drafts: Vec<Draft>, report: &Report) -> Self {
        let of = |given: &Given| {
            given.seen.last().map(|(keyword, span)| (keyword, report.describe(span))).collect()
        };
        Self {
            global: of(&global),
            instances: drafts.iter().map(|draft| of(&draft.given)).collect(),
            written: Written {
                global: global.statements,
                blocks: top.statements,
                instances: drafts.into_iter().map(|draft| draft.given.statements).collect(),
            },
        }
    }

    /// Whether the same was written, wherever it stands.
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        self.written == other.written
    }

    /// Where a keyword of an instance was given, or one of `global_defs` that means the same.
    pub fn place(&self, instance: usize, keyword: &'static str) -> Option<String> {
        Some(self.of(Some(instance), &instead(keyword))).filter(|place| place != DEFAULT)
    }

    /// The place of the first of the keywords that was given, and its name if it is not the first.
    pub(crate) fn of(&self, instance: Option<usize>, keywords: &[&str]) -> String {
        let own = instance.and_then(|instance| self.instances.get(instance));
        let given = keywords.iter().enumerate().find_map(|(i, keyword)| {
            // One of an instance may bear the name of another in `global_defs`.
            let place = own.and_then(|own| own.get(keyword)).or_else(|| self.global.get(keyword))?;
            Some(if i == 0 { place.clone() } else { format!("{place}, {keyword}") })
        });
        given.unwrap_or_else(|| DEFAULT.to_owned())
    }
}

/// A keyword of an instance, and then what else may have given its value, in the order in which they are asked.
pub(crate) fn instead(keyword: &'static str) -> Vec<&'static str> {
    let row = table::find(Block::Instance, keyword);
    let others = row.into_iter().flat_map(|row| row.global.into_iter().chain(row.instead.iter().copied()));
    [keyword].into_iter().chain(others).collect()
}
