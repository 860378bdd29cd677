//! Owns the count of the steps that tokenizing takes, roughly in bytes looked at: what the test of its growth reads.
//!
//! Outside of tests nothing is counted.

#[cfg(test)]
thread_local! {
    static TAKEN: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// So many more were taken.
#[cfg(test)]
pub(super) fn count(steps: usize) {
    TAKEN.set(TAKEN.get() + steps);
}

#[cfg(not(test))]
#[inline(always)]
pub(super) fn count(_steps: usize) {}

/// How many this thread took for `work`.
#[cfg(test)]
pub(super) fn of(work: impl FnOnce()) -> usize {
    let before = TAKEN.get();
    work();
    TAKEN.get() - before
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spacy::attributes::LexemeNorms;
    use crate::spacy::bundle::Bundle;
    use crate::spacy::lexicon::Lexicon;
    use crate::spacy::tokenizer::Tokenizer;

    /// Pieces of which a hostile text is made by repetition, without and with something before and behind.
    const PIECES: [&str; 66] = [
        "(",
        ")",
        "()",
        ")(",
        "'",
        "\"",
        "''",
        "`",
        ".",
        "..",
        ". ",
        "...a",
        ".a",
        "a.",
        "a.B",
        ",",
        ",a",
        "a,",
        "-",
        "a-",
        "a--",
        "-a",
        "a/",
        "/",
        "a/b/c",
        "a:",
        ":",
        "a:a@",
        "@",
        "a@",
        "@a.",
        "a@a.",
        "a@a.b",
        "://",
        "a://",
        "http://",
        "http://a.b/",
        "www.a.bc",
        "1.2.3.4",
        "1.1.1.1@",
        "1",
        "1km",
        "5%",
        "1+",
        "1-",
        "$",
        "US$",
        "€5",
        "a",
        "A",
        "aB",
        "a_",
        "can't",
        "n't",
        ":)",
        ":-(",
        "a'",
        "a's",
        "'s",
        "é",
        "e\u{301}",
        "\u{301}",
        "👩\u{200d}",
        "👍🏽",
        "🇫🇷",
        "東",
    ];
    /// White space is a piece of its own kind: it makes runs, not chunks.
    const SPACES: [&str; 7] = [" ", "\n", "\t", "\u{a0}", "\u{3000}", "\u{2028}", "\r\n"];
    const AROUND: [(&str, &str); 5] = [("", ""), ("a", ""), ("", ")"), ("(", "."), ("http://", "/a@b")];

    async fn tokenizer() -> Tokenizer {
        let files = testbed::ModelFiles::fetch().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("model");
        crate::spacy::import(&files.wheel, &bundle).unwrap();
        Tokenizer::new(Bundle::open(&bundle).unwrap().tokenizer().unwrap()).unwrap()
    }

    fn steps(tokenizer: &Tokenizer, text: &str) -> usize {
        let mut lexicon = Lexicon::new(LexemeNorms::new(), usize::MAX);
        of(|| drop(tokenizer.tokenize(text, &mut lexicon).unwrap()))
    }

    #[tokio::test]
    async fn twice_the_text_is_at_most_two_and_a_half_times_the_work() {
        const BYTES: usize = 8_000;
        let tokenizer = tokenizer().await;
        let mixtures = PIECES
            .iter()
            .zip(PIECES.iter().cycle().skip(17))
            .map(|(a, b)| format!("{a}{b}"));
        let pieces = PIECES
            .iter()
            .chain(&SPACES)
            .map(|&piece| piece.to_owned())
            .chain(mixtures);
        for piece in pieces {
            for (before, behind) in AROUND {
                let count = BYTES / piece.len();
                let [once, twice] = [count, 2 * count]
                    .map(|count| steps(&tokenizer, &format!("{before}{}{behind}", piece.repeat(count))));
                assert!(
                    2 * twice <= 5 * once,
                    "{before}{piece}…{behind}: {once} steps, then {twice}"
                );
                assert!(once <= 1_000 * BYTES, "{before}{piece}…{behind}: {once} steps");
            }
        }
    }
}
