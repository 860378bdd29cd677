//! Owns values that must not be seen: they come from the environment or a file, and print as nothing.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const REDACTED: &str = "<redacted>";

/// A secret: `"text"`, or `{ file = "PATH" }` whose content, without the line end, is the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret itself, for the library that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    fn from_file(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read the secret in {}: {error}", path.display()))?;
        Ok(Self(text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a string or { file = \"PATH\" }")]
enum Source {
    Text(String),
    File { file: PathBuf },
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Source::deserialize(deserializer)? {
            Source::Text(text) => Ok(Self(text)),
            Source::File { file } => Self::from_file(&file).map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, Serialize)]
    struct Holder {
        password: Secret,
    }

    #[test]
    fn a_secret_is_never_printed() {
        let holder: Holder = toml::from_str("password = \"hunter2\"").unwrap();
        assert_eq!(holder.password.expose(), "hunter2");
        assert!(!format!("{holder:?}{}", toml::to_string(&holder).unwrap()).contains("hunter2"));
    }

    #[test]
    fn a_secret_can_stand_in_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hunter2\n").unwrap();
        let text = format!("password = {{ file = {:?} }}", file.path());
        assert_eq!(
            toml::from_str::<Holder>(&text).unwrap().password.expose(),
            "hunter2"
        );
        let missing = toml::from_str::<Holder>("password = { file = \"/nowhere\" }").unwrap_err();
        assert!(missing.message().contains("/nowhere"), "{missing}");
    }
}
