//! Statements and blocks that are read by the grammar in their rows, checked, and kept.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use super::{
    arbiters,
    diagnostic::Code,
    grammar::{self, Arg, Kind, Problem, Value},
    keywords::{self, Block, Engine, Inside, Keyword, Status},
    lexer::{Span, Word},
    lower::Lowering,
    model::Statement,
    parser::{Node, title},
    report::fit,
    settings::Settings,
    statement::{find, number},
    values,
};

/// Names of blocks, and where they are asked for. Each with the keyword that opens such a block.
#[derive(Debug, Default)]
pub struct Names {
    given: HashMap<(&'static str, String), Span>,
    wanted: Vec<(&'static str, Word)>,
    /// Of sync groups.
    pub members: HashMap<String, Span>,
    pub arbiters: Vec<arbiters::Placed>,
}

impl Lowering<'_> {
    /// The statement of `node`, whose keyword stands in `block`; `served`: there is an engine for it.
    pub fn section(
        &mut self,
        node: &Node,
        keyword: &'static Keyword,
        (takes, inside): (&[Arg], Inside),
        block: Block,
        served: bool,
    ) -> Option<Statement> {
        let first = node.words.first()?;
        let values = self.words(takes, &node.words, 1, block);
        if let Some(Value::Name(_)) = values.first() {
            self.name(keyword, &node.words);
        }
        let children = node.block.as_deref().unwrap_or_default();
        let inside = match inside {
            Inside::Nothing => {
                self.takes_no_block(node, first);
                None
            }
            Inside::Statements(inside) => Some(self.inside(node, children, inside, served)),
            Inside::Lines(args) => Some(self.lines(first, children, args, (keyword, block), served)),
            Inside::LinesOf(inside) => {
                let mut statics = std::mem::take(&mut self.statics);
                children.iter().for_each(|line| self.line(line, inside, &mut statics));
                self.statics = statics;
                return None;
            }
        };
        let place = Some(self.report.describe(first.span));
        Some(Statement { keyword: keyword.name, values, inside, place, served })
    }

    /// The statements in a block, and the defaults of those that are not there.
    fn inside(&mut self, node: &Node, children: &[Node], block: Block, served: bool) -> Vec<Statement> {
        let title = title(&node.words, self.report);
        let place = format!("in {}", title.trim_matches('`'));
        let mut settings = Settings::default();
        for child in children {
            let Some(first) = child.words.first().filter(|_| !child.unsupported) else {
                settings.partial = true;
                continue;
            };
            match keywords::find(block, &first.text) {
                Some(keyword @ Keyword { status: Status::Grammar { takes, inside, engine }, .. }) => {
                    self.mark_seen(keyword, first, &mut settings);
                    if let Engine::Missing(advice) = engine
                        && served
                    {
                        self.no_engine(first, advice);
                    }
                    let statement = self.section(child, keyword, (takes, *inside), block, served);
                    settings.statements.extend(statement);
                }
                Some(keyword @ Keyword { status: Status::NoEffect { reason, takes }, .. }) => {
                    self.notice(keyword, first.span, reason);
                    self.words(takes, &child.words, 1, block);
                }
                Some(_) => {}
                None => self.unknown(first, block, &place, &mut settings),
            }
        }
        let Some(head) = node.words.first() else { return settings.statements };
        for row in keywords::rows(block).iter().filter(|row| row.name == row.means) {
            if settings.seen_at(row.means).is_some() {
                continue;
            }
            if row.required && !settings.partial {
                let message = format!("{title} has no `{}`", row.name);
                self.report.error(Code::MissingKeyword, head.span, message);
            }
            if let (Some(default), Status::Grammar { takes, .. }) = (row.default, &row.status) {
                let words: Vec<&str> = default.split(' ').collect();
                let values = grammar::read(takes, &words).0.into_iter().map(|(_, value)| value).collect();
                let keyword = row.name;
                settings.statements.push(Statement { keyword, values, inside: None, place: None, served });
            }
        }
        self.check_inside(block, node, children, &settings, &title);
        settings.statements
    }

    fn lines(
        &mut self,
        head: &Word,
        children: &[Node],
        args: &[Arg],
        (keyword, block): (&Keyword, Block),
        served: bool,
    ) -> Vec<Statement> {
        if children.is_empty() && keyword.required {
            let message = format!("`{}` is empty", keyword.name);
            self.report.error_hint(Code::EmptyBlock, head.span, message, "name its instances");
        } else if children.is_empty() {
            let message = format!("`{}` is empty", keyword.name);
            self.report.warning(Code::EmptyBlock, head.span, message, "remove it, or put something in it");
        }
        let mut lines = Vec::new();
        for line in children.iter().filter(|line| !line.unsupported) {
            let Some(first) = line.words.first() else { continue };
            self.takes_no_block(line, first);
            if (keyword.name, block) == ("group", Block::SyncGroup) {
                self.members(&line.words);
            }
            let values = self.words(args, &line.words, 0, block);
            let place = Some(self.report.describe(first.span));
            lines.push(Statement { keyword: "", values, inside: None, place, served });
        }
        let members = lines.iter().map(|line| line.values.len()).sum::<usize>();
        if (keyword.name, block, members) == ("group", Block::SyncGroup, 1) {
            let hint = "only what the group tracks and tells matters then";
            self.report.warning(Code::Advice, head.span, "a sync group with one instance", hint);
        }
        lines
    }

    fn members(&mut self, words: &[Word]) {
        for word in words {
            match self.names.members.entry(word.text.clone()) {
                Entry::Vacant(entry) => _ = entry.insert(word.span),
                Entry::Occupied(entry) => {
                    let message = format!("{} is in a sync group already", self.report.quote(word));
                    let hint = format!("it is on {} too", self.report.line_of(*entry.get(), word.span));
                    self.report.error_hint(Code::Duplicate, word.span, message, hint);
                }
            }
        }
    }

    /// The values in `words` from `skip` on.
    pub fn words(&mut self, args: &[Arg], words: &[Word], skip: usize, block: Block) -> Vec<Value> {
        let texts: Vec<&str> = words.iter().skip(skip).map(|word| word.text.as_str()).collect();
        let (found, problem) = grammar::read(args, &texts);
        for (i, value) in &found {
            if let (Value::Of(keyword, _), Some(word)) = (value, words.get(skip + i)) {
                self.names.wanted.push((keyword, word.clone()));
            }
        }
        if let Some(problem) = problem {
            let after_option = matches!(found.last(), Some((_, Value::Word(_))));
            self.problem((problem, after_option), args, words, skip, block);
        }
        found.into_iter().map(|(_, value)| value).collect()
    }

    fn problem(
        &mut self,
        (problem, after_option): (Problem, bool),
        args: &[Arg],
        words: &[Word],
        skip: usize,
        block: Block,
    ) {
        let Some(first) = words.first() else { return };
        let takes = match skip {
            0 => format!("a line takes {}", grammar::wants(args)),
            _ => format!("{} takes {}", self.report.quote(first), grammar::wants(args)),
        };
        match problem {
            Problem::Missing => {
                let last = words.last().unwrap_or(first);
                let name = matches!(args, [Arg::One(Kind::Name), ..]);
                let (code, what) =
                    if name { (Code::MissingName, "a name") } else { (Code::MissingValue, "a value") };
                let message = format!("{} needs {what}", self.report.quote(last));
                self.report.error_hint(code, last.span, message, takes);
            }
            Problem::Bad(i, problem) => {
                let Some(word) = words.get(skip + i) else { return };
                let shown = self.report.quote(word);
                // The word before says what it is, unless it is a value itself.
                let named = (skip + i).checked_sub(1).filter(|_| i == 0 || after_option);
                let message = match named.and_then(|before| words.get(before)) {
                    Some(before) => format!("{} {shown} {problem}", self.report.bare(before)),
                    None => format!("{shown} {problem}"),
                };
                self.report.error_hint(Code::BadValue, word.span, message, takes);
            }
            Problem::Extra(i) if skip > 0 && is_keyword(block, words.get(skip + i)) => {
                values::trailing(words, skip + i, block, self.report);
            }
            Problem::Extra(i) => {
                let (Some(word), before) = (words.get(skip + i), (skip + i).saturating_sub(1)) else {
                    return;
                };
                let after = words.get(before).map(|before| self.report.quote(before)).unwrap_or_default();
                let message = format!("unexpected {} after {after}", self.report.quote(word));
                self.report.error_hint(Code::UnexpectedWord, word.span, message, takes);
            }
            Problem::Again(i) => {
                let Some(word) = words.get(skip + i) else { return };
                let message = format!("{} stands twice on this line", self.report.quote(word));
                self.report.error(Code::Repeated, word.span, message);
            }
        }
    }

    fn name(&mut self, keyword: &Keyword, words: &[Word]) {
        let (Some(first), Some(name)) = (words.first(), words.get(1)) else { return };
        match self.names.given.entry((keyword.means, name.text.clone())) {
            Entry::Vacant(entry) => _ = entry.insert(name.span),
            Entry::Occupied(entry) => {
                let hint = format!("the other is on {}", self.report.line_of(*entry.get(), name.span));
                let message = format!("{} is there already", self.report.quote_pair(first, name));
                self.report.error_hint(Code::Duplicate, name.span, message, hint);
            }
        }
    }

    /// Whether what is asked for by name is there, and what is there is asked for.
    pub fn check_names(&mut self, top: &Settings) {
        // It may be in what could not be read.
        if top.partial {
            return;
        }
        let (mut given, wanted) =
            (std::mem::take(&mut self.names.given), std::mem::take(&mut self.names.wanted));
        for draft in &self.drafts {
            given.entry(("vrrp_instance", draft.name.clone())).or_insert(draft.name_at);
        }
        let mut used = HashSet::new();
        let mut unknown = 0;
        for (of, word) in &wanted {
            let key = (*of, word.text.clone());
            if given.contains_key(&key) {
                used.insert(key);
                continue;
            }
            unknown += 1;
            let names = given.keys().filter(|(keyword, _)| keyword == of).map(|(_, name)| name.as_str());
            // Each is compared with all names.
            let meant = if unknown <= COMPARED_MAX {
                keywords::closest(names, &word.text, |name| name)
            } else {
                None
            };
            let hint = match meant {
                Some(name) => format!("did you mean `{}`?", fit(name)),
                None => format!("add a {}, or remove this", self.report.quote_named(of, word)),
            };
            let message = format!("no `{of}` is called {}", self.report.quote(word));
            self.report.error_hint(Code::UnknownName, word.span, message, hint);
        }
        let mut unused: Vec<_> =
            given.iter().filter(|(key, _)| TRACKED.contains(&key.0) && !used.contains(key)).collect();
        unused.sort_by_key(|(_, span)| (span.line, span.column));
        for ((of, name), span) in unused {
            let word = Word { text: name.clone(), span: *span };
            let message = format!("nothing uses {}", self.report.quote_named(of, &word));
            self.report.warning(Code::Ignored, *span, message, "it is not run; track it in an instance");
        }
    }

    /// What must fit together in a block.
    fn check_inside(
        &mut self,
        block: Block,
        node: &Node,
        children: &[Node],
        settings: &Settings,
        title: &str,
    ) {
        let number = |keyword: &str| number_of(&settings.statements, keyword);
        match block {
            Block::TrackProcess => {
                let (Some(quorum), Some(max)) = (number("quorum"), number("quorum_max")) else { return };
                // 0 is well while there is no such process.
                if let Some(at) = settings.seen_at("quorum_max").filter(|_| max < quorum && max != 0) {
                    let message = format!("quorum_max {max} is below quorum {quorum}");
                    self.report.error_hint(Code::Conflict, at, message, "no number of processes is both");
                }
            }
            Block::Arbiter => {
                let placed = arbiters::check_block(node, children, settings, title, self.report);
                self.names.arbiters.extend(placed);
            }
            Block::VirtualServer => {
                let servers: Vec<&Statement> = settings
                    .statements
                    .iter()
                    .filter(|statement| statement.keyword == "real_server")
                    .collect();
                if servers.is_empty() && !settings.partial {
                    let hint = "it serves nobody, but for a `sorry_server`";
                    let message = format!("{title} has no `real_server`");
                    let head =
                        node.words.first().map_or(Span { line: 1, column: 1, width: 1 }, |word| word.span);
                    self.report.warning(Code::EmptyBlock, head, message, hint);
                }
                let default = number("weight").unwrap_or(1);
                let inside = |server: &Statement| number_of(server.inside.as_deref()?, "weight");
                let weight = |server: &&Statement| inside(server).unwrap_or(default);
                let total: i64 = servers.iter().map(weight).sum();
                let quorum = number("quorum").unwrap_or(1);
                if let Some(at) = settings.seen_at("quorum").filter(|_| quorum > total && !servers.is_empty())
                {
                    let message = format!("quorum {quorum} is above the weight of all real servers, {total}");
                    self.report.warning(Code::Conflict, at, message, "the quorum is never reached");
                }
                self.check_families(node, children, settings);
            }
            _ => {}
        }
    }

    /// Real servers are of the family of the virtual one, but for those that are reached by tunnels.
    fn check_families(&mut self, node: &Node, children: &[Node], settings: &Settings) {
        let family = |word: &Word| values::address(&word.text).ok().map(|address| address.is_ipv4());
        let tunnels = |statements: &[Statement], keywords: &[&str]| {
            let method = statements.iter().rfind(|statement| keywords.contains(&statement.keyword));
            method.map(|method| method.has("TUN"))
        };
        let default = tunnels(&settings.statements, &["lb_kind", "lvs_method"]).unwrap_or(false);
        let servers = settings.statements.iter().filter(|statement| statement.keyword == "real_server");
        let nodes =
            children.iter().filter(|node| node.words.first().is_some_and(|word| word.text == "real_server"));
        let mut first = node.words.get(1).and_then(family);
        for (server, node) in servers.zip(nodes) {
            let own = tunnels(server.inside.as_deref().unwrap_or_default(), &["lvs_method"]);
            let Some(address) = node.words.get(1).filter(|_| !own.unwrap_or(default)) else { continue };
            let Some(is_v4) = family(address) else { continue };
            if is_v4 != *first.get_or_insert(is_v4) {
                let message =
                    format!("{} is of another family than its virtual server", self.report.quote(address));
                let hint = "only by `lvs_method TUN` the families may differ";
                self.report.error_hint(Code::MixedFamilies, address.span, message, hint);
            }
        }
    }
}

/// The number after a keyword, if it is there.
fn number_of(statements: &[Statement], keyword: &str) -> Option<i64> {
    number(&find(statements, keyword)?.values)
}

fn is_keyword(block: Block, word: Option<&Word>) -> bool {
    word.is_some_and(|word| keywords::find(block, &word.text).is_some())
}

/// As keepalived, vipd does not run what nobody tracks.
const TRACKED: [&str; 4] = ["vrrp_script", "track_file", "vrrp_track_process", "arbiter"];
/// Unknown names that are compared with those that are known.
const COMPARED_MAX: usize = 20;
