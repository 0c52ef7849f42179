//! The lines of a configuration as a tree, and which of them another tree does not have.

use std::collections::{BTreeMap, HashMap};

use crate::{
    explain::{ExplainedLine, From, LineKind, lines},
    lower::origins::{DEFAULT, Origins},
    model::config::Config,
    schema::table,
    syntax::report::showable,
};

/// A statement and what its braces hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeNode {
    keyword: &'static str,
    /// What follows the keyword, in one spelling, with secrets.
    value: String,
    /// The same to be shown.
    shown: String,
    is_default: bool,
    /// Where it has braces.
    inside: Option<Vec<TreeNode>>,
}

/// The blocks at the top level that vipd acts on.
pub fn read(config: &Config, origins: &Origins) -> Vec<TreeNode> {
    let both = lines(config, origins, true).into_iter().zip(lines(config, origins, false));
    let mut open: Vec<TreeNode> = Vec::new();
    let mut nodes = Vec::new();
    // What stands in a block that vipd does not act on goes with the block.
    let mut unserved = 0;
    for (line, masked) in both {
        let opens = line.kind == LineKind::Opens;
        let closes = line.kind == LineKind::Closes;
        if unserved > 0 || !line.served || line.keyword.starts_with("static_") {
            unserved += usize::from(opens);
            unserved -= usize::from(closes);
            continue;
        }
        let done = if closes { open.pop() } else { Some(TreeNode::of(&line, &masked, origins)) };
        let Some(done) = done else { continue };
        if opens {
            open.push(done);
            continue;
        }
        match open.last_mut().and_then(|block| block.inside.as_mut()) {
            Some(inside) => inside.push(done),
            None => nodes.push(done),
        }
    }
    nodes
}

impl TreeNode {
    fn of(line: &ExplainedLine, masked: &ExplainedLine, origins: &Origins) -> Self {
        let keyword = table::meaning(line.keyword);
        let value = |line: &ExplainedLine| {
            let text = line.text.strip_suffix(" {").filter(|_| line.kind == LineKind::Opens);
            let text = text.unwrap_or(&line.text);
            text.strip_prefix(line.keyword).unwrap_or(text).trim().to_owned()
        };
        let spelled = |text: String| match text.is_empty() && table::is_switch(keyword) {
            true => "on".to_owned(),
            false => text,
        };
        Self {
            keyword,
            value: spelled(value(line)),
            shown: spelled(showable(&value(masked))),
            is_default: match &line.from {
                From::Nowhere => false,
                // Whoever reads what an instance is looks for its priority.
                From::Keywords(_) if keyword == "priority" => false,
                From::Keywords(keywords) => origins.of(line.instance, keywords) == DEFAULT,
                From::Place(place) => place == DEFAULT,
            },
            inside: (line.kind == LineKind::Opens).then(Vec::new),
        }
    }

    /// Empty on a line of a block of lines.
    pub fn keyword(&self) -> &'static str {
        self.keyword
    }

    pub fn is_block(&self) -> bool {
        self.inside.is_some()
    }

    /// The value of a keyword, as it is shown.
    pub fn shown_value(&self) -> String {
        self.shown.clone()
    }

    /// The value as it is shown beside another one: of two secrets only that they differ is shown.
    pub fn value(&self, other: &Self) -> String {
        let masked = self.shown == other.shown && self.value != other.value;
        if masked { format!("{} (not shown)", self.shown) } else { self.shown.clone() }
    }

    /// The keyword and what follows it.
    pub fn head(&self) -> String {
        [self.keyword, &self.shown].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    }

    /// What its braces hold: blocks of the same head as one, of a keyword of which one statement counts the last one.
    pub fn children(&self) -> Vec<Self> {
        let mut children: Vec<Self> = Vec::new();
        let mut places: HashMap<(&str, &str), usize> = HashMap::new();
        for child in self.inside.iter().flatten() {
            let one = !child.keyword.is_empty() && !table::is_many(child.keyword);
            let key = (child.keyword, if child.is_block() { child.value.as_str() } else { "" });
            match places.get(&key).and_then(|at| children.get_mut(*at)).filter(|_| one) {
                Some(Self { inside: Some(inside), .. }) => {
                    inside.extend(child.inside.iter().flatten().cloned());
                }
                Some(earlier) => *earlier = child.clone(),
                None => {
                    places.insert(key, children.len());
                    children.push(child.clone());
                }
            }
        }
        children
    }

    /// The same with nothing in its braces.
    pub fn emptied(&self) -> Self {
        Self { inside: Some(Vec::new()), ..self.clone() }
    }

    /// Whether its braces hold lines, not statements.
    pub fn holds_lines(&self) -> bool {
        self.inside.iter().flatten().any(|child| child.keyword.is_empty())
    }

    /// What was given in its braces; of many lines the first ones.
    pub fn summary(&self) -> String {
        let given: Vec<Self> = self.children().into_iter().filter(|child| !child.is_default).collect();
        let most = if self.holds_lines() { SUMMED_LINES } else { given.len() };
        let shown = given.iter().take(most).map(|child| match child.is_block() {
            true => format!("{} {}", child.head(), child.summary()),
            false => child.head(),
        });
        let more = given.len().saturating_sub(most);
        let more = (more > 0).then(|| format!("and {more} more"));
        format!("{{ {} }}", shown.chain(more).collect::<Vec<_>>().join("; "))
    }

    /// The same for two that say the same, in whatever order.
    fn canonical(&self) -> String {
        let Some(_) = self.inside else { return format!("{} {}", self.keyword, self.value) };
        let mut inside: Vec<String> = self.children().iter().map(Self::canonical).collect();
        inside.sort();
        format!("{} {} {{\n{}\n}}", self.keyword, self.value, inside.join("\n"))
    }

    /// The same for two of which one may have become the other.
    fn key(&self) -> (&'static str, String) {
        let value = match (self.is_block(), self.keyword) {
            (true, _) => self.value.clone(),
            // A line begins with what it is about.
            (false, "") => self.value.split(' ').next().unwrap_or_default().to_owned(),
            (false, _) => String::new(),
        };
        (self.keyword, value)
    }
}

/// Lines of a block, such as VIPs, that a summary has.
const SUMMED_LINES: usize = 8;

/// What two lists of nodes do not have in common.
#[derive(Debug)]
pub struct Pairs {
    /// What was, and what it has become.
    pub changed: Vec<(TreeNode, TreeNode)>,
    pub gone: Vec<TreeNode>,
    pub fresh: Vec<TreeNode>,
}

impl Pairs {
    pub fn of(mut before: Vec<TreeNode>, mut after: Vec<TreeNode>) -> Self {
        // Most configurations are as before at their beginning and their end, and the rest takes far longer to compare.
        drop_same_ends(&mut before, &mut after);
        let mut known: BTreeMap<String, usize> = BTreeMap::new();
        for node in &before {
            *known.entry(node.canonical()).or_default() += 1;
        }
        let mut take = |node: &TreeNode| match known.get_mut(&node.canonical()).filter(|count| **count > 0) {
            Some(count) => {
                *count -= 1;
                false
            }
            None => true,
        };
        let fresh: Vec<TreeNode> = after.into_iter().filter(|node| take(node)).collect();
        // What is left over of each is gone.
        let mut left = |node: &TreeNode| match known.get_mut(&node.canonical()).filter(|count| **count > 0) {
            Some(count) => {
                *count -= 1;
                true
            }
            None => false,
        };
        let gone: Vec<TreeNode> = before.into_iter().filter(|node| left(node)).collect();
        Self::pair(gone, fresh)
    }

    fn pair(gone: Vec<TreeNode>, fresh: Vec<TreeNode>) -> Self {
        let mut by_key: HashMap<_, (Vec<usize>, Vec<usize>)> = HashMap::new();
        for (at, node) in gone.iter().enumerate() {
            by_key.entry(node.key()).or_default().0.push(at);
        }
        for (at, node) in fresh.iter().enumerate() {
            by_key.entry(node.key()).or_default().1.push(at);
        }
        // Of several that are alike nobody knows which has become which.
        let pairs: BTreeMap<usize, usize> = by_key
            .into_values()
            .filter_map(|(gone, fresh)| {
                Some((*gone.first()?, *fresh.first()?)).filter(|_| gone.len() + fresh.len() == 2)
            })
            .collect();
        let paired = |(old, new): (&usize, &usize)| Some((gone.get(*old)?.clone(), fresh.get(*new)?.clone()));
        let changed = pairs.iter().filter_map(paired).collect();
        let is_paired = |at: &usize| pairs.values().any(|new| new == at);
        let keep = |nodes: &[TreeNode], is_left: &dyn Fn(&usize) -> bool| {
            let left = nodes.iter().enumerate().filter(|(at, _)| is_left(at));
            left.map(|(_, node)| node.clone()).collect()
        };
        Self {
            changed,
            gone: keep(&gone, &|at| !pairs.contains_key(at)),
            fresh: keep(&fresh, &|at| !is_paired(at)),
        }
    }
}

/// Removes from both what they begin with alike, and what they end with alike.
fn drop_same_ends(before: &mut Vec<TreeNode>, after: &mut Vec<TreeNode>) {
    let same = before.iter().zip(after.iter()).take_while(|(was, is)| was == is).count();
    before.drain(..same);
    after.drain(..same);
    let same = before.iter().rev().zip(after.iter().rev()).take_while(|(was, is)| was == is).count();
    before.truncate(before.len() - same);
    after.truncate(after.len() - same);
}
