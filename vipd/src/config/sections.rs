//! Statements and blocks that vipd has no engine for: read by the grammar in their rows, checked, and kept.

use super::{
    diagnostic::Code,
    grammar::{self, Arg, Kind, Problem, Value},
    keywords::{self, Block, Inside, Keyword, Status},
    lexer::{Span, Word},
    lower::Lowering,
    model::Statement,
    parser::{Node, title},
    settings::Settings,
    values,
};

/// Names of blocks, and where they are asked for. Each with the keyword that opens such a block.
#[derive(Debug, Default)]
pub struct Names {
    given: Vec<(&'static str, Word)>,
    wanted: Vec<(&'static str, Word)>,
    /// Of sync groups.
    members: Vec<Word>,
}

impl Lowering<'_> {
    /// The statement of `node`, whose keyword has no engine and stands in `block`.
    pub fn section(
        &mut self,
        node: &Node,
        keyword: &'static Keyword,
        takes: &[Arg],
        inside: Inside,
        block: Block,
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
            Inside::Statements(inside) => Some(self.inside(node, children, inside)),
            Inside::Lines(args) => Some(self.lines(first, children, args, keyword, block)),
            Inside::LinesOf(inside) => {
                let mut statics = std::mem::take(&mut self.statics);
                children.iter().for_each(|line| self.line(line, inside, &mut statics));
                self.statics = statics;
                return None;
            }
        };
        let place = Some(self.report.describe(first.span));
        Some(Statement { keyword: keyword.name, values, inside, place })
    }

    /// The statements in a block, and the defaults of those that are not there.
    fn inside(&mut self, node: &Node, children: &[Node], block: Block) -> Vec<Statement> {
        let title = title(&node.words, self.report);
        let place = format!("in {}", title.trim_matches('`'));
        let mut settings = Settings::default();
        for child in children {
            let Some(first) = child.words.first().filter(|_| !child.unsupported) else {
                settings.partial = true;
                continue;
            };
            match keywords::find(block, &first.text) {
                Some(keyword @ Keyword { status: Status::NoEngine { takes, inside, .. }, .. }) => {
                    self.mark_seen(keyword, first, &mut settings);
                    let statement = self.section(child, keyword, takes, *inside, block);
                    settings.unserved.extend(statement);
                }
                Some(_) => {}
                None => self.unknown(first, block, &place, &mut settings),
            }
        }
        let Some(head) = node.words.first() else { return settings.unserved };
        for row in keywords::rows(block).iter().filter(|row| row.name == row.means) {
            if settings.seen_at(row.means).is_some() {
                continue;
            }
            if row.required && !settings.partial {
                let message = format!("{title} has no `{}`", row.name);
                self.report.error(Code::MissingKeyword, head.span, message);
            }
            if let (Some(default), Status::NoEngine { takes, .. }) = (row.default, &row.status) {
                let words: Vec<&str> = default.split(' ').collect();
                let values = grammar::read(takes, &words).0.into_iter().map(|(_, value)| value).collect();
                settings.unserved.push(Statement { keyword: row.name, values, inside: None, place: None });
            }
        }
        self.check_inside(block, children, &settings, head.span, &title);
        settings.unserved
    }

    fn lines(
        &mut self,
        head: &Word,
        children: &[Node],
        args: &[Arg],
        keyword: &Keyword,
        block: Block,
    ) -> Vec<Statement> {
        if children.is_empty() {
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
            lines.push(Statement { keyword: "", values, inside: None, place });
        }
        let members = lines.iter().map(|line| line.values.len()).sum::<usize>();
        if (keyword.name, block, members) == ("group", Block::SyncGroup, 1) {
            let hint = "a group of one changes nothing";
            self.report.warning(Code::Advice, head.span, "a sync group with one instance", hint);
        }
        lines
    }

    fn members(&mut self, words: &[Word]) {
        for word in words {
            if let Some(other) = self.names.members.iter().find(|member| member.text == word.text) {
                let message = format!("{} is in a sync group already", self.report.quote(word));
                let hint = format!("it is on {} too", self.report.line_of(other.span, word.span));
                self.report.error_hint(Code::Duplicate, word.span, message, hint);
            }
            self.names.members.push(word.clone());
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
            self.problem(problem, args, words, skip, block);
        }
        found.into_iter().map(|(_, value)| value).collect()
    }

    fn problem(&mut self, problem: Problem, args: &[Arg], words: &[Word], skip: usize, block: Block) {
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
                let message = match (skip + i).checked_sub(1).and_then(|before| words.get(before)) {
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
        let same = |(of, other): &&(&str, Word)| *of == keyword.means && other.text == name.text;
        if let Some((_, other)) = self.names.given.iter().find(same) {
            let hint = format!("the other is on {}", self.report.line_of(other.span, name.span));
            let message = format!("{} is there already", self.report.quote_pair(first, name));
            self.report.error_hint(Code::Duplicate, name.span, message, hint);
        }
        self.names.given.push((keyword.means, name.clone()));
    }

    /// Whether what is asked for by name is there, and what is there is asked for.
    pub fn check_names(&mut self, top: &Settings) {
        // It may be in what could not be read.
        if top.partial {
            return;
        }
        let Names { given, wanted, .. } = std::mem::take(&mut self.names);
        for (of, word) in &wanted {
            let instances = self.drafts.iter().filter(|_| *of == "vrrp_instance").map(|draft| &draft.name);
            let others = given.iter().filter(|(keyword, _)| keyword == of).map(|(_, name)| &name.text);
            let names: Vec<&str> = instances.chain(others).map(String::as_str).collect();
            if names.contains(&word.text.as_str()) {
                continue;
            }
            let message = format!("no `{of}` is called {}", self.report.quote(word));
            let hint = match names.iter().min_by_key(|name| keywords::edit_distance(name, &word.text)) {
                Some(name) if word.text.len() <= NAME_COMPARED_MAX => {
                    format!("did you mean `{}`?", super::report::fit(name))
                }
                _ => format!("add a `{of} {}`, or remove this", super::report::fit(&word.text)),
            };
            self.report.error_hint(Code::UnknownName, word.span, message, hint);
        }
        for (of, word) in given.iter().filter(|(of, _)| TRACKED.contains(of)) {
            if !wanted.iter().any(|(wanted, name)| wanted == of && name.text == word.text) {
                let message = format!("nothing uses `{of} {}`", super::report::fit(&word.text));
                self.report.warning(
                    Code::Ignored,
                    word.span,
                    message,
                    "it is not run; track it in an instance",
                );
            }
        }
    }

    /// What must fit together in a block.
    fn check_inside(
        &mut self,
        block: Block,
        children: &[Node],
        settings: &Settings,
        head: Span,
        title: &str,
    ) {
        let number = |keyword: &str| {
            let given = settings.unserved.iter().rfind(|statement| statement.keyword == keyword)?;
            match given.values.first() {
                Some(Value::Number(number)) => Some(*number),
                _ => None,
            }
        };
        match block {
            Block::TrackProcess => {
                let (Some(quorum), Some(max)) = (number("quorum"), number("quorum_max")) else { return };
                if let Some(at) = settings.seen_at("quorum_max").filter(|_| max < quorum) {
                    let message = format!("quorum_max {max} is below quorum {quorum}");
                    self.report.error_hint(Code::Conflict, at, message, "no number of processes is both");
                }
            }
            Block::VirtualServer => {
                let servers: Vec<&Statement> =
                    settings.unserved.iter().filter(|statement| statement.keyword == "real_server").collect();
                if servers.is_empty() && !settings.partial {
                    let hint = "it serves nobody, but for a `sorry_server`";
                    self.report.warning(
                        Code::EmptyBlock,
                        head,
                        format!("{title} has no `real_server`"),
                        hint,
                    );
                }
                let default = number("weight").unwrap_or(1);
                let weight = |server: &&Statement| weight_of(server).unwrap_or(default);
                let total: i64 = servers.iter().map(weight).sum();
                let quorum = number("quorum").unwrap_or(1);
                if let Some(at) = settings.seen_at("quorum").filter(|_| quorum > total && !servers.is_empty())
                {
                    let message = format!("quorum {quorum} is above the weight of all real servers, {total}");
                    self.report.warning(Code::Conflict, at, message, "the quorum is never reached");
                }
                self.check_families(children, settings);
            }
            _ => {}
        }
    }

    /// Real servers are of the family of the virtual one, but for tunnels.
    fn check_families(&mut self, children: &[Node], settings: &Settings) {
        let tunnel = Value::Word("TUN");
        if settings.unserved.iter().any(|statement| statement.values.first() == Some(&tunnel)) {
            return;
        }
        let mut first = None;
        for server in children {
            let [keyword, address, ..] = &server.words[..] else { continue };
            let Ok(parsed) = values::address(&address.text) else { continue };
            if keyword.text == "real_server" && parsed.is_ipv4() != *first.get_or_insert(parsed.is_ipv4()) {
                let message =
                    format!("{} is of another family than the first real server", self.report.quote(address));
                self.report.error_hint(
                    Code::MixedFamilies,
                    address.span,
                    message,
                    "only `lb_kind TUN` can mix them",
                );
            }
        }
    }
}

fn weight_of(server: &Statement) -> Option<i64> {
    let inside = server.inside.as_ref()?;
    let weight = inside.iter().rfind(|statement| statement.keyword == "weight")?;
    match weight.values.first() {
        Some(Value::Number(number)) => Some(*number),
        _ => None,
    }
}

fn is_keyword(block: Block, word: Option<&Word>) -> bool {
    word.is_some_and(|word| keywords::find(block, &word.text).is_some())
}

/// keepalived does not run what nobody tracks.
const TRACKED: [&str; 3] = ["vrrp_script", "track_file", "vrrp_track_process"];
/// The distance of two names costs its square.
const NAME_COMPARED_MAX: usize = 64;
