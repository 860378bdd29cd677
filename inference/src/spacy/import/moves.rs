//! Owns the order of a transition system's classes, which spaCy keeps as label counts.

use std::collections::BTreeMap;

use rmpv::Value;
use serde::Deserialize;

use super::{ImportError, thinc};
use crate::spacy::parser::ParserClasses;

/// Labels and how often each was seen, by the number of the action.
type Actions = BTreeMap<String, BTreeMap<String, i64>>;

#[derive(Deserialize)]
#[serde(transparent)]
struct Moves(Actions);

/// The entity labels of a recogniser, in the order of its classes.
pub(super) fn entity_labels(moves: &[u8]) -> Result<Vec<String>, ImportError> {
    const FILE: &str = "ner/moves";
    let actions = read(FILE, moves)?;
    // 1 to 4 are B, I, L and U; U also has a class without a label, which is never valid; 5 is O.
    let [begin, inside, last, unit, out] = ["1", "2", "3", "4", "5"].map(|action| labels(&actions, action));
    let [labels, nothing] = [begin.clone(), vec![String::new()]];
    let unit_expected: Vec<String> = labels.iter().chain(&nothing).cloned().collect();
    if labels.is_empty() || inside != labels || last != labels || unit != unit_expected || out != nothing {
        return Err(ImportError::Unsupported(format!(
            "{FILE} is not B, I, L, U of the same labels and O"
        )));
    }
    Ok(labels)
}

/// How many arcs a parser has.
pub(super) fn arcs(moves: &[u8]) -> Result<ParserClasses, ImportError> {
    const FILE: &str = "parser/moves";
    let actions = read(FILE, moves)?;
    // 0 to 4 are shift, reduce, left arcs, right arcs and break.
    let [shift, reduce, left, right, breaks] =
        ["0", "1", "2", "3", "4"].map(|action| labels(&actions, action));
    if shift.len() != 1 || reduce.len() != 1 || breaks.len() != 1 || left.is_empty() || right.is_empty() {
        return Err(ImportError::Unsupported(format!(
            "{FILE} is not shift, reduce, left, right, break"
        )));
    }
    if left.iter().chain(&right).any(|label| label == "subtok") {
        return Err(ImportError::Unsupported(
            "its parser learns tokens (subtok)".to_owned(),
        ));
    }
    Ok(ParserClasses {
        left: left.len(),
        right: right.len(),
    })
}

/// spaCy's order within an action: the most frequent label first, on a tie the last by name.
fn labels(actions: &Actions, action: &str) -> Vec<String> {
    let mut labels: Vec<(i64, &String)> = actions
        .get(action)
        .into_iter()
        .flatten()
        .map(|(label, count)| (*count, label))
        .collect();
    labels.sort_unstable();
    labels.into_iter().rev().map(|(_, label)| label.clone()).collect()
}

fn read(file: &str, content: &[u8]) -> Result<Actions, ImportError> {
    let value = thinc::message_pack(file, content)?;
    let moves = thinc::field(file, &value, "moves")?;
    let text = moves
        .as_str()
        .ok_or_else(|| ImportError::damaged(file, "moves is not text"))?;
    let Moves(actions) = serde_json::from_str(text).map_err(|error| ImportError::damaged(file, error))?;
    match thinc::field(file, &value, "cfg").and_then(|cfg| thinc::field(file, cfg, "neg_key")) {
        Ok(Value::Nil) | Err(_) => Ok(actions),
        Ok(_) => Err(ImportError::Unsupported(format!("{file} has negative examples"))),
    }
}
