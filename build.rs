//! Compiles the contract in pure Rust: no `protoc` is needed.

use prost::Message;
use std::{env, error::Error, fs, path::PathBuf};

/// Messages whose server side is written by hand: `wire::online`, `wire::write` and `wire::events` say why.
const BY_HAND: [(&str, &str); 6] = [
    (".larder.v1.GetOnlineFeaturesRequest", "crate::wire::online::Request"),
    (".larder.v1.GetOnlineFeaturesResponse", "crate::wire::online::Reply"),
    (".larder.v1.WriteFeaturesRequest", "crate::wire::codec::InPlace"),
    (".larder.v1.StreamWriteFeaturesRequest", "crate::wire::codec::InPlace"),
    (".larder.v1.PublishEventsRequest", "crate::wire::codec::InPlace"),
    (".larder.v1.StreamPublishEventsRequest", "crate::wire::codec::InPlace"),
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors =
        protox::compile(["larder/v1/feature_service.proto", "larder/v1/admin_service.proto"], ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("larder.v1.bin"), descriptors.encode_to_vec())?;
    // Messages and client.
    tonic_prost_build::configure()
        .build_server(false)
        // Rows of a spine go back as they came: equal rows in equal bytes.
        .btree_map(".larder.v1.SpineRow")
        .bytes(".larder.v1.GetHistoricalFeaturesRequest.arrow_ipc")
        .bytes(".larder.v1.GetHistoricalFeaturesResponse.arrow_ipc")
        .compile_fds(descriptors.clone())?;
    // The server: the same messages, but for those by hand.
    let server = out.join("server");
    fs::create_dir_all(&server)?;
    let builder = tonic_prost_build::configure()
        .build_client(false)
        .out_dir(server)
        .extern_path(".larder.v1", "crate::wire::proto")
        .codec_path("crate::api::codec::Codec");
    BY_HAND
        .iter()
        .fold(builder, |builder, (message, by_hand)| builder.extern_path(*message, *by_hand))
        .compile_fds(descriptors)?;
    Ok(())
}
