//! `POST /api/v1/features/online:packed`: the answer is the contract's own message in proto3 JSON, with the original
//! field names.

use super::Reply;
use crate::{
    error::{Error, Kind, Result},
    wire::{codec::Encode, proto},
};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use std::sync::LazyLock;

static REPLY: LazyLock<MessageDescriptor> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).expect("the compiled contract is valid");
    pool.get_message_by_name("larder.v1.GetOnlineFeaturesResponse").expect("the contract holds its messages")
});

/// Writes a reply.
pub fn write_packed(reply: &Reply, bytes_max: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(reply.encoded_len());
    reply.encode(&mut bytes);
    let message = DynamicMessage::decode(REPLY.clone(), &*bytes).map_err(Error::internal)?;
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
