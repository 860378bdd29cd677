//! Owns the labels of a series.
//!
//! A page has thousands of series with one or two labels each, for which a tree would take many times the room.
//! Names are in order and stand once. A label without a value is no label, as everywhere in Prometheus.

/// Labels, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Vec<(String, String)>);

impl Labels {
    /// No labels.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Sets a label and gives back what it was.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) -> Option<String> {
        let (name, value) = (name.into(), value.into());
        match self.place(&name) {
            Ok(place) if value.is_empty() => Some(self.0.remove(place).1),
            Ok(place) => Some(std::mem::replace(&mut self.0[place].1, value)),
            Err(_) if value.is_empty() => None,
            Err(place) => {
                // Most have one label or two; a vector that grows by itself begins with room for four.
                self.0.reserve_exact(1);
                self.0.insert(place, (name, value));
                None
            }
        }
    }

    /// Takes a label away and gives back what it was.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        let place = self.place(name).ok()?;
        Some(self.0.remove(place).1)
    }

    /// The value of a label.
    pub fn get(&self, name: &str) -> Option<&str> {
        let place = self.place(name).ok()?;
        Some(self.0[place].1.as_str())
    }

    /// Names and values, in order of name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.as_str().cmp(name))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(labels: I) -> Self {
        let mut all = Self::new();
        for (name, value) in labels {
            all.insert(name, value);
        }
        all
    }
}

impl<N: Into<String>, V: Into<String>, const COUNT: usize> From<[(N, V); COUNT]> for Labels {
    fn from(labels: [(N, V); COUNT]) -> Self {
        labels.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_in_order_of_name_whatever_the_order_of_setting() {
        let labels = Labels::from([("b", "2"), ("a", "1")]);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
        assert_eq!(labels.get("b"), Some("2"));
    }

    #[test]
    fn a_label_without_a_value_is_no_label() {
        let mut labels = Labels::from([("a", ""), ("b", "2")]);
        assert_eq!(labels.insert("b", ""), Some("2".to_owned()));
        assert!(labels.is_empty());
    }
}
