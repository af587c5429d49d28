//! What a message must be able to do to travel: every prost message can, and so can those written by hand.

use bytes::{Buf, BufMut};

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
