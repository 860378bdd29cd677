//! Owns the question whether a chunk is a web or mail address: spaCy's `URL_MATCH`, taken apart.
//!
//! As one expression it tries every way to part a chunk into user, password, host and path, in steps that grow with
//! the square of the chunk. But a host has none of `:/?#@`, so it can only begin at the start, behind `://` or behind
//! an `@`, and ends at the next of these characters. So the candidates do not overlap, and each character is looked at
//! a fixed number of times. The pattern is the same in every model of spaCy 3 but for the class of lower-case letters;
//! another one is refused.

use pcre2::bytes::Regex;

use super::patterns::{PatternError, TooComplex, compile, find};

/// The pattern's name in errors.
const NAME: &str = "url";
/// What may stand before a host: `scheme://`, and a user with or without a password. Whatever comes before the last
/// `@` that matters is some user's name, since `\S+` takes the scheme and the password too.
const BEFORE: &str = r"(?u)^(?:(?:[\w\+\-\.]{2,})://)?(?:\S+(?::\S*)?@)?(?:";
/// A public address in numbers: at most [`LONGEST_NUMERIC`] bytes.
const NUMERIC: &str = concat!(
    r"(?!(?:10|127)(?:\.\d{1,3}){3})(?!(?:169\.254|192\.168)(?:\.\d{1,3}){2})",
    r"(?!172\.(?:1[6-9]|2\d|3[0-1])(?:\.\d{1,3}){2})",
    r"(?:[1-9]\d?|1\d\d|2[01]\d|22[0-3])(?:\.(?:1?\d{1,2}|2[0-4]\d|25[0-5])){2}",
    r"(?:\.(?:[1-9]\d?|1\d\d|2[0-4]\d|25[0-4]))"
);
/// The labels of a name but the last; see [`is_label`].
const LABELS: &str =
    r"|(?:(?:[A-Za-z0-9\u00a1-\uffff][A-Za-z0-9\u00a1-\uffff_-]{0,62})?[A-Za-z0-9\u00a1-\uffff]\.)+(?:";
/// What stands between the class of the last label and the end: the port, and the path.
const BEHIND: &str = r"{2,63}))(?::\d{2,5})?(?:[/?#]\S*)?$";
/// No character of a host, so what ends it.
const PARTING: [char; 5] = [':', '/', '?', '#', '@'];
const SCHEME: &str = r"^[\w\+\-\.]{2,}$";
const PORT: &str = r"^:\d{2,5}";
const LONGEST_LABEL: usize = 64;
/// Four numbers of three digits, which may be of any script, and the stops between them.
const LONGEST_NUMERIC: usize = 4 * 3 * 4 + 3;
/// A colon and five digits of any script.
const LONGEST_PORT: usize = 1 + 5 * 4;

/// The pattern for addresses.
pub(super) struct Addresses {
    scheme: Regex,
    numeric: Regex,
    last_label: Regex,
    port: Regex,
}

impl Addresses {
    /// Takes `url_match` apart.
    pub(super) fn new(pattern: &str) -> Result<Self, PatternError> {
        let last_label = pattern.strip_prefix(BEFORE).and_then(|rest| {
            rest.strip_prefix(NUMERIC)?
                .strip_prefix(LABELS)?
                .strip_suffix(BEHIND)
        });
        let unknown = || PatternError::Unbounded {
            name: NAME,
            what: "it is not the URL_MATCH of spaCy 3".to_owned(),
        };
        let compile = |pattern: &str| compile(NAME, pattern);
        let addresses = Self {
            scheme: compile(SCHEME)?,
            numeric: compile(&format!("^(?:{NUMERIC})$"))?,
            last_label: compile(&format!("^{}{{2,63}}$", last_label.ok_or_else(unknown)?))?,
            port: compile(PORT)?,
        };
        for separator in PARTING.into_iter().chain(['.']) {
            let twice = String::from_iter([separator; 2]);
            if find(&addresses.last_label, &twice, 0) != Ok(None) {
                return Err(unknown());
            }
        }
        Ok(addresses)
    }

    /// Whether `chunk` is an address.
    pub(super) fn matches(&self, chunk: &str) -> Result<bool, TooComplex> {
        if self.is_host_and_path(chunk)? {
            return Ok(true);
        }
        if let Some((scheme, rest)) = chunk.split_once(':')
            && let Some(rest) = rest.strip_prefix("//")
            && self.is_host_and_path(rest)?
            && find(&self.scheme, scheme, 0)?.is_some()
        {
            return Ok(true);
        }
        // At least one character is the user's name.
        for (at, _) in chunk.match_indices('@').filter(|&(at, _)| at > 0) {
            if self.is_host_and_path(&chunk[at + 1..])? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether `text` is a host, perhaps a port, and perhaps a path.
    fn is_host_and_path(&self, text: &str) -> Result<bool, TooComplex> {
        let host_end = text.find(PARTING).unwrap_or(text.len());
        let (host, mut behind) = text.split_at(host_end);
        super::steps::count(host.len());
        if behind.starts_with(':') {
            let window = &behind[..behind.floor_char_boundary(LONGEST_PORT)];
            let Some((_, end)) = find(&self.port, window, 0)? else {
                return Ok(false);
            };
            behind = &behind[end..];
        }
        let is_path = behind.is_empty() || behind.starts_with(['/', '?', '#']);
        Ok(is_path && self.is_host(host)?)
    }

    fn is_host(&self, host: &str) -> Result<bool, TooComplex> {
        if host.len() <= LONGEST_NUMERIC && find(&self.numeric, host, 0)?.is_some() {
            return Ok(true);
        }
        let Some((labels, last)) = host.rsplit_once('.') else {
            return Ok(false);
        };
        Ok(labels.split('.').all(is_label) && find(&self.last_label, last, 0)?.is_some())
    }
}

/// Letters, digits, hyphens and low lines, of which neither may be first or last.
fn is_label(label: &str) -> bool {
    let may_be_anywhere =
        |character: char| character.is_ascii_alphanumeric() || matches!(character, '\u{a1}'..='\u{ffff}');
    let may_be_inside = |character: char| may_be_anywhere(character) || matches!(character, '_' | '-');
    label.starts_with(may_be_anywhere)
        && label.ends_with(may_be_anywhere)
        && label.chars().all(may_be_inside)
        && label.chars().count() <= LONGEST_LABEL
}

/// The pattern, with a class of characters for the last label.
#[cfg(test)]
pub(super) fn test_url(last_label: &str) -> String {
    [BEFORE, NUMERIC, LABELS, last_label, BEHIND].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What PCRE2 says of the expression as a whole.
    fn whole() -> Regex {
        compile(NAME, &test_url("[a-z]")).unwrap()
    }

    #[test]
    fn the_parts_say_what_the_whole_says() {
        let (addresses, whole) = (Addresses::new(&test_url("[a-z]")).unwrap(), whole());
        let parts = [
            "a", "ab", "B", "é", "_", "-", ".", ":", "/", "//", "://", "?", "#", "@", "1", "10", "172",
            "168", "255", "٣", "𝟘", "😀", "x²", "co", "http", "8080", "+", "a.bc", ".de", "1.2.3.4",
        ];
        let mut random = numbers();
        let (mut yes, mut no) = (0, 0);
        for _ in 0..30_000 {
            let length = 1 + random() % 9;
            let chunk: String = (0..length).map(|_| parts[random() % parts.len()]).collect();
            let expected = find(&whole, &chunk, 0).unwrap().is_some();
            assert_eq!(addresses.matches(&chunk).unwrap(), expected, "{chunk}");
            *(if expected { &mut yes } else { &mut no }) += 1;
        }
        assert!(yes > 500 && no > 500, "{yes} addresses, {no} others");
    }

    #[test]
    fn a_label_has_64_characters_at_most_and_the_last_63() {
        let addresses = Addresses::new(&test_url("[a-z]")).unwrap();
        for (label, last, is_address) in [(64, 63, true), (65, 63, false), (64, 64, false), (1, 1, false)] {
            let chunk = format!("{}.{}", "a".repeat(label), "a".repeat(last));
            assert_eq!(addresses.matches(&chunk), Ok(is_address), "{label} and {last}");
        }
    }

    #[test]
    fn another_pattern_is_refused() {
        for pattern in [
            "^http:.*$".to_owned(),
            test_url("[a-z.]"),
            test_url("[a-z@]"),
            test_url("\\S"),
        ] {
            assert!(Addresses::new(&pattern).is_err(), "{pattern}");
        }
    }

    /// A generator of numbers, the same ones each time.
    fn numbers() -> impl FnMut() -> usize {
        let mut state = 7_u32;
        move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as usize
        }
    }
}
