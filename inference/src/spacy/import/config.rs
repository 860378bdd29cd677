//! Owns the list of what a model's configuration must say for this program to compute it exactly.

use ini::{Ini, ParseOption};

use super::ImportError;

/// Settings that must have this very value. Anything else would be computed wrong.
const REQUIRED: [(&str, &str, &str); 34] = [
    ("nlp", "lang", r#""en""#),
    ("nlp", "tokenizer", r#"{"@tokenizers":"spacy.Tokenizer.v1"}"#),
    ("components.ner", "factory", r#""ner""#),
    (
        "components.ner.model",
        "@architectures",
        r#""spacy.TransitionBasedParser.v2""#,
    ),
    ("components.ner.model", "state_type", r#""ner""#),
    ("components.ner.model", "extra_state_tokens", "false"),
    ("components.ner.model", "hidden_width", "64"),
    ("components.ner.model", "maxout_pieces", "2"),
    ("components.ner.model", "use_upper", "true"),
    (
        "components.ner.model.tok2vec",
        "@architectures",
        r#""spacy.Tok2Vec.v2""#,
    ),
    (
        "components.ner.model.tok2vec.embed",
        "@architectures",
        r#""spacy.MultiHashEmbed.v2""#,
    ),
    ("components.ner.model.tok2vec.embed", "width", "96"),
    (
        "components.ner.model.tok2vec.embed",
        "include_static_vectors",
        "false",
    ),
    (
        "components.ner.model.tok2vec.encode",
        "@architectures",
        r#""spacy.MaxoutWindowEncoder.v2""#,
    ),
    ("components.ner.model.tok2vec.encode", "width", "96"),
    ("components.ner.model.tok2vec.encode", "depth", "4"),
    ("components.ner.model.tok2vec.encode", "window_size", "1"),
    ("components.ner.model.tok2vec.encode", "maxout_pieces", "3"),
    ("components.parser", "factory", r#""parser""#),
    (
        "components.parser.model",
        "@architectures",
        r#""spacy.TransitionBasedParser.v2""#,
    ),
    ("components.parser.model", "state_type", r#""parser""#),
    ("components.parser.model", "extra_state_tokens", "false"),
    ("components.parser.model", "hidden_width", "64"),
    ("components.parser.model", "maxout_pieces", "2"),
    ("components.parser.model", "use_upper", "true"),
    (
        "components.parser.model.tok2vec",
        "@architectures",
        r#""spacy.Tok2VecListener.v1""#,
    ),
    ("components.parser.model.tok2vec", "upstream", r#""tok2vec""#),
    (
        "components.tok2vec.model",
        "@architectures",
        r#""spacy.Tok2Vec.v2""#,
    ),
    (
        "components.tok2vec.model.embed",
        "@architectures",
        r#""spacy.MultiHashEmbed.v2""#,
    ),
    (
        "components.tok2vec.model.embed",
        "include_static_vectors",
        "false",
    ),
    (
        "components.tok2vec.model.encode",
        "@architectures",
        r#""spacy.MaxoutWindowEncoder.v2""#,
    ),
    ("components.tok2vec.model.encode", "width", "96"),
    ("components.tok2vec.model.encode", "depth", "4"),
    ("components.tok2vec.model.encode", "window_size", "1"),
];
/// Components that either are computed or have no say in the entities.
const KNOWN_COMPONENTS: [&str; 7] = [
    "tok2vec",
    "tagger",
    "parser",
    "senter",
    "attribute_ruler",
    "lemmatizer",
    "ner",
];

/// Checks `config.cfg`.
pub(super) fn check(config: &str) -> Result<(), ImportError> {
    let plain = ParseOption {
        enabled_quote: false,
        enabled_escape: false,
        ..ParseOption::default()
    };
    let config =
        Ini::load_from_str_opt(config, plain).map_err(|error| ImportError::damaged("config.cfg", error))?;
    let value = |section: &str, key: &str| {
        config
            .get_from(Some(section), key)
            .ok_or_else(|| ImportError::Unsupported(format!("config.cfg has no [{section}] {key}")))
    };
    for (section, key, required) in REQUIRED {
        let found = value(section, key)?;
        if found != required {
            let what = format!("config.cfg says [{section}] {key} = {found}, only {required} is");
            return Err(ImportError::Unsupported(what));
        }
    }
    let names = |key| -> Result<Vec<String>, ImportError> {
        serde_json::from_str(value("nlp", key)?).map_err(|error| ImportError::damaged("config.cfg", error))
    };
    check_pipeline(&names("pipeline")?, &names("disabled")?)
}

/// The components that run must be known, and the parser must run before the recogniser.
fn check_pipeline(pipeline: &[String], disabled: &[String]) -> Result<(), ImportError> {
    let active: Vec<&str> = pipeline
        .iter()
        .filter(|name| !disabled.contains(name))
        .map(String::as_str)
        .collect();
    if let Some(unknown) = active.iter().find(|name| !KNOWN_COMPONENTS.contains(name)) {
        return Err(ImportError::Unsupported(format!(
            "its pipeline has the component {unknown}"
        )));
    }
    if active.contains(&"senter") {
        return Err(ImportError::Unsupported(
            "senter is not disabled and sets sentence starts".to_owned(),
        ));
    }
    let place = |wanted| active.iter().position(|name| *name == wanted);
    match (place("tok2vec"), place("parser"), place("ner")) {
        (Some(tok2vec), Some(parser), Some(ner)) if tok2vec < parser && parser < ner => Ok(()),
        _ => {
            let what =
                format!("its pipeline is {active:?}, it must have tok2vec, parser and ner in this order");
            Err(ImportError::Unsupported(what))
        }
    }
}

/// Checks `ner/cfg` or `parser/cfg`: only a greedy decoder is computed.
pub(super) fn check_component(file: &str, content: &[u8]) -> Result<(), ImportError> {
    let cfg: serde_json::Value =
        serde_json::from_slice(content).map_err(|error| ImportError::damaged(file, error))?;
    for (key, required) in [
        ("beam_width", serde_json::json!(1)),
        ("learn_tokens", serde_json::json!(false)),
    ] {
        if cfg[key] != required {
            return Err(ImportError::Unsupported(format!(
                "{file} says {key} = {}, only {required} is",
                cfg[key]
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(changed: Option<(&str, &str, &str)>) -> String {
        let mut sections = std::collections::BTreeMap::<_, Vec<String>>::new();
        let more = [
            ("nlp", "pipeline", r#"["tok2vec","parser","senter","ner"]"#),
            ("nlp", "disabled", r#"["senter"]"#),
        ];
        for (section, key, value) in REQUIRED.into_iter().chain(more) {
            let value = match changed {
                Some((its, name, other)) if (its, name) == (section, key) => other,
                _ => value,
            };
            sections
                .entry(section)
                .or_default()
                .push(format!("{key} = {value}\n"));
        }
        let sections = sections.into_iter();
        let sections = sections.map(|(section, lines)| format!("[{section}]\n{}", lines.concat()));
        sections.collect::<Vec<_>>().concat()
    }

    fn refusal(section: &str, key: &str, value: &str) -> String {
        check(&config(Some((section, key, value))))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn the_supported_configuration_passes() {
        check(&config(None)).unwrap();
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        let vectors = refusal(
            "components.ner.model.tok2vec.embed",
            "include_static_vectors",
            "true",
        );
        assert_eq!(
            vectors,
            "the model is not supported: config.cfg says [components.ner.model.tok2vec.embed] \
             include_static_vectors = true, only false is"
        );
        let ruler = refusal("nlp", "pipeline", r#"["tok2vec","parser","entity_ruler","ner"]"#);
        assert!(ruler.contains("the component entity_ruler"), "{ruler}");
        let order = refusal("nlp", "pipeline", r#"["tok2vec","ner","parser"]"#);
        assert!(order.contains("in this order"), "{order}");
        assert!(refusal("nlp", "disabled", "[]").contains("senter"));
    }

    #[test]
    fn a_beam_is_refused() {
        let beam = check_component("ner/cfg", br#"{"beam_width": 4, "learn_tokens": false}"#).unwrap_err();
        assert!(beam.to_string().contains("beam_width = 4"), "{beam}");
    }
}
