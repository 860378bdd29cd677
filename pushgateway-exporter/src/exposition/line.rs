//! Owns the grammar of one line of the text format.

use super::{Labels, Reason, Sample, Type};

/// What stands between the parts of a line.
const BLANKS: [char; 2] = [' ', '\t'];
/// The longest name of a metric or of a label.
const MAX_NAME_BYTES: usize = 1024;
/// The longest value of a label.
const MAX_VALUE_BYTES: usize = 8 << 10;
/// The greatest number of labels of a series.
const MAX_LABELS: usize = 64;
/// How the names of labels begin that Prometheus keeps for itself. A gateway refuses a page that has one.
const RESERVED: &str = "__";

/// What a line says.
pub(super) enum Line<'l> {
    /// A value of a series.
    Sample(Sample),
    /// The type of a family.
    Type(&'l str, Type),
    /// It is empty or a comment.
    Nothing,
}

/// Reads a line.
///
/// # Errors
/// Where it is none of the format's.
pub(super) fn read(text: &str) -> Result<Line<'_>, Reason> {
    let text = text.trim_matches(BLANKS);
    if text.is_empty() {
        return Ok(Line::Nothing);
    }
    if text.starts_with('#') {
        return Ok(declared(text).map_or(Line::Nothing, |(name, family_type)| Line::Type(name, family_type)));
    }
    sample(text).map(Line::Sample)
}

/// `# TYPE name type`; any other comment says nothing.
fn declared(text: &str) -> Option<(&str, Type)> {
    let mut words = text.split(BLANKS).filter(|word| !word.is_empty());
    if (words.next(), words.next()) != (Some("#"), Some("TYPE")) {
        return None;
    }
    let (name, named) = (words.next()?, words.next()?);
    let family_type = Type::ALL
        .into_iter()
        .find(|known| known.as_str().eq_ignore_ascii_case(named))?;
    is_metric_name(name).then_some((name, family_type))
}

fn sample(text: &str) -> Result<Sample, Reason> {
    let (name, rest) = name(text, is_metric_name_byte)?;
    let bare = rest.trim_start_matches(BLANKS);
    let (labels, rest) = match bare.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None if rest.starts_with(BLANKS) => (Labels::new(), bare),
        None => return Err(Reason::Malformed),
    };
    Ok(Sample {
        name: name.to_owned(),
        labels,
        value: measured(rest)?,
    })
}

/// What stands after `{`, up to and with `}`; and the rest.
fn labels(mut rest: &str) -> Result<(Labels, &str), Reason> {
    let mut labels = Labels::new();
    let mut seen = Vec::new();
    loop {
        rest = rest.trim_start_matches(BLANKS);
        if let Some(after) = rest.strip_prefix('}') {
            return Ok((labels, after));
        }
        let (name, after) = name(rest, |byte| byte != b':' && is_metric_name_byte(byte))?;
        let after = sign(after, '=')?;
        let (value, after) = quoted(after.trim_start_matches(BLANKS))?;
        if name.starts_with(RESERVED) || seen.contains(&name) {
            return Err(Reason::Malformed);
        }
        if seen.len() == MAX_LABELS {
            return Err(Reason::Oversized);
        }
        seen.push(name);
        labels.insert(name, value);
        rest = after.trim_start_matches(BLANKS);
        if !rest.starts_with('}') {
            rest = sign(rest, ',')?;
        }
    }
}

/// A value and the rest. In it a backslash stands before a backslash, a quote, or the `n` of a line's end.
fn quoted(text: &str) -> Result<(String, &str), Reason> {
    let mut rest = text.strip_prefix('"').ok_or(Reason::Malformed)?;
    let mut value = String::new();
    loop {
        let place = rest.find(['"', '\\']).ok_or(Reason::Malformed)?;
        value.push_str(&rest[..place]);
        if value.len() > MAX_VALUE_BYTES {
            return Err(Reason::Oversized);
        }
        let mut after = rest[place..].chars();
        if after.next() == Some('"') {
            return Ok((value, after.as_str()));
        }
        value.push(match after.next() {
            Some('n') => '\n',
            Some(escaped @ ('"' | '\\')) => escaped,
            _ => return Err(Reason::Malformed),
        });
        rest = after.as_str();
    }
}

/// A value and, perhaps, a timestamp, which is left out.
fn measured(text: &str) -> Result<f64, Reason> {
    let mut words = text.split(BLANKS).filter(|word| !word.is_empty());
    let value = number(words.next().ok_or(Reason::Malformed)?)?;
    let timestamp = words.next().is_none_or(|word| word.parse::<i64>().is_ok());
    if timestamp && words.next().is_none() {
        Ok(value)
    } else {
        Err(Reason::Malformed)
    }
}

/// Reads a number.
///
/// # Errors
/// Where it is none, or too great to be one: no infinity is made of what is not called so.
pub(super) fn number(word: &str) -> Result<f64, Reason> {
    let value: f64 = word.parse().map_err(|_none| Reason::NotANumber)?;
    let has_digits = word.contains(|character: char| character.is_ascii_digit());
    if value.is_infinite() && has_digits {
        return Err(Reason::NotANumber);
    }
    Ok(value)
}

/// Whether a value of a label is beyond its bound.
pub(super) fn is_oversized(value: &str) -> bool {
    value.len() > MAX_VALUE_BYTES
}

/// Whether a metric may have this name.
pub(super) fn is_metric_name(name: &str) -> bool {
    let begins = name.starts_with(|first: char| !first.is_ascii_digit());
    begins && name.len() <= MAX_NAME_BYTES && name.bytes().all(is_metric_name_byte)
}

fn is_metric_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':'
}

/// A name and the rest.
fn name(text: &str, belongs: impl Fn(u8) -> bool) -> Result<(&str, &str), Reason> {
    let end = text.bytes().position(|byte| !belongs(byte)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.len() > MAX_NAME_BYTES {
        return Err(Reason::Oversized);
    }
    if !is_metric_name(name) {
        return Err(Reason::Malformed);
    }
    Ok((name, rest))
}

/// The rest after a sign.
fn sign(text: &str, sign: char) -> Result<&str, Reason> {
    text.trim_start_matches(BLANKS)
        .strip_prefix(sign)
        .ok_or(Reason::Malformed)
}
