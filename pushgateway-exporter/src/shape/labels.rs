//! Owns which labels of samples get other names: those that the target has, too.

use std::collections::BTreeMap;

use crate::exposition::{Labels, Sample};

/// How the new name of a label begins that had to be renamed, as in Prometheus.
const EXPORTED: &str = "exported_";

/// Renames labels of samples that are also labels of their target: these are added by the sink, a gateway would
/// overwrite the others, and two series could become one.
pub(super) fn rename(samples: &mut [Sample], of_target: &BTreeMap<String, String>) {
    for sample in samples {
        for name in of_target.keys() {
            if let Some(value) = sample.labels.remove(name) {
                let free = free_name(&sample.labels, name);
                sample.labels.insert(free, value);
            }
        }
    }
}

fn free_name(labels: &Labels, name: &str) -> String {
    let mut free = format!("{EXPORTED}{name}");
    while labels.get(&free).is_some() {
        free.insert_str(0, EXPORTED);
    }
    free
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::render;

    #[test]
    fn a_label_that_the_target_has_keeps_its_value_under_another_name() {
        let mut samples = ["a", "b"].map(|instance| {
            Sample::new(
                "x",
                [("exported_instance", "c"), ("instance", instance), ("k", "v")],
                1.0,
            )
        });
        let target = BTreeMap::from(["instance", "none"].map(|name| (name.to_owned(), "1".to_owned())));
        rename(&mut samples, &target);
        let text = render(&samples, &BTreeMap::new());
        assert_eq!(
            text,
            "x{exported_exported_instance=\"a\",exported_instance=\"c\",k=\"v\"} 1\n\
             x{exported_exported_instance=\"b\",exported_instance=\"c\",k=\"v\"} 1\n"
        );
    }
}
