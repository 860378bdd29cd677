//! Owns what Python's `str` methods say of a character, where Rust's `char` says otherwise.
//!
//! spaCy's features are drawn by Python's predicates, so these must agree with `CPython`, not with the newest Unicode.

mod tables;

/// `str.isspace` for one character: Rust's white space and the four information separators.
pub(super) fn is_space(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{1c}'..='\u{1f}')
}

/// `str.isalpha` for one character: a letter by general category, so no marks and no letter numbers.
pub(super) fn is_alphabetic(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_alphabetic();
    }
    contains(&tables::ALPHABETIC, character)
}

/// `str.isdigit` for one character: decimal digits and digits in other forms (`²`), but no fractions.
pub(super) fn is_digit(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_digit();
    }
    contains(&tables::DIGIT, character)
}

/// Whether `character` is in one of the inclusive ranges of `table`.
fn contains(table: &[u32], character: char) -> bool {
    let point = u32::from(character);
    let bounds_below = table.partition_point(|&bound| bound < point);
    // An odd count means that a range was entered and not left; an exact hit on a first bound is inside as well.
    bounds_below % 2 == 1 || table.get(bounds_below) == Some(&point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_are_pythons() {
        for space in [
            '\u{1c}', '\u{1f}', '\u{85}', '\u{a0}', '\u{2028}', '\u{3000}', '\t', ' ',
        ] {
            assert!(is_space(space), "{space:?}");
        }
        for other in ['\u{1b}', '\u{180e}', '\u{200b}', '\u{feff}', 'a'] {
            assert!(!is_space(other), "{other:?}");
        }
    }

    #[test]
    fn letters_are_pythons() {
        for letter in ['a', 'Z', 'ª', 'é', 'ʰ', '中', '𝒳', 'ﬁ'] {
            assert!(is_alphabetic(letter), "{letter:?}");
        }
        for other in ['1', '_', '\u{301}', 'Ⅷ', 'ⓐ', '²', '€'] {
            assert!(!is_alphabetic(other), "{other:?}");
        }
    }

    #[test]
    fn digits_are_pythons() {
        for digit in ['0', '9', '²', '①', '٣', '𝟘'] {
            assert!(is_digit(digit), "{digit:?}");
        }
        for other in ['½', 'Ⅷ', '一', 'a'] {
            assert!(!is_digit(other), "{other:?}");
        }
    }
}
