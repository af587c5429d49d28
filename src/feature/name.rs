//! Names and references: `country`, `profile.country`, `country@2`.

use std::fmt;

/// Words that answers use themselves, so that no feature may bear them.
const RESERVED: [&str; 10] = [
    "entity_id",
    "timestamp",
    "event_timestamp",
    "label",
    "statuses",
    "event_timestamps",
    "online",
    "batch",
    "register",
    "write",
];
const RESERVED_SUFFIXES: [&str; 2] = ["__status", "__event_timestamp"];

/// Checks the name of a feature, group, entity type, key or set: `[a-z][a-z0-9_]{0,63}`.
pub fn check(name: &str) -> Result<(), String> {
    let starts_right = name.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    let rest_right = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if starts_right && rest_right && name.len() <= 64 {
        Ok(())
    } else {
        Err(format!("{name:?} is not a name; use [a-z][a-z0-9_]{{0,63}}"))
    }
}

/// Checks the name of a feature, which also must not be one of the words that answers use.
pub fn check_feature(name: &str) -> Result<(), String> {
    check(name)?;
    if RESERVED.contains(&name) || RESERVED_SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
        return Err(format!("{name:?} is reserved; choose another name"));
    }
    Ok(())
}

/// A reference to a feature as a request writes it: `[group.]name[@version]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FeatureRef<'a> {
    pub group: Option<&'a str>,
    pub name: &'a str,
    /// None = the newest active version.
    pub version: Option<u32>,
}

impl<'a> FeatureRef<'a> {
    pub fn parse(text: &'a str) -> Result<Self, String> {
        let (path, version) = split_version(text)?;
        let (group, name) = match path.split_once('.') {
            Some((group, name)) => (Some(group), name),
            None => (None, path),
        };
        if let Some(group) = group {
            check(group)?;
        }
        check(name)?;
        Ok(Self { group, name, version })
    }
}

/// Splits `name@3` into its name and version.
pub fn split_version(text: &str) -> Result<(&str, Option<u32>), String> {
    let Some((name, version)) = text.split_once('@') else { return Ok((text, None)) };
    let canonical = version.bytes().all(|b| b.is_ascii_digit()) && !version.starts_with('0');
    match version.parse::<u32>() {
        Ok(version) if canonical => Ok((name, Some(version))),
        _ => Err(format!("{text:?} has no valid version; write it as name@2")),
    }
}

/// The full reference of a feature: `group.name@version`, or `name@version` where the group bears its name.
#[derive(Clone, Copy, Debug)]
pub struct FullRef<'a> {
    pub group: &'a str,
    pub name: &'a str,
    pub version: u32,
}

impl fmt::Display for FullRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group != self.name {
            write!(f, "{}.", self.group)?;
        }
        write!(f, "{}@{}", self.name, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_parse() {
        let parsed = FeatureRef::parse("profile.country@2").unwrap();
        assert_eq!((parsed.group, parsed.name, parsed.version), (Some("profile"), "country", Some(2)));
        assert_eq!(FeatureRef::parse("country").unwrap().version, None);
        for text in
            ["", "Country", "a.b.c", "a@0", "a@01", "a@x", "a@1@2", ".a", "a.", "a@", "9a", "a@4294967296"]
        {
            assert!(FeatureRef::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_at_their_bound() {
        assert!(check(&"a".repeat(64)).is_ok());
        assert!(check(&"a".repeat(65)).is_err());
        assert!(check_feature("label").is_err());
        assert!(check_feature("x__status").is_err());
        assert!(check("label").is_ok());
    }
}
