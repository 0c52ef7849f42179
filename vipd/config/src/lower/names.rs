//! Names of blocks: each is there once, and what is asked for by name is there.

use std::collections::{BTreeSet, HashSet, hash_map::Entry};

use super::{
    given::{Given, WantedName},
    lowering::Lowering,
    unique,
};
use crate::{
    schema::{keyword::Keyword, table},
    syntax::{diagnostic::Code, report::fit, span::Word},
};

impl Lowering<'_> {
    pub fn members(&mut self, words: &[Word]) {
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

    pub fn name(&mut self, keyword: &Keyword, words: &[Word]) {
        let (Some(first), Some(name)) = (words.first(), words.get(1)) else { return };
        match self.names.given.entry((keyword.means, name.text.clone())) {
            Entry::Vacant(entry) => _ = entry.insert(name.span),
            Entry::Occupied(entry) => {
                let hint = format!("the other is on {}", self.report.line_of(*entry.get(), name.span));
                let message = format!("{} is there already", self.report.quote_pair(first, name));
                self.names.again.push((name.span, message, hint));
            }
        }
    }

    /// Says of every block whose name is taken that it is, unless the file has the configuration of two machines: then that is said of
    /// the first instance that comes a second time, and all else follows from it.
    pub fn check_taken(&mut self) {
        let again = std::mem::take(&mut self.names.again);
        if unique::is_of_two_machines(&self.drafts) {
            return;
        }
        for (span, message, hint) in again {
            self.report.error_hint(Code::Duplicate, span, message, hint);
        }
    }

    /// Whether what is asked for by name is there, and what is there is asked for.
    pub fn check_names(&mut self, top: &Given) {
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
        for WantedName { of, word, is_ignored } in &wanted {
            let key = (*of, word.text.clone());
            if given.contains_key(&key) {
                used.insert(key);
                continue;
            }
            // Of what could not be read something is said already.
            if self.report.is_silent(word.span.line) {
                continue;
            }
            unknown += 1;
            // Each is compared with all names, and of several that are as close the first counts.
            let meant = (unknown <= COMPARED_MAX).then(|| {
                let of_it = given.keys().filter(|(keyword, _)| keyword == of);
                let names: BTreeSet<&str> = of_it.map(|(_, name)| name.as_str()).collect();
                table::closest(names.into_iter(), &word.text, |name| name)
            });
            let meant = meant.flatten();
            let hint = match meant {
                Some(name) => format!("did you mean `{}`?", fit(name)),
                None => format!("add a {}, or remove this", self.report.quote_named(of, word)),
            };
            let message = format!("no `{of}` is called {}", self.report.quote(word));
            if *is_ignored {
                self.report.warning(Code::UnknownName, word.span, message, hint);
            } else {
                self.report.error_hint(Code::UnknownName, word.span, message, hint);
            }
        }
        let mut unused: Vec<_> = given
            .iter()
            .filter(|(key, _)| TRACKED.contains(&key.0) && !used.contains(key))
            .filter(|(key, _)| !self.names.misspelt.contains(key))
            .collect();
        unused.sort_by_key(|(_, span)| (span.line, span.column));
        for ((of, name), span) in unused {
            let word = Word { text: name.clone(), span: *span };
            let message = format!("nothing uses {}", self.report.quote_named(of, &word));
            self.report.warning(Code::Ignored, *span, message, "it is not run; track it in an instance");
        }
    }
}

/// As keepalived, vipd does not run what nobody tracks.
const TRACKED: [&str; 4] = ["vrrp_script", "track_file", "vrrp_track_process", "arbiter"];
/// Unknown names that are compared with those that are known.
const COMPARED_MAX: usize = 20;
