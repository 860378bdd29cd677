//! Owns how far a pattern can see: the proof that a window of a text answers for the whole of it.
//!
//! Read from the pattern itself when a model is imported or loaded, so a model with another tokenizer is refused
//! and not computed wrong. Only the syntax that spaCy's patterns are made of is known; anything else is refused.

use std::iter::Peekable;
use std::str::Chars;

/// The one alternative without an upper bound that is known: a run of full stops.
const STOPS: &str = r"\.\.+";
/// The farthest that a pattern may see, in characters. spaCy's see 43.
const FARTHEST: usize = 256;

/// How far a pattern can see from where its match begins, in characters. A run of full stops is not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    /// To the left: what it looks behind at.
    pub(super) behind: usize,
    /// To the right: what it matches, and what it looks ahead at.
    pub(super) length: usize,
}

/// Where the alternatives of a pattern are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    /// Each begins with `^`.
    Start,
    /// Each ends with `$`.
    End,
    /// None has an anchor.
    Nowhere,
}

impl Bounds {
    /// The bounds of a pattern in Python's syntax whose alternatives are anchored in this way, or what in it has none.
    pub(super) fn of(pattern: &str, anchor: Anchor) -> Result<Self, String> {
        let mut bounds = Self::default();
        for alternative in alternatives(pattern) {
            let body = match anchor {
                Anchor::Start => alternative.strip_prefix('^'),
                Anchor::End => alternative.strip_suffix('$'),
                Anchor::Nowhere => Some(alternative),
            };
            let body = body.ok_or_else(|| format!("{alternative} is not anchored"))?;
            if body == STOPS {
                continue;
            }
            let mut parser = Parser {
                rest: body.chars().peekable(),
                looks_around: false,
            };
            let of_this = parser.alternation()?;
            if let Some(left) = parser.rest.next() {
                return Err(format!("{body} has {left} where an alternative should end"));
            }
            bounds = bounds.or(of_this);
        }
        // Two, so that a window holds the start of a run of full stops.
        bounds.length = bounds.length.max(2);
        if bounds.behind.max(bounds.length) > FARTHEST {
            return Err(format!("it sees farther than {FARTHEST} characters"));
        }
        Ok(bounds)
    }

    /// Of one or the other.
    fn or(self, other: Self) -> Self {
        Self {
            behind: self.behind.max(other.behind),
            length: self.length.max(other.length),
        }
    }

    /// Of one after the other.
    fn then(self, next: Self) -> Self {
        Self {
            behind: self.behind.max(next.behind),
            length: self.length.saturating_add(next.length),
        }
    }
}

/// The alternatives of a pattern: what stands between the `|` outside of groups and classes.
fn alternatives(pattern: &str) -> Vec<&str> {
    let (mut found, mut start, mut depth, mut in_class) = (Vec::new(), 0, 0_usize, false);
    let mut characters = pattern.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '\\' => drop(characters.next()),
            ']' => in_class = false,
            _ if in_class => {}
            '[' => in_class = true,
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '|' if depth == 0 => {
                found.push(&pattern[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    found.push(&pattern[start..]);
    found
}

/// Reads a pattern from left to right. Every character of it is taken once, and groups are few, so it ends.
struct Parser<'p> {
    rest: Peekable<Chars<'p>>,
    looks_around: bool,
}

impl Parser<'_> {
    fn alternation(&mut self) -> Result<Bounds, String> {
        let mut bounds = self.sequence()?;
        while self.rest.next_if_eq(&'|').is_some() {
            bounds = bounds.or(self.sequence()?);
        }
        Ok(bounds)
    }

    fn sequence(&mut self) -> Result<Bounds, String> {
        let mut bounds = Bounds::default();
        while let Some(next) = self.rest.next_if(|&next| next != '|' && next != ')') {
            let one = self.item(next)?;
            let times = self.times()?;
            bounds = bounds.then(Bounds {
                behind: one.behind,
                length: one.length.saturating_mul(times),
            });
        }
        Ok(bounds)
    }

    fn item(&mut self, first: char) -> Result<Bounds, String> {
        let character = Bounds { behind: 0, length: 1 };
        match first {
            '(' => self.group(),
            '[' => self.class().map(|()| character),
            '\\' => self.escape().map(|()| character),
            '^' | '$' | '*' | '+' | '?' | '{' => Err(format!("it has {first} where that is not known")),
            _ => Ok(character),
        }
    }

    fn group(&mut self) -> Result<Bounds, String> {
        let mut kind = String::new();
        if self.rest.next_if_eq(&'?').is_some() {
            kind.extend(self.rest.next());
            if kind == "<" {
                kind.extend(self.rest.next());
            }
        }
        let looks_around = match kind.as_str() {
            "" | ":" => false,
            "=" | "!" | "<=" | "<!" => true,
            _ => return Err(format!("it has a group (?{kind}")),
        };
        if looks_around && self.looks_around {
            return Err("it looks around within a look-around".to_owned());
        }
        let outside = self.looks_around;
        self.looks_around |= looks_around;
        let inside = self.alternation()?;
        self.looks_around = outside;
        if self.rest.next() != Some(')') {
            return Err("it has a group without an end".to_owned());
        }
        Ok(if kind.starts_with('<') {
            Bounds {
                behind: inside.length,
                length: 0,
            }
        } else {
            inside
        })
    }

    fn class(&mut self) -> Result<(), String> {
        self.rest.next_if_eq(&'^');
        if self.rest.peek() == Some(&']') {
            return Err("it has a class that begins with ]".to_owned());
        }
        while let Some(character) = self.rest.next() {
            match character {
                ']' => return Ok(()),
                '\\' => self.escape()?,
                _ => {}
            }
        }
        Err("it has a class without an end".to_owned())
    }

    /// One character by a number, a class of characters, or a mark that stands for itself.
    fn escape(&mut self) -> Result<(), String> {
        let digits = match self.rest.next() {
            Some('u') => 4,
            Some('U') => 8,
            Some('d' | 'w') => 0,
            Some(mark) if !mark.is_alphanumeric() => 0,
            other => return Err(format!("it has \\{}", other.unwrap_or(' '))),
        };
        let read = (0..digits).filter(|_| self.rest.next_if(char::is_ascii_hexdigit).is_some());
        if read.count() < digits {
            return Err("it has the number of a character that is too short".to_owned());
        }
        Ok(())
    }

    /// How often at most the item before stands there.
    fn times(&mut self) -> Result<usize, String> {
        let times = match self.rest.peek() {
            Some('*' | '+') => return Err("it repeats something without a limit".to_owned()),
            Some('?') => {
                self.rest.next();
                1
            }
            Some('{') => {
                self.rest.next();
                let mut limits = String::new();
                while let Some(character) = self.rest.next_if(|&next| next != '}') {
                    limits.push(character);
                }
                self.rest.next();
                let (_, most) = limits.rsplit_once(',').unwrap_or(("", &limits));
                let most = most.parse::<u16>();
                usize::from(most.map_err(|_no_number| format!("it repeats something {{{limits}}} times"))?)
            }
            _ => return Ok(1),
        };
        if matches!(self.rest.peek(), Some('?' | '+' | '*' | '{')) {
            return Err("it repeats a repetition".to_owned());
        }
        Ok(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(pattern: &str) -> Result<(usize, usize), String> {
        Bounds::of(pattern, Anchor::Nowhere).map(|bounds| (bounds.behind, bounds.length))
    }

    #[test]
    fn the_longest_alternative_counts_with_what_it_looks_at() {
        assert_eq!(bounds(r"abc|d[e\]f]{2,4}|g?"), Ok((0, 5)));
        assert_eq!(bounds(r"(?<=[0-9])(?:km|k\u00b2)(?=x|yz)"), Ok((1, 4)));
        assert_eq!(bounds(r"(?<=ab|(?:c[d])?e)\.(?![|)])"), Ok((3, 2)));
        assert_eq!(bounds(r"\.\.+|a"), Ok((0, 2)), "a run of stops is known");
    }

    #[test]
    fn a_pattern_without_a_bound_is_refused() {
        for pattern in [
            "a+",
            "(?:ab)*",
            "a{2,}",
            r"\.\.+a",
            r"\.+",
            r"(?:\.\.+)",
            r"\b",
            r"(a)\1",
            "(?i)a",
            "a$",
            "^a",
            "a{300}",
            "(?=(?=a))",
            "(?:a",
            "[a",
            "a)",
            r"\u12",
            "a?+",
            "[]a]",
        ] {
            assert!(bounds(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn every_alternative_has_its_anchor() {
        assert!(Bounds::of(r"^a|^\.\.+|^[|]", Anchor::Start).is_ok());
        assert!(Bounds::of("^a|b", Anchor::Start).is_err());
        assert!(Bounds::of(r"a$|\.\.+$", Anchor::End).is_ok());
        assert!(Bounds::of("a$|b", Anchor::End).is_err());
        assert!(Bounds::of(r"a\$", Anchor::End).is_err(), "a dollar is no anchor");
    }
}
