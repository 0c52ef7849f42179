//! Lines of the dumps for people and for parsers.

use std::fmt::Display;

/// Lines, indented as keepalived does.
#[derive(Default)]
pub struct Text(pub String);

impl Text {
    pub fn line(&mut self, line: impl Display) {
        self.0 += &format!("{line}\n");
    }

    pub fn heading(&mut self, title: &str, of: &[impl Sized]) {
        if !of.is_empty() {
            self.line(format_args!("------< {title} >------"));
        }
    }

    /// A value of all instances, if there is one.
    pub fn global(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.line(format_args!(" {name} = {value}"));
        }
    }

    /// A value of an instance or of what is watched.
    pub fn field(&mut self, name: &str, value: impl Display) {
        self.line(format_args!("   {name} = {value}"));
    }

    /// A title and what is listed under it, unless that is nothing.
    pub fn list(&mut self, title: &str, items: impl IntoIterator<Item = impl Display>) {
        for (i, item) in items.into_iter().enumerate() {
            if i == 0 {
                self.line(format_args!("   {title}"));
            }
            self.line(format_args!("     {item}"));
        }
    }
}

pub fn enabled(on: bool) -> &'static str {
    if on { "enabled" } else { "disabled" }
}

pub fn yes(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}
