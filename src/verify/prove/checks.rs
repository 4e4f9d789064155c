//! The operator's own questions to a restored database: a file of statements, taken apart so that each can be asked alone.
//!
//! Only what ends a statement is understood: quotes, dollar quotes and comments, in which a semicolon means nothing.

use std::{borrow::Cow, str::Chars};

use crate::fault::{Classified, Fault};

/// The most that a request carries of them.
pub const MAX_CHECKS_BYTES: usize = 32 * 1024;

/// Why a text is no list of checks.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unsplit {
    #[error("the checks have {0} bytes, and {MAX_CHECKS_BYTES} are allowed")]
    TooLong(usize),
    #[error("a {0} in the checks is not closed")]
    Unclosed(&'static str),
    #[error("there is no statement in the checks")]
    Nothing,
}

impl Classified for Unsplit {
    fn fault(&self) -> Fault {
        Fault::Permanent
    }

    fn code(&self) -> &'static str {
        "usage.checks"
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        Some("each statement gives one row with one boolean, and ends with a semicolon".into())
    }
}

/// The statements of a file, without their semicolons.
pub fn statements(text: &str) -> Result<Vec<String>, Unsplit> {
    if text.len() > MAX_CHECKS_BYTES {
        return Err(Unsplit::TooLong(text.len()));
    }
    let mut scanner = Scanner {
        rest: text.chars(),
        says_something: false,
    };
    let mut found = Vec::new();
    let mut begin = text;
    loop {
        let is_last = !scanner.pass_semicolon()?;
        let after = scanner.rest.as_str();
        let length = begin.len() - after.len() - usize::from(!is_last);
        if scanner.says_something {
            found.push(begin[..length].trim().to_owned());
        }
        if is_last {
            break;
        }
        scanner.says_something = false;
        begin = after;
    }
    if found.is_empty() {
        return Err(Unsplit::Nothing);
    }
    Ok(found)
}

struct Scanner<'a> {
    rest: Chars<'a>,
    /// More than blanks and comments came since the last semicolon.
    says_something: bool,
}

impl Scanner<'_> {
    /// Goes behind the next semicolon that ends a statement; false at the end of the text.
    fn pass_semicolon(&mut self) -> Result<bool, Unsplit> {
        let mut before = ' ';
        while let Some(c) = self.rest.next() {
            let next = self.rest.clone().next();
            match (c, next) {
                (';', _) => return Ok(true),
                ('-', Some('-')) => self.line(),
                ('/', Some('*')) => self.comment()?,
                ('\'', _) => self.quoted('\'', matches!(before, 'e' | 'E'), "quote")?,
                ('"', _) => self.quoted('"', false, "quoted name")?,
                ('$', _) if !is_of_a_name(before) => self.dollars()?,
                _ => self.says_something |= !c.is_whitespace(),
            }
            before = c;
        }
        Ok(false)
    }

    fn line(&mut self) {
        self.rest.by_ref().find(|c| *c == '\n');
    }

    /// Comments may stand in each other.
    fn comment(&mut self) -> Result<(), Unsplit> {
        let mut depth = 1;
        self.rest.next();
        while depth > 0 {
            let c = self.rest.next().ok_or(Unsplit::Unclosed("comment"))?;
            match (c, self.rest.clone().next()) {
                ('*', Some('/')) => depth -= 1,
                ('/', Some('*')) => depth += 1,
                _ => continue,
            }
            self.rest.next();
        }
        Ok(())
    }

    /// A doubled quote ends one text and begins the next, which comes to the same.
    fn quoted(
        &mut self,
        quote: char,
        has_escapes: bool,
        what: &'static str,
    ) -> Result<(), Unsplit> {
        self.says_something = true;
        loop {
            match self.rest.next().ok_or(Unsplit::Unclosed(what))? {
                '\\' if has_escapes => drop(self.rest.next()),
                c if c == quote => return Ok(()),
                _ => {}
            }
        }
    }

    /// `$tag$ … $tag$`; a dollar that begins none is a parameter.
    fn dollars(&mut self) -> Result<(), Unsplit> {
        self.says_something = true;
        let text = self.rest.as_str();
        let Some((tag, _)) = text.split_once('$') else {
            return Ok(());
        };
        if tag.starts_with(|c: char| c.is_ascii_digit()) || !tag.chars().all(is_of_a_name) {
            return Ok(());
        }
        let mark = format!("${tag}$");
        let body = &text[tag.len() + 1..];
        let end = body.find(&mark).ok_or(Unsplit::Unclosed("dollar quote"))?;
        self.rest = body[end + mark.len()..].chars();
        Ok(())
    }
}

fn is_of_a_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_semicolon_outside_of_quotes_and_comments_ends_a_statement() {
        for (text, expected) in [
            ("select true", vec!["select true"]),
            (
                "select true;\n\nselect false;\n",
                vec!["select true", "select false"],
            ),
            (
                "select ';' = ';'; select 1",
                vec!["select ';' = ';'", "select 1"],
            ),
            ("select 'it''s;'", vec!["select 'it''s;'"]),
            (r"select E'\';' is null", vec![r"select E'\';' is null"]),
            (r"select '\'; select 2", vec![r"select '\'", "select 2"]),
            ("select \"a;b\" from t", vec!["select \"a;b\" from t"]),
            (
                "-- a; comment\nselect 1 -- and; one\n;;",
                vec!["-- a; comment\nselect 1 -- and; one"],
            ),
            (
                "/* a /* nested; */ ; */ select 1",
                vec!["/* a /* nested; */ ; */ select 1"],
            ),
            (
                "select $$;$$ = $a$;$$;$a$; select $1",
                vec!["select $$;$$ = $a$;$$;$a$", "select $1"],
            ),
            ("select a$b;c$b", vec!["select a$b", "c$b"]),
        ] {
            assert_eq!(statements(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_closed_is_refused() {
        for (text, refusal) in [
            ("", Unsplit::Nothing),
            ("-- nothing\n ; /* at all */ ;", Unsplit::Nothing),
            ("select 'a", Unsplit::Unclosed("quote")),
            ("select $$a$b$", Unsplit::Unclosed("dollar quote")),
            ("select 1 /* a", Unsplit::Unclosed("comment")),
        ] {
            assert_eq!(statements(text).unwrap_err(), refusal, "{text}");
        }
        let long = "x".repeat(MAX_CHECKS_BYTES + 1);
        assert_eq!(statements(&long), Err(Unsplit::TooLong(long.len())));
    }
}
