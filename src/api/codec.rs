//! The codec of the gRPC server: makes room for a whole message at once, then lets it write itself into the reply.

use crate::wire::codec::{Decode, Encode};
use std::marker::PhantomData;
use tonic::{
    Status,
    codec::{BufferSettings, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

/// The server of the contract, as generated, over this codec.
pub mod server {
    #![allow(missing_docs, clippy::all, rustdoc::all)]
    tonic::include_proto!("server/larder.v1");
}

/// Small replies fit the first allocation; a greater one is made in one step of its exact size.
const FIRST_BUFFER_BYTES: usize = 8 << 10;
const YIELD_BYTES: usize = 32 << 10;

/// Sends `T`, receives `U`.
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Encode + Send + 'static, U: Decode + Send + 'static> tonic::codec::Codec for Codec<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self::Encoder {
        Self::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Self::default()
    }
}

impl<T: Encode, U> Encoder for Codec<T, U> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buf.reserve(message.encoded_len());
        message.encode(buf);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(FIRST_BUFFER_BYTES, YIELD_BYTES)
    }
}

impl<T, U: Decode> Decoder for Codec<T, U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        U::decode(buf)
            .map(Some)
            .map_err(|error| Status::invalid_argument(format!("the request is not a valid message: {error}")))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(FIRST_BUFFER_BYTES, YIELD_BYTES)
    }
}
