//! The request, read in place.

use crate::{
    error::{Error, Result},
    feature::Round,
    proto::fields::{Field, malformed, take_field, text},
    registry::{FeatureList, ListEncoding},
    serving::online::{Entities, OnlineRequest},
    wire::{
        codec::Decode,
        value::{duration_from, timestamp_from},
    },
};
use bytes::{Buf, Bytes};
use prost::{DecodeError, Message};
use std::borrow::Cow;

/// The key of field 1, length-delimited.
const FEATURES_KEY: u8 = 1 << 3 | 2;

/// `larder.v1.GetOnlineFeaturesRequest` as it came.
#[derive(Clone, Debug, Default)]
pub struct Request {
    bytes: Bytes,
}

/// What a [`Request`] says. Borrows from it.
#[derive(Clone, Debug, Default)]
pub struct RequestParts<'a> {
    /// The fields 1, key and length included, as one run of bytes.
    features: Cow<'a, [u8]>,
    feature_set: &'a str,
    entity_ids: Vec<&'a str>,
    entities: Vec<(&'a str, Vec<&'a str>)>,
    as_of: Option<prost_types::Timestamp>,
    max_age: Option<prost_types::Duration>,
    use_defaults: bool,
    /// The schema that the caller holds; 0 = none.
    pub schema_id: u64,
}

impl Decode for Request {
    fn decode(mut buf: impl Buf) -> Result<Self, DecodeError> {
        Ok(Self { bytes: buf.copy_to_bytes(buf.remaining()) })
    }
}

impl From<Bytes> for Request {
    /// The message in protobuf's encoding.
    fn from(bytes: Bytes) -> Self {
        Self { bytes }
    }
}

impl Request {
    /// Walks the message once.
    pub fn parts(&self) -> Result<RequestParts<'_>> {
        let mut parts = RequestParts::default();
        let mut rest: &[u8] = &self.bytes;
        // Clients write the names one after the other; only a list in pieces has to be put together.
        let mut run = 0..0;
        let mut pieced: Vec<u8> = Vec::new();
        while !rest.is_empty() {
            let start = self.bytes.len() - rest.len();
            match take_field(&mut rest)? {
                (1, Field::Bytes(_)) => {
                    skip_short_names(&mut rest);
                    let end = self.bytes.len() - rest.len();
                    if run.is_empty() {
                        run = start..end;
                    } else if run.end == start {
                        run.end = end;
                    } else {
                        pieced.extend_from_slice(&self.bytes[std::mem::replace(&mut run, start..end)]);
                    }
                }
                (2, Field::Bytes(set)) => parts.feature_set = text(set, "feature_set")?,
                (3, Field::Bytes(id)) => parts.entity_ids.push(text(id, "entity_ids")?),
                (4, Field::Bytes(entry)) => parts.add_column(entry)?,
                (5, Field::Bytes(time)) => {
                    parts.as_of.get_or_insert_default().merge(time).map_err(malformed)?;
                }
                (6, Field::Bytes(span)) => {
                    parts.max_age.get_or_insert_default().merge(span).map_err(malformed)?;
                }
                (7, Field::Varint(flag)) => parts.use_defaults = flag != 0,
                (8, Field::Fixed64(id)) => parts.schema_id = id,
                (1..=8, _) => return Err(malformed("a field has the wrong wire type")),
                // Fields of a later contract.
                _ => {}
            }
        }
        parts.features = Cow::Borrowed(&self.bytes[run]);
        if !pieced.is_empty() {
            pieced.extend_from_slice(&parts.features);
            parts.features = Cow::Owned(pieced);
        }
        Ok(parts)
    }
}

impl<'a> RequestParts<'a> {
    fn add_column(&mut self, mut entry: &'a [u8]) -> Result<()> {
        let (mut key, mut ids) = ("", Vec::new());
        while !entry.is_empty() {
            match take_field(&mut entry)? {
                (1, Field::Bytes(name)) => key = text(name, "entities")?,
                (2, Field::Bytes(mut column)) => {
                    while !column.is_empty() {
                        match take_field(&mut column)? {
                            (1, Field::Bytes(id)) => ids.push(text(id, "entities")?),
                            (1, _) => return Err(malformed("a field has the wrong wire type")),
                            _ => {}
                        }
                    }
                }
                (1 | 2, _) => return Err(malformed("a field has the wrong wire type")),
                _ => {}
            }
        }
        // In a protobuf map the last entry of a key holds.
        self.entities.retain(|(known, _)| *known != key);
        self.entities.push((key, ids));
        Ok(())
    }

    /// The request in the service's words.
    pub fn to_online(&self) -> Result<OnlineRequest<'_>> {
        let features = match (self.features.is_empty(), self.feature_set) {
            (false, "") => FeatureList::Encoded {
                encoding: ListEncoding::Protobuf,
                bytes: &self.features,
                names: feature_names,
            },
            (true, "") => FeatureList::Names(&[]),
            (true, set) => FeatureList::Set(set),
            (false, _) => {
                let message = "features and feature_set exclude each other; give one of them";
                return Err(Error::invalid("feature_set", message));
            }
        };
        let entities = match (self.entity_ids.is_empty(), self.entities.is_empty()) {
            (_, true) => Entities::Ids(&self.entity_ids),
            (true, false) => Entities::Columns(&self.entities),
            (false, false) => {
                let message = "entity_ids and entities exclude each other; give one of them";
                return Err(Error::invalid("entities", message));
            }
        };
        let as_of = self.as_of.map(|time| timestamp_from(time, Round::Down, "as_of"));
        let max_age = self.max_age.map(|span| duration_from(span, "max_age"));
        Ok(OnlineRequest {
            features,
            entities,
            as_of: as_of.transpose()?,
            max_age: max_age.transpose()?,
            use_defaults: self.use_defaults,
        })
    }
}

/// Skips further fields 1 of fewer than 128 bytes: all names of most requests. They are read if no plan is known.
fn skip_short_names(rest: &mut &[u8]) {
    while let [FEATURES_KEY, len @ ..0x80, after @ ..] = *rest
        && let Some((_, after)) = after.split_at_checked(usize::from(*len))
    {
        *rest = after;
    }
}

/// The names within a run of fields 1.
fn feature_names(mut fields: &[u8]) -> Result<Vec<Cow<'_, str>>> {
    let mut names = Vec::new();
    while !fields.is_empty() {
        if let (1, Field::Bytes(name)) = take_field(&mut fields)? {
            names.push(Cow::Borrowed(text(name, "features")?));
        }
    }
    Ok(names)
}
