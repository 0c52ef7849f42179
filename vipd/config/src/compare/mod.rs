//! How two configurations differ: the lines that `explain` prints, held against each other.
//!
//! Places, comments, the order of lines and the spelling of a value are no differences. Nothing here knows single keywords but
//! `effect`, so a new keyword is compared as soon as it is printed.

mod effect;
mod tree;

use std::{collections::BTreeSet, fmt};

use tree::{Pairs, TreeNode};

use crate::{
    lower::origins::Origins,
    model::{config::Config, instance::Instance},
    schema::words::word,
};

/// A difference between two configurations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The instance that it is about.
    pub instance: Option<String>,
    /// Where it is: the name of an instance, or the head of another block, such as `vrrp_script chk`.
    pub place: String,
    /// The keywords that lead to it from there; empty: the whole block has come or gone.
    pub keyword: String,
    /// What stood after the keyword; `None`: nothing did, it was not there. A secret is masked.
    pub before: Option<String>,
    pub after: Option<String>,
    /// What follows from it, where that is more than the new value.
    pub effect: Option<&'static str>,
}

/// All differences between two configurations, those of instances last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    pub changes: Vec<Change>,
    /// Instances of the later configuration.
    pub instances: usize,
}

/// What comes, goes or changes from `before` to `after`.
pub fn compare(before: (&Config, &Origins), after: (&Config, &Origins)) -> Comparison {
    let (old, new) = (tree::read(before.0, before.1), tree::read(after.0, after.1));
    let mut comparing = Comparing { before: before.0, after: after.0, changes: Vec::new() };
    let is_instance = |node: &TreeNode| node.keyword() == "vrrp_instance";
    let (old_instances, old_others) = old.into_iter().partition(is_instance);
    let (new_instances, new_others) = new.into_iter().partition(is_instance);
    comparing.blocks(old_others, new_others);
    comparing.instances(old_instances, new_instances);
    let Comparing { mut changes, .. } = comparing;
    for change in &mut changes {
        change.effect = effect::of(change, before.0, after.0);
    }
    Comparison { changes, instances: after.0.instances.len() }
}

/// A place in both, and what was found so far.
struct Comparing<'c> {
    before: &'c Config,
    after: &'c Config,
    changes: Vec<Change>,
}

/// Where a change is.
#[derive(Clone, Default)]
struct ComparedPlace {
    instance: Option<String>,
    block: String,
    keywords: Vec<String>,
}

impl ComparedPlace {
    fn inside(&self, keyword: &str) -> Self {
        let mut inside = self.clone();
        inside.keywords.extend(Some(keyword.to_owned()).filter(|keyword| !keyword.is_empty()));
        inside
    }
}

impl Comparing<'_> {
    /// The blocks at the top level, but for the instances.
    fn blocks(&mut self, before: Vec<TreeNode>, after: Vec<TreeNode>) {
        let Pairs { changed, gone, fresh } = Pairs::of(before, after);
        let at = |node: &TreeNode| ComparedPlace { block: node.head(), ..ComparedPlace::default() };
        for (before, after) in changed {
            if !effect::is_same_block(&before, self.before, self.after) {
                self.inside(&at(&after), &before, &after);
            }
        }
        for node in gone {
            self.whole(&at(&node), Some(&node), None);
        }
        for node in fresh {
            self.whole(&at(&node), None, Some(&node));
        }
    }

    /// A block that only one of the two has; of one that holds lines each line counts.
    fn whole(&mut self, place: &ComparedPlace, before: Option<&TreeNode>, after: Option<&TreeNode>) {
        let Some(node) = before.or(after) else { return };
        if node.holds_lines() || node.keyword() == "global_defs" {
            let empty = node.emptied();
            return self.inside(place, before.unwrap_or(&empty), after.unwrap_or(&empty));
        }
        self.add(place, before.map(TreeNode::summary), after.map(TreeNode::summary));
    }

    fn inside(&mut self, place: &ComparedPlace, before: &TreeNode, after: &TreeNode) {
        let Pairs { changed, gone, fresh } = Pairs::of(before.children(), after.children());
        for (before, after) in changed {
            let place = place.inside(&named(&after));
            match after.is_block() {
                true => self.inside(&place, &before, &after),
                false => self.add(&place, Some(before.value(&after)), Some(after.value(&before))),
            }
        }
        for (node, is_fresh) in
            gone.iter().map(|node| (node, false)).chain(fresh.iter().map(|node| (node, true)))
        {
            let place = place.inside(&named(node));
            let (before, after) = if is_fresh { (None, Some(node)) } else { (Some(node), None) };
            match node.is_block() {
                true => self.whole(&place, before, after),
                false => {
                    self.add(&place, before.map(TreeNode::shown_value), after.map(TreeNode::shown_value))
                }
            }
        }
    }

    fn instances(&mut self, before: Vec<TreeNode>, after: Vec<TreeNode>) {
        let (old, new) = (self.before, self.after);
        let pairs = pair(old, new);
        for (position, (instance, node)) in new.instances.iter().zip(&after).enumerate() {
            let place = at(instance);
            let earlier = pairs.get(position).copied().flatten();
            let earlier = earlier.and_then(|at| Some((old.instances.get(at)?, before.get(at)?)));
            match earlier {
                None => self.add(&place, None, Some(format!("vrrp_instance {}", node.summary()))),
                Some((earlier, was)) => {
                    if earlier.name != instance.name {
                        let name = place.inside("vrrp_instance");
                        self.add(&name, Some(word(&earlier.name)), Some(word(&instance.name)));
                    }
                    if !effect::is_same_instance(earlier, instance, old, new) {
                        self.inside(&place, was, node);
                    }
                }
            }
        }
        for (position, (instance, node)) in old.instances.iter().zip(&before).enumerate() {
            if !pairs.contains(&Some(position)) {
                self.add(&at(instance), Some(format!("vrrp_instance {}", node.summary())), None);
            }
        }
    }

    fn add(&mut self, place: &ComparedPlace, before: Option<String>, after: Option<String>) {
        let ComparedPlace { instance, block, keywords } = place.clone();
        let keyword = keywords.join(" ");
        self.changes.push(Change { instance, place: block, keyword, before, after, effect: None });
    }
}

/// A keyword, of a block with its name.
fn named(node: &TreeNode) -> String {
    if node.is_block() { node.head() } else { node.keyword().to_owned() }
}

fn at(instance: &Instance) -> ComparedPlace {
    ComparedPlace { instance: Some(instance.name.clone()), block: word(&instance.name), keywords: Vec::new() }
}

/// For each later instance the position of the earlier one that it was: by name, or else by what it is on the wire.
fn pair(before: &Config, after: &Config) -> Vec<Option<usize>> {
    let position = |is_it: &dyn Fn(&Instance) -> bool| before.instances.iter().position(is_it);
    let mut pairs: Vec<Option<usize>> =
        after.instances.iter().map(|later| position(&|earlier| earlier.name == later.name)).collect();
    for at in 0..pairs.len() {
        let Some(later) = after.instances.get(at).filter(|_| pairs.get(at) == Some(&None)) else { continue };
        let taken: BTreeSet<usize> = pairs.iter().flatten().copied().collect();
        let renamed = before.instances.iter().enumerate().position(|(position, earlier)| {
            !taken.contains(&position) && effect::identity(earlier) == effect::identity(later)
        });
        if let Some(pair) = pairs.get_mut(at) {
            *pair = renamed;
        }
    }
    pairs
}

impl Comparison {
    /// Instances that come, that change and that go.
    fn counts(&self) -> (usize, usize, usize) {
        let count = |is_it: &dyn Fn(&Change) -> bool| {
            let of = self.changes.iter().filter(|change| is_it(change));
            of.filter_map(|change| change.instance.as_ref()).collect::<BTreeSet<_>>().len()
        };
        let is_whole = |change: &Change| change.keyword.is_empty();
        (
            count(&|change| is_whole(change) && change.before.is_none()),
            count(&|change| !is_whole(change)),
            count(&|change| is_whole(change) && change.after.is_none()),
        )
    }
}

/// A line that sums it up.
impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (added, changed, removed) = self.counts();
        write!(f, "{} instances: {changed} changed, {added} added, {removed} removed", self.instances)?;
        match self.changes.iter().filter(|change| change.instance.is_none()).count() {
            0 => Ok(()),
            1 => f.write_str("; 1 other change"),
            others => write!(f, "; {others} other changes"),
        }
    }
}

/// `+`, `-` or `~`, where it is, what it is, and in parentheses what follows from it.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, keyword, before, after, effect, .. } = self;
        let (sign, value) = match (before, after) {
            (Some(before), Some(after)) => ('~', format!("{before} → {after}")),
            (None, value) => ('+', value.clone().unwrap_or_default()),
            (value, None) => ('-', value.clone().unwrap_or_default()),
        };
        write!(f, "{sign}")?;
        for part in [place, keyword, &value].into_iter().filter(|part| !part.is_empty()) {
            write!(f, " {part}")?;
        }
        effect.map_or(Ok(()), |effect| write!(f, "  ({effect})"))
    }
}
