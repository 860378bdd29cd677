//! Owns how the place of a checkpoint is written: a path, or a URI as Spark takes it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Where Databricks mounts DBFS on a driver.
const DBFS_MOUNT: &str = "/dbfs";

/// Where a checkpoint is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A folder of this machine.
    Local(PathBuf),
    /// A part of a bucket.
    S3 {
        /// The bucket.
        bucket: String,
        /// What the keys begin with, without a slash at its ends; may be empty.
        prefix: String,
    },
}

/// It is no place that can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnknownLocation(String);

impl FromStr for Location {
    type Err = UnknownLocation;

    fn from_str(text: &str) -> Result<Self, UnknownLocation> {
        let wrong = |why: String| Err(UnknownLocation(why));
        if text.is_empty() {
            return wrong("is empty; name a folder or s3://BUCKET/PREFIX".to_owned());
        }
        match text.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) {
            None => Ok(Self::Local(text.into())),
            Some(("file", path)) if path.starts_with('/') => Ok(Self::Local(without_authority(path).into())),
            Some(("dbfs", path)) if path.starts_with('/') => Ok(Self::Local(
                Path::new(DBFS_MOUNT).join(without_authority(path).trim_start_matches('/')),
            )),
            Some(("s3" | "s3a" | "s3n", rest)) => s3(text, rest),
            Some((scheme @ ("gs" | "abfs" | "abfss" | "wasb" | "wasbs" | "hdfs"), _)) => wrong(format!(
                "{text}: {scheme}:// is not read; give a mounted folder, or s3://BUCKET/PREFIX with s3.endpoint where the \
                 store speaks S3 (Google's does, at https://storage.googleapis.com)"
            )),
            Some((scheme, _)) => wrong(format!(
                "{text}: {scheme} is no known kind of place; give a folder, file:///PATH or s3://BUCKET/PREFIX"
            )),
        }
    }
}

/// A drive letter is none, nor is a name with a colon somewhere in it.
fn is_scheme(text: &str) -> bool {
    text.len() > 1 && text.chars().all(|letter| letter.is_ascii_alphanumeric())
}

/// `///path` and `/path` are the same.
fn without_authority(path: &str) -> &str {
    path.strip_prefix("//")
        .filter(|path| path.starts_with('/'))
        .unwrap_or(path)
}

fn s3(text: &str, rest: &str) -> Result<Location, UnknownLocation> {
    let path = rest.strip_prefix("//").unwrap_or_default();
    let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
    if bucket.is_empty() {
        return Err(UnknownLocation(format!(
            "{text}: has no bucket; it is s3://BUCKET/PREFIX"
        )));
    }
    Ok(Location::S3 {
        bucket: bucket.to_owned(),
        prefix: prefix.trim_matches('/').to_owned(),
    })
}

impl From<PathBuf> for Location {
    fn from(path: PathBuf) -> Self {
        Self::Local(path)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(formatter, "{}", path.display()),
            Self::S3 { bucket, prefix } => write!(formatter, "s3://{bucket}/{prefix}"),
        }
    }
}

impl Serialize for Location {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Location {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(text: &str) -> Location {
        text.parse().unwrap()
    }

    #[test]
    fn a_place_is_written_as_spark_takes_it() {
        let bucket = |prefix: &str| Location::S3 {
            bucket: "b".into(),
            prefix: prefix.into(),
        };
        assert_eq!(location("s3a://b/check/point/"), bucket("check/point"));
        assert_eq!(location("s3://b"), bucket(""));
        for local in ["/mnt/c", "file:///mnt/c", "file:/mnt/c"] {
            assert_eq!(location(local), Location::Local("/mnt/c".into()), "{local}");
        }
        assert_eq!(location("dbfs:/mnt/c"), Location::Local("/dbfs/mnt/c".into()));
        assert_eq!(location("checkpoint"), Location::Local("checkpoint".into()));
        assert_eq!(location("s3n://b/c").to_string(), "s3://b/c");
    }

    #[test]
    fn a_place_that_cannot_be_read_is_told_with_what_to_do() {
        let wrong = |text: &str| text.parse::<Location>().unwrap_err().to_string();
        assert!(wrong("abfss://c@a.dfs.core.windows.net/x").contains("mounted folder"));
        assert!(wrong("s3:///x").contains("no bucket"));
        assert!(wrong("s3:b/x").contains("no bucket"));
        assert!(wrong("ftp://b/x").contains("s3://BUCKET/PREFIX"));
        assert!(wrong("").contains("is empty"));
    }
}
