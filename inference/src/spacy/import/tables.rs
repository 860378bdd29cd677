//! Owns the tables of a model that are no weights: its metadata, its tokenizer, its norms.

use std::collections::BTreeMap;

use rmpv::Value;
use serde::Deserialize;

use super::{ImportError, thinc};
use crate::spacy::tokenizer::{ExceptionToken, Tokenizer, TokenizerTables};

/// spaCy's numbers for the attributes of an exception's token.
const ORTH: u64 = 65;
const NORM: u64 = 67;

/// What `meta.json` says.
#[derive(Debug, Deserialize)]
pub(super) struct Meta {
    lang: String,
    name: String,
    pub(super) version: String,
    #[serde(default)]
    pub(super) license: String,
}

impl Meta {
    pub(super) fn read(content: &[u8]) -> Result<Self, ImportError> {
        serde_json::from_slice(content).map_err(|error| ImportError::damaged("meta.json", error))
    }

    /// The name by which people know the model (`en_core_web_sm`).
    pub(super) fn full_name(&self) -> String {
        format!("{}_{}", self.lang, self.name)
    }
}

/// The tables of `tokenizer`.
pub(super) fn tokenizer(content: &[u8]) -> Result<TokenizerTables, ImportError> {
    const FILE: &str = "tokenizer";
    let value = thinc::message_pack(FILE, content)?;
    let field = |name: &'static str| thinc::field(FILE, &value, name);
    let text = |name: &'static str| {
        let text = field(name)?.as_str();
        text.map(str::to_owned)
            .ok_or_else(|| ImportError::Unsupported(format!("its tokenizer has no {name}")))
    };
    if !field("token_match")?.is_nil() {
        return Err(ImportError::Unsupported(
            "its tokenizer has a token_match".to_owned(),
        ));
    }
    if field("faster_heuristics")? != &Value::Boolean(true) {
        return Err(ImportError::Unsupported(
            "its tokenizer goes without faster_heuristics".to_owned(),
        ));
    }
    let mut exceptions = BTreeMap::new();
    for (key, tokens) in field("exceptions")?.as_map().into_iter().flatten() {
        let read = key.as_str().zip(tokens.as_array());
        let (key, tokens) = read.ok_or_else(|| ImportError::damaged(FILE, "an exception is not a list"))?;
        exceptions.insert(key.to_owned(), exception(key, tokens)?);
    }
    let tables = TokenizerTables {
        prefix: text("prefix_search")?,
        suffix: text("suffix_search")?,
        infix: text("infix_finditer")?,
        url: text("url_match")?,
        exceptions,
    };
    match Tokenizer::new(tables.clone()) {
        Ok(_) => Ok(tables),
        Err(error) => Err(ImportError::Unsupported(error.to_string())),
    }
}

fn exception(text: &str, tokens: &[Value]) -> Result<Vec<ExceptionToken>, ImportError> {
    let mut read = Vec::new();
    for token in tokens {
        let attribute = |number: u64| {
            let found = token
                .as_map()?
                .iter()
                .find(|(key, _)| key.as_u64() == Some(number))?;
            found.1.as_str().map(str::to_owned)
        };
        let attributes = token.as_map().map_or(0, Vec::len);
        let token = ExceptionToken {
            orth: attribute(ORTH).unwrap_or_default(),
            norm: attribute(NORM),
        };
        if attributes != 1 + usize::from(token.norm.is_some()) {
            return Err(ImportError::Unsupported(format!(
                "its exception {text:?} sets more than a norm"
            )));
        }
        read.push(token);
    }
    let whole: String = read.iter().map(|token| token.orth.as_str()).collect();
    if whole != text || read.iter().any(|token| token.orth.is_empty()) {
        return Err(ImportError::damaged(
            "tokenizer",
            format!("the tokens of the exception {text:?} are not its text"),
        ));
    }
    Ok(read)
}

/// The table `lexeme_norm` of `vocab/lookups.bin`: norms by the id of a word.
pub(super) fn lexeme_norms(content: &[u8]) -> Result<BTreeMap<u64, String>, ImportError> {
    const FILE: &str = "vocab/lookups.bin";
    let value = thinc::message_pack(FILE, content)?;
    let table = thinc::field(FILE, &value, "lexeme_norm")?;
    let entry = |(key, norm): &(Value, Value)| Some((key.as_u64()?, norm.as_str()?.to_owned()));
    let entries: Option<_> = table.as_map().and_then(|table| table.iter().map(entry).collect());
    entries.ok_or_else(|| ImportError::damaged(FILE, "lexeme_norm is not a table of norms by word id"))
}
