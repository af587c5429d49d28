//! What a caller wants beside its spine, in proto and in JSON.

use super::names::{self, ColumnNames};
use crate::{
    error::{Error, Kind, Result},
    feature::{
        Round, Timestamp,
        json::{JsonKind, JsonReader, short},
    },
    registry::Plan,
    serving::training::TrainingSetOptions,
    store::KnownAt,
    wire::{
        json::{Int64Form, read_duration, read_string_map, read_strings},
        proto::{HistoricalFormat, HistoricalOptions, historical_options::Knowledge},
        value::{duration_from, timestamp_from},
    },
};
use bytes::Bytes;

pub(super) const FIELDS: [&str; 9] = [
    "features",
    "feature_set",
    "known_at",
    "columns",
    "details",
    "max_age",
    "use_defaults",
    "int64",
    "spine",
];

/// A request for a training set, without its spine.
#[derive(Clone, Debug)]
pub struct BatchRequest {
    pub options: TrainingSetOptions,
    pub(super) columns: ColumnNames,
    /// Answers carry statuses and event timestamps.
    pub(super) details: bool,
    pub(super) int64: Int64Form,
    pub(super) format: HistoricalFormat,
}

impl BatchRequest {
    /// Refuses names of columns that no spine of this plan has.
    pub fn check_columns(&self, plan: &Plan) -> Result<()> {
        names::check(plan, &self.columns)
    }

    fn empty() -> Self {
        let options = TrainingSetOptions {
            features: Vec::new(),
            feature_set: None,
            known_at: KnownAt::Snapshot,
            max_age: None,
            use_defaults: false,
            statuses: false,
        };
        Self {
            options,
            columns: ColumnNames::new(),
            details: false,
            int64: Int64Form::default(),
            format: HistoricalFormat::Unspecified,
        }
    }

    /// Reads the options of a gRPC call.
    pub(super) fn from_proto(options: HistoricalOptions) -> Result<Self> {
        let mut this = Self::empty();
        this.format = options.format();
        this.options.features = options.features;
        this.options.feature_set = Some(options.feature_set).filter(|set| !set.is_empty());
        this.options.known_at = match options.knowledge {
            None => KnownAt::Snapshot,
            Some(Knowledge::KnownAt(at)) => KnownAt::At(timestamp_from(at, Round::Down, "known_at")?),
            Some(Knowledge::KnownAtRow(true)) => KnownAt::Row,
            Some(Knowledge::KnownAtRow(false)) => {
                return Err(Error::invalid("known_at_row", "must be true where it is given"));
            }
        };
        this.options.max_age = options.max_age.map(|span| duration_from(span, "max_age")).transpose()?;
        this.options.use_defaults = options.use_defaults;
        this.columns = options.columns.into_iter().collect();
        this.details = options.details;
        this.options.statuses = options.details;
        Ok(this)
    }

    /// Reads a JSON request; its spine comes beside it, as its text, if there is one.
    pub fn from_json(body: &Bytes) -> Result<(Self, Option<Bytes>)> {
        let mut this = Self::empty();
        let mut spine = None;
        JsonReader::read(body, |reader| {
            reader.object(|reader, key| match key {
                "spine" => {
                    if reader.peek()? != JsonKind::Array {
                        return reader.refuse("an array of rows");
                    }
                    spine = Some(body.slice_ref(reader.raw()?.as_bytes()));
                    Ok(())
                }
                key => this.read_member(reader, key),
            })
        })?;
        this.options.statuses = this.details;
        Ok((this, spine))
    }

    fn read_member(&mut self, reader: &mut JsonReader<'_>, key: &str) -> Result<()> {
        if FIELDS.contains(&key) && reader.take_null()? {
            return Ok(());
        }
        match key {
            "features" => self.options.features = read_strings(reader)?,
            "feature_set" => self.options.feature_set = Some(reader.string()?.into_owned()),
            "known_at" => self.options.known_at = read_known_at(reader)?,
            "columns" => self.columns = read_string_map(reader)?.into_iter().collect(),
            "details" => self.details = reader.boolean()?,
            "max_age" => self.options.max_age = Some(read_duration(reader)?),
            "use_defaults" => self.options.use_defaults = reader.boolean()?,
            "int64" => self.int64 = Int64Form::read(reader)?,
            _ => return reader.unknown_member(&FIELDS),
        }
        Ok(())
    }
}

fn read_known_at(reader: &mut JsonReader<'_>) -> Result<KnownAt> {
    let text = reader.string()?;
    if text == "row" {
        return Ok(KnownAt::Row);
    }
    Timestamp::parse(&text, Round::Down).map(KnownAt::At).map_err(|_| {
        let message =
            format!("{:?} is neither \"row\" nor an RFC 3339 timestamp with an offset", short(&text));
        Error::new(Kind::InvalidArgument, message)
    })
}
