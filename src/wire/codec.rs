//! What a message must be able to do to travel: every prost message can, and so can those written by hand.

use bytes::{Buf, BufMut, Bytes};

/// Writes a message in protobuf's encoding.
pub trait Encode {
    /// Bytes that [`encode`](Self::encode) will write, exactly.
    fn encoded_len(&self) -> usize;

    fn encode(&self, buf: &mut impl BufMut);
}

/// Reads a message from protobuf's encoding.
pub trait Decode: Sized {
    fn decode(buf: impl Buf) -> Result<Self, prost::DecodeError>;
}

/// A message as it came, for those who read it in place.
#[derive(Clone, Debug, Default)]
pub struct InPlace(pub Bytes);

impl Decode for InPlace {
    fn decode(mut buf: impl Buf) -> Result<Self, prost::DecodeError> {
        Ok(Self(buf.copy_to_bytes(buf.remaining())))
    }
}

impl<M: prost::Message> Encode for M {
    fn encoded_len(&self) -> usize {
        prost::Message::encoded_len(self)
    }

    fn encode(&self, buf: &mut impl BufMut) {
        self.encode_raw(buf);
    }
}

impl<M: prost::Message + Default> Decode for M {
    fn decode(buf: impl Buf) -> Result<Self, prost::DecodeError> {
        prost::Message::decode(buf)
    }
}
