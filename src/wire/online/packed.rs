//! `POST /api/v1/features/online:packed`: the contract's own messages in proto3 JSON, with the original field names.

use super::{Reply, Request};
use crate::{
    error::{Error, Kind, Result},
    feature::json::JsonReader,
    wire::{codec::Encode, proto},
};
use bytes::Bytes;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use std::sync::LazyLock;

struct Messages {
    request: MessageDescriptor,
    reply: MessageDescriptor,
}

static MESSAGES: LazyLock<Messages> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).expect("the compiled contract is valid");
    let message = |name| pool.get_message_by_name(name).expect("the contract holds its messages");
    Messages {
        request: message("larder.v1.GetOnlineFeaturesRequest"),
        reply: message("larder.v1.GetOnlineFeaturesResponse"),
    }
});

/// Reads a request.
pub fn read_packed(body: &[u8]) -> Result<Request> {
    // Our own reader refuses what the other would let pass: keys that stand twice, deep nesting, bytes that follow.
    JsonReader::read(body, |reader| reader.raw().map(drop))?;
    let mut json = serde_json::Deserializer::from_slice(body);
    let message = DynamicMessage::deserialize(MESSAGES.request.clone(), &mut json).map_err(|error| {
        Error::new(Kind::InvalidArgument, format!("the body is not a GetOnlineFeaturesRequest: {error}"))
    })?;
    Ok(Request::from(Bytes::from(message.encode_to_vec())))
}

/// Writes a reply.
pub fn write_packed(reply: &Reply, bytes_max: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(reply.encoded_len());
    reply.encode(&mut bytes);
    let message = DynamicMessage::decode(MESSAGES.reply.clone(), &*bytes).map_err(Error::internal)?;
    let mut json = serde_json::Serializer::new(Vec::with_capacity(2 * bytes.len()));
    let options = SerializeOptions::new().use_proto_field_name(true);
    message.serialize_with_options(&mut json, &options).map_err(Error::internal)?;
    let json = json.into_inner();
    if json.len() > bytes_max {
        // Rows are of about one length, so entities fit in proportion.
        let rows = reply.answer().rows;
        let fit = rows * bytes_max / json.len();
        let message = format!(
            "the answer of {} bytes is over the limit of {bytes_max}; about {fit} of these {rows} entities fit",
            json.len()
        );
        return Err(Error::new(Kind::TooLarge, message));
    }
    Ok(json)
}
